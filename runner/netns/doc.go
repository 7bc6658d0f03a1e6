// Package netns gives every sandbox a network of its own.
//
// A slot is a network namespace with one end of a veth pair in it. Slots are
// made ahead and kept in a pool. Inside, every sandbox has the same addresses;
// outside, each has an address of its own, at which the host can dial it.
package netns
