// Package imports holds the arrows of the architecture: which part of the tree
// may import which. It has nothing but its test.
package imports
