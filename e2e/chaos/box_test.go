//go:build linux

package chaos

import (
	"crypto/sha256"
	"strings"
	"testing"

	"daytona/api"
)

func TestStates(t *testing.T) {
	const up, down = api.SandboxStarted, api.SandboxStopped
	tests := []struct {
		name   string
		moves  []outcome // of a stop
		struck bool
		state  api.SandboxState
		reason string
		wrong  string
	}{
		{name: "as it was", state: up},
		{name: "acknowledged", moves: []outcome{done}, state: down},
		{name: "acknowledged and undone", moves: []outcome{done}, state: up, wrong: "should be"},
		{name: "refused", moves: []outcome{refused}, state: down, wrong: "should be"},
		{name: "without an answer, done", moves: []outcome{unknown}, state: down},
		{name: "without an answer, not done", moves: []outcome{unknown}, state: up},
		{name: "ended by a fault", struck: true, state: down},
		{name: "ended by nothing", state: down, wrong: "should be"},
		{name: "lost", struck: true, state: api.SandboxDestroyed, wrong: "should be"},
		{name: "error", state: api.SandboxError, reason: "no space left"},
		{name: "error without a reason", state: api.SandboxError, wrong: "nobody says why"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBox("x")
			b.struck = tt.struck
			for _, o := range tt.moves {
				b.moved(down, o)
			}
			got := b.seen(tt.state, tt.reason)
			if (got == "") != (tt.wrong == "") || !strings.Contains(got, tt.wrong) {
				t.Errorf("%q, want %q", got, tt.wrong)
			}
			if b.known() != tt.state {
				t.Errorf("then known as %q", b.known())
			}
		})
	}
}

func TestFiles(t *testing.T) {
	one, two := []byte("one"), []byte("two")
	tests := []struct {
		name   string
		writes []outcome // of one, then two
		found  []byte
		wrong  string
	}{
		{name: "acknowledged", writes: []outcome{done}, found: one},
		{name: "acknowledged and gone", writes: []outcome{done}, wrong: "is gone"},
		{name: "overwritten", writes: []outcome{done, done}, found: two},
		{name: "overwritten and old", writes: []outcome{done, done}, found: one, wrong: "nobody wrote"},
		{name: "perhaps overwritten, old", writes: []outcome{done, unknown}, found: one},
		{name: "perhaps overwritten, new", writes: []outcome{done, unknown}, found: two},
		{name: "perhaps overwritten, half", writes: []outcome{done, unknown}, found: two[:2], wrong: "nobody wrote"},
		{name: "perhaps written, not", writes: []outcome{unknown}},
		{name: "empty", writes: []outcome{done}, found: []byte{}, wrong: "nobody wrote"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBox("x")
			for i, o := range tt.writes {
				b.wrote("f", [][]byte{one, two}[i], o)
			}
			got := b.read("f", tt.found)
			if (got == "") != (tt.wrong == "") || !strings.Contains(got, tt.wrong) {
				t.Errorf("%q, want %q", got, tt.wrong)
			}
			want := absent
			if tt.found != nil {
				want = sha256.Sum256(tt.found)
			}
			if tt.wrong == "" && (len(b.files["f"]) != 1 || b.files["f"][0] != want) {
				t.Error("what was found is not remembered")
			}
		})
	}
}
