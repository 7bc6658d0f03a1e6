package session

import "testing"

// What a command prints to both streams before anybody looks keeps its order.
func TestOrderOfStreams(t *testing.T) {
	b := newBox(t)
	b.create("s")
	for command, want := range map[string]string{
		"echo out; echo err >&2": "out\nerr\n",
		"echo err >&2; echo out": "err\nout\n",
	} {
		for range 50 {
			if got := b.run("s", command); *got.Output != want {
				t.Fatalf("%s: %q", command, *got.Output)
			}
		}
	}
}
