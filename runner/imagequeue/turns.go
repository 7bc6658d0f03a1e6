package imagequeue

import "slices"

// turns is the order in which waiting jobs get their turn: one of each owner
// after the other, each owner's in the order in which they came. It is not safe
// for use by several goroutines.
type turns struct {
	owners []string            // with something waiting, whose turn is next first
	names  map[string][]string // by owner, the oldest first
}

func (t *turns) push(owner, name string) {
	if t.names == nil {
		t.names = map[string][]string{}
	}
	if len(t.names[owner]) == 0 {
		t.owners = append(t.owners, owner)
	}
	t.names[owner] = append(t.names[owner], name)
}

// pop takes the next name out. Its owner's next turn comes after everybody
// else's.
func (t *turns) pop() (name string, ok bool) {
	if len(t.owners) == 0 {
		return "", false
	}
	owner := t.owners[0]
	name = t.names[owner][0]
	t.names[owner] = t.names[owner][1:]
	t.owners = t.owners[1:]
	if len(t.names[owner]) > 0 {
		t.owners = append(t.owners, owner)
	} else {
		delete(t.names, owner)
	}
	return name, true
}

// remove takes a name out, wherever it stands.
func (t *turns) remove(name string) {
	for owner, names := range t.names {
		i := slices.Index(names, name)
		if i < 0 {
			continue
		}
		t.names[owner] = slices.Delete(names, i, i+1)
		if len(t.names[owner]) == 0 {
			delete(t.names, owner)
			t.owners = slices.DeleteFunc(t.owners, func(o string) bool { return o == owner })
		}
	}
}

// list returns every name in the order in which pop would.
func (t *turns) list() []string {
	var all []string
	for round := 0; ; round++ {
		found := false
		for _, owner := range t.owners {
			if names := t.names[owner]; round < len(names) {
				all, found = append(all, names[round]), true
			}
		}
		if !found {
			return all
		}
	}
}
