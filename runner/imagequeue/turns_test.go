package imagequeue

import (
	"strings"
	"testing"
)

func TestTurns(t *testing.T) {
	for name, tt := range map[string]struct {
		push   string // "owner:name ..."
		remove string
		want   string
	}{
		"one owner":               {push: "a:1 a:2 a:3", want: "1 2 3"},
		"a late owner is next":    {push: "a:1 a:2 a:3 b:4", want: "1 4 2 3"},
		"three owners":            {push: "a:1 a:2 b:3 b:4 c:5", want: "1 3 5 2 4"},
		"removed from the middle": {push: "a:1 a:2 a:3 b:4", remove: "2", want: "1 4 3"},
		"the last of an owner":    {push: "a:1 b:2 a:3", remove: "2", want: "1 3"},
		"nothing":                 {want: ""},
	} {
		t.Run(name, func(t *testing.T) {
			var q turns
			for _, p := range strings.Fields(tt.push) {
				owner, name, _ := strings.Cut(p, ":")
				q.push(owner, name)
			}
			q.remove(tt.remove)
			if got := strings.Join(q.list(), " "); got != tt.want {
				t.Errorf("list: %s; want %s", got, tt.want)
			}
			var popped []string
			for {
				name, ok := q.pop()
				if !ok {
					break
				}
				popped = append(popped, name)
			}
			if got := strings.Join(popped, " "); got != tt.want {
				t.Errorf("popped: %s; want %s", got, tt.want)
			}
		})
	}
}
