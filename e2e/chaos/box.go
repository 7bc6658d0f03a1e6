//go:build linux

package chaos

import (
	"crypto/sha256"
	"fmt"
	"slices"

	"daytona/api"
)

// outcome is what a caller knows of a call.
type outcome int

const (
	done    outcome = iota // acknowledged
	refused                // the server said that it did nothing
	unknown                // no answer, or one that leaves it open
)

func (o outcome) String() string { return [...]string{"done", "refused", "unknown"}[o] }

// box is what a worker knows of one sandbox.
type box struct {
	id     string
	expect []api.SandboxState // one, or those that a lost answer left
	files  map[string][]sum   // path to the contents that it may have
	struck bool               // a fault ended its engine, and it was not seen to stand still since
}

type sum [sha256.Size]byte

// absent stands for a file that isn't there.
var absent sum

func newBox(id string) *box {
	return &box{id: id, expect: []api.SandboxState{api.SandboxStarted}, files: map[string][]sum{}}
}

// known is the state it must be in, "" when there are several.
func (b *box) known() api.SandboxState {
	if len(b.expect) == 1 {
		return b.expect[0]
	}
	return ""
}

// moved notes a call that leads to a state.
func (b *box) moved(to api.SandboxState, o outcome) {
	switch o {
	case done:
		b.expect = []api.SandboxState{to}
	case unknown:
		if !slices.Contains(b.expect, to) {
			b.expect = append(b.expect, to)
		}
	case refused:
	}
}

// wrote notes a call that writes a file.
func (b *box) wrote(path string, content []byte, o outcome) {
	now := sha256.Sum256(content)
	switch o {
	case done:
		b.files[path] = []sum{now}
	case unknown, refused: // also a refused one may have begun
		before := b.files[path]
		if before == nil {
			before = []sum{absent}
		}
		b.files[path] = append(before, now)
	}
}

// read holds a file that was read, nil for one that isn't there, against what
// it may contain, and says what is wrong, or "".
func (b *box) read(path string, content []byte) string {
	got := absent
	if content != nil {
		got = sha256.Sum256(content)
	}
	if !slices.Contains(b.files[path], got) {
		what := fmt.Sprintf("has %d bytes that nobody wrote", len(content))
		if content == nil {
			what = "is gone"
		}
		return fmt.Sprintf("sandbox %s: the file %s, of which %d contents are possible, %s", b.id, path, len(b.files[path]), what)
	}
	b.files[path] = []sum{got}
	return ""
}

// seen holds a state in which the sandbox rests against what it may be in, and
// says what is wrong, or "".
func (b *box) seen(state api.SandboxState, reason string) string {
	was, struck := b.expect, b.struck
	b.expect = []api.SandboxState{state}
	if state != api.SandboxStarted { // the server may not have noticed yet
		b.struck = false
	}
	switch {
	case state == api.SandboxError && reason == "":
		return fmt.Sprintf("sandbox %s is in error and nobody says why", b.id)
	case state == api.SandboxError: // faults may fail a call; what counts is that it can be mended
		return ""
	case slices.Contains(was, state):
		return ""
	case struck && state == api.SandboxStopped:
		return ""
	}
	return fmt.Sprintf("sandbox %s is %s and should be %v", b.id, state, was)
}

// atRest reports whether a state is one that lasts.
func atRest(s api.SandboxState) bool {
	switch s {
	case api.SandboxStarted, api.SandboxStopped, api.SandboxArchived, api.SandboxError, api.SandboxDestroyed, api.SandboxBuildFailed:
		return true
	}
	return false
}
