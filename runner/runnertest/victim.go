// Package runnertest lets a runner be killed at random moments and looks at what
// is left. It is used with the fake driver and with the real ones.
package runnertest

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"daytona/api/runnerapi"
	"daytona/internal/fault"
)

// What a victim says of a sandbox.
const (
	asks    = "asks"    // it is about to ask for it
	made    = "made"    // it was told that it runs
	stops   = "stops"   // it is about to stop it
	deletes = "deletes" // it is about to delete it
	deleted = "deleted" // it was told that it is gone
)

// Victim makes and removes sandboxes of a snapshot, several at a time, until it
// is killed. On standard output it says what it asks for and what it was told.
func Victim(r runnerapi.Runner, snapshot string) {
	var mu sync.Mutex
	say := func(what, id string) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Printf("%s %s\n", what, id)
	}
	say("ready", "-")
	ctx := context.Background()
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for {
				spec := runnerapi.Spec{OrgID: "org", Snapshot: snapshot, Env: map[string]string{"A": "b"}}
				id, ok := r.Reserve(ctx, spec)
				if !ok {
					id = uuid.NewString()
				}
				spec.ID = id
				say(asks, id)
				if _, err := r.Create(ctx, spec); err != nil {
					say("failed: "+strings.ReplaceAll(err.Error(), "\n", " "), id)
					continue
				}
				say(made, id)
				switch rand.IntN(4) {
				case 0: // it stays
					continue
				case 1:
					say(stops, id)
					if _, err := r.Stop(ctx, id, rand.IntN(2) == 0); err != nil {
						say("failed: "+err.Error(), id)
					}
				}
				if rand.IntN(3) > 0 {
					say(deletes, id)
					if err := r.Delete(ctx, id); err != nil {
						say("failed: "+err.Error(), id)
						continue
					}
					say(deleted, id)
				}
			}
		})
	}
	wg.Wait()
}

// Story is what victims said of each sandbox, the last word counting.
type Story map[string]string

// Kill runs a victim and kills it after delay, counted from the moment at which
// its runner was open. It adds what the victim said to the story.
func (s Story) Kill(t testing.TB, victim *exec.Cmd, delay time.Duration) {
	t.Helper()
	out, err := victim.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	victim.Stderr = os.Stderr
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadString('\n')
		if strings.HasPrefix(line, "ready ") {
			time.AfterFunc(delay, func() { _ = victim.Process.Kill() }) // it may have ended
			continue
		}
		if err == io.EOF {
			break // the last line may be half a one, and then was not said
		}
		if err != nil {
			t.Fatal(err)
		}
		what, id, ok := cutLast(strings.TrimSpace(line))
		switch {
		case !ok:
		case strings.HasPrefix(what, "failed"):
			t.Errorf("the victim's request for %s %s", id, what)
		default:
			s[id] = what
		}
	}
	if err := victim.Wait(); err == nil || victim.ProcessState.Exited() {
		t.Fatalf("the victim was not killed: %v", err)
	}
}

func cutLast(line string) (before, after string, ok bool) {
	i := strings.LastIndexByte(line, ' ')
	if i < 0 {
		return "", "", false
	}
	return line[:i], line[i+1:], true
}

// Check compares a runner that was opened after a kill with the story.
func (s Story) Check(t testing.TB, r runnerapi.Runner) {
	t.Helper()
	ctx := context.Background()
	list, err := r.List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	states := map[string]runnerapi.Sandbox{}
	for _, sb := range list {
		states[sb.ID] = sb
		if _, known := s[sb.ID]; !known {
			t.Errorf("sandbox %s is %s, but nobody asked for it", sb.ID, sb.State)
		}
		if sb.State == runnerapi.StateCreating {
			t.Errorf("sandbox %s is still half made", sb.ID)
		}
	}
	for id, word := range s {
		sb, present := states[id]
		switch word {
		case made:
			if sb.State != runnerapi.StateRunning {
				t.Errorf("sandbox %s was running and is %q, %+v", id, sb.State, sb.End)
			}
		case stops:
			if sb.State != runnerapi.StateRunning && sb.State != runnerapi.StateStopped {
				t.Errorf("sandbox %s was being stopped and is %q, %+v", id, sb.State, sb.End)
			}
		case deleted:
			if present {
				t.Errorf("sandbox %s was deleted and is %s", id, sb.State)
			}
			_, err := r.Create(ctx, runnerapi.Spec{ID: id, OrgID: "org", Snapshot: "any"})
			if !fault.Is(err, fault.Gone) {
				t.Errorf("create of a deleted sandbox: %v", err)
			}
		}
		if sb.State == runnerapi.StateRunning {
			rec := httptest.NewRecorder()
			r.ServeToolbox(rec, httptest.NewRequestWithContext(ctx, http.MethodGet, "/version", nil), id)
			if rec.Code != http.StatusOK {
				t.Errorf("toolbox of %s after recovery: %d %s", id, rec.Code, rec.Body)
			}
		}
	}
}

// Trim deletes all but n sandboxes, so that a long test does not pile them up.
func (s Story) Trim(t testing.TB, r runnerapi.Runner, n int) {
	t.Helper()
	for id, word := range s {
		if word == deleted || n > 0 {
			if word != deleted {
				n--
			}
			continue
		}
		if err := r.Delete(context.Background(), id); err != nil {
			t.Errorf("delete: %v", err)
		}
		delete(s, id)
	}
}
