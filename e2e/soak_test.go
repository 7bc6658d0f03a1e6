//go:build root

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/sync/errgroup"
)

// soakCounts says how much a soak does. A tenth of it by default, since the
// whole takes minutes under gVisor: DAYTONA_E2E_SOAK=full does it all.
func soakCounts() (executes, sessions, ptys int) {
	if os.Getenv("DAYTONA_E2E_SOAK") == "full" {
		return 10000, 1000, 200
	}
	return 1000, 100, 20
}

// TestSoak does everything many times in one sandbox. Afterwards the sandbox is
// as it was: no process, no open file and no memory more.
func TestSoak(t *testing.T) {
	if shared.external {
		t.Skip("the limits on memory are those of an idle machine of ours")
	}
	executes, sessions, ptys := soakCounts()
	box := &toolboxClient{client: shared.api, id: mustCreate(t, shared.api, nil).ID}
	for _, part := range []struct {
		name  string
		times int
		width int
		once  func(ctx context.Context, box *toolboxClient, n int) error
	}{
		{"executes", executes, 4, soakExecute},
		{"sessions", sessions, 4, soakSession},
		{"ptys", ptys, 2, soakPTY},
	} {
		t.Run(part.name, func(t *testing.T) {
			// What is made once and kept is there before the first look.
			soak(t, box, part.once, -100, part.times/10, part.width)
			before := inventory(t, box)
			began := time.Now()
			soak(t, box, part.once, 0, part.times, part.width)
			t.Logf("%d in %.1f s; before: %v", part.times, time.Since(began).Seconds(), before)
			asBefore(t, box, before)
		})
	}
}

// soak does something many times, a few at a time.
func soak(t *testing.T, box *toolboxClient, once func(context.Context, *toolboxClient, int) error, first, times, width int) {
	t.Helper()
	group, ctx := errgroup.WithContext(t.Context())
	group.SetLimit(width)
	for n := range times {
		group.Go(func() error {
			if ctx.Err() != nil {
				return nil //nolint:nilerr // another one has failed, and says so
			}
			if err := once(ctx, box, first+n); err != nil {
				return fmt.Errorf("number %d: %w", first+n, err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
}

// post sends JSON and decodes the answer, which must be a success.
func (c *toolboxClient) post(ctx context.Context, method, path string, in, out any) error {
	text, err := json.Marshal(in)
	if err != nil {
		return err
	}
	res, err := c.request(ctx, method, path, strings.NewReader(string(text)))
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %s", method, path, res.Status)
	}
	if out == nil {
		return nil
	}
	return json.NewDecoder(res.Body).Decode(out)
}

func soakExecute(ctx context.Context, box *toolboxClient, _ int) error {
	var r result
	if err := box.post(ctx, http.MethodPost, "/process/execute", map[string]any{"command": "true"}, &r); err != nil {
		return err
	}
	if r != (result{}) {
		return fmt.Errorf("true ended with %+v", r)
	}
	return nil
}

// soakSession leaves processes of two kinds behind, which go with the session.
func soakSession(ctx context.Context, box *toolboxClient, n int) error {
	path := fmt.Sprintf("/process/session/soak-%d", n)
	if err := box.post(ctx, http.MethodPost, "/process/session", map[string]any{"sessionId": path[len("/process/session/"):]}, nil); err != nil {
		return err
	}
	var r struct {
		ExitCode int
		Output   string
	}
	if err := box.post(ctx, http.MethodPost, path+"/exec", map[string]any{"command": "sleep 1000 & (setsid sleep 1000 &); echo hello; echo error >&2"}, &r); err != nil {
		return err
	}
	if r.ExitCode != 0 || len(r.Output) != len("hello\nerror\n") {
		return fmt.Errorf("the command ended with %+v", r)
	}
	return box.post(ctx, http.MethodDelete, path, nil, nil)
}

func soakPTY(ctx context.Context, box *toolboxClient, n int) error {
	id := fmt.Sprintf("soak-%d", n)
	if err := box.post(ctx, http.MethodPost, "/process/pty", map[string]any{"id": id, "cols": 80, "rows": 24}, nil); err != nil {
		return err
	}
	conn, res, err := websocket.Dial(ctx, box.base()+"/process/pty/"+id+"/connect", &websocket.DialOptions{
		HTTPHeader: http.Header{"Authorization": {"Bearer " + box.key}},
	})
	if err != nil {
		return err
	}
	if res.Body != nil {
		defer res.Body.Close()
	}
	defer func() { _ = conn.CloseNow() }() // after a proper close it is closed already
	if err := conn.Write(ctx, websocket.MessageText, []byte("exit 0\n")); err != nil {
		return err
	}
	for {
		_, _, err := conn.Read(ctx)
		if websocket.CloseStatus(err) == websocket.StatusNormalClosure {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// stock is what a sandbox has of what may be left over.
type stock struct {
	processes  int // without those that take stock
	files      int // that the toolbox has open
	threads    int // of the toolbox
	memoryKiB  int // of the toolbox, resident
	leftInHome int // files below ~/.daytona
}

// PID 1 does not let others of its user see its files.
const takeStock = `set -e
ls /proc | grep -c '^[0-9]'
sudo -n ls /proc/1/fd | wc -l
awk '/^Threads:/ {print $2}' /proc/1/status
awk '/^VmRSS:/ {print $2}' /proc/1/status
(find ~/.daytona -type f 2>/dev/null || true) | wc -l`

func inventory(t *testing.T, box *toolboxClient) stock {
	t.Helper()
	var s stock
	var fields []int
	for _, text := range strings.Fields(box.sh(t, takeStock)) {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		fields = append(fields, n)
	}
	if len(fields) != 5 {
		t.Fatalf("took stock: %v", fields)
	}
	s.processes, s.files, s.threads, s.memoryKiB, s.leftInHome = fields[0], fields[1], fields[2], fields[3], fields[4]
	return s
}

// What may be more without being a leak. Connections that the runner keeps to
// the toolbox are open files; the Go runtime keeps threads, and memory that it
// has not given back yet. A leak of half a KiB each time is more than that
// after 10,000 times.
const (
	moreFiles     = 16
	moreThreads   = 8
	moreMemoryKiB = 4 << 10
)

// asBefore waits until nothing is left over.
func asBefore(t *testing.T, box *toolboxClient, before stock) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		now := inventory(t, box)
		var more []error
		for _, c := range []struct {
			what             string
			was, is, allowed int
		}{
			{"processes", before.processes, now.processes, 0},
			{"open files", before.files, now.files, moreFiles},
			{"threads", before.threads, now.threads, moreThreads},
			{"KiB of memory", before.memoryKiB, now.memoryKiB, moreMemoryKiB},
			{"files in ~/.daytona", before.leftInHome, now.leftInHome, 0},
		} {
			if c.is > c.was+c.allowed {
				more = append(more, fmt.Errorf("%d %s, were %d", c.is, c.what, c.was))
			}
		}
		if len(more) == 0 {
			t.Logf("after: %+v", now)
			return
		}
		if pause(ctx) != nil {
			t.Fatal(errors.Join(more...), "\n", box.sh(t, "ps -eo pid,ppid,stat,args || true"))
		}
	}
}
