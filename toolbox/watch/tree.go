package watch

import "path/filepath"

// tree is the directories that are watched. A directory knows its parent and its
// name, so that one that moves takes everything below it along.
type tree struct {
	nodes    map[int32]*node // by watch
	children map[place]*node
}

// node is one watched directory.
type node struct {
	watch  int32
	parent *node // nil for the root
	name   string
	path   string // of the root only
	// told are the entries that a scan has told. The kernel may announce them
	// once more.
	told map[string]bool
	// mark is the round in which the node was last seen; see watcher.rescan.
	mark int
}

// place is a name in a directory.
type place struct {
	parent *node
	name   string
}

func newTree() *tree {
	return &tree{nodes: map[int32]*node{}, children: map[place]*node{}}
}

// at returns the path of an entry of the directory.
func (n *node) at(name string) string { return filepath.Join(n.full(), name) }

func (n *node) full() string {
	if n.parent == nil {
		return n.path
	}
	return n.parent.at(n.name)
}

// below reports whether n is top or below it.
func (n *node) below(top *node) bool {
	for ; n != nil; n = n.parent {
		if n == top {
			return true
		}
	}
	return false
}

// put stores a directory under its watch. One that is there already is moved.
func (t *tree) put(watch int32, parent *node, name string) *node {
	n := t.nodes[watch]
	switch {
	case n == nil:
		n = &node{watch: watch}
		t.nodes[watch] = n
	case n.parent == nil || parent.below(n):
		return n // a mount shows a directory inside itself: once is enough
	default:
		delete(t.children, place{n.parent, n.name})
	}
	n.parent, n.name = parent, name
	t.children[place{parent, name}] = n
	return n
}

// move renames a directory.
func (t *tree) move(n *node, parent *node, name string) {
	if n.parent == nil || parent.below(n) {
		return
	}
	delete(t.children, place{n.parent, n.name})
	n.parent, n.name = parent, name
	t.children[place{parent, name}] = n
}

// remove forgets a directory and returns the watches of it and of what is below
// it.
func (t *tree) remove(n *node) []int32 {
	var gone []int32
	for watch, other := range t.nodes {
		if other.below(n) {
			gone = append(gone, watch)
		}
	}
	for _, watch := range gone {
		t.forget(t.nodes[watch])
	}
	return gone
}

// forget takes one node out.
func (t *tree) forget(n *node) {
	delete(t.nodes, n.watch)
	if key := (place{n.parent, n.name}); t.children[key] == n {
		delete(t.children, key)
	}
}
