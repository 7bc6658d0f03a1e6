//go:build root

package e2e

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"
)

// TestAbuse: each sandbox that takes all it can get is held at its bound. It
// learns of it by an error or by its end, its neighbour goes on, and it can be
// deleted.
func TestAbuse(t *testing.T) {
	for _, c := range []struct {
		name    string
		command string
		// told is in the output, unless the sandbox ended by it; "" is whatever.
		told string
		// cause, if it may end.
		cause string
	}{
		{"fork bomb", `python3 -c "
import os
while True:
    try: os.fork()
    except OSError: pass"`, "", "pids"},
		{"memory hog", `python3 -c "
a = []
while True: a.append(b'x' * (16 << 20))"`, "", "oom"},
		{"disk filler", "dd if=/dev/zero of=/home/daytona/fill bs=1M", "No space left on device", ""},
		{"inode bomb", `python3 -c "
import os
os.mkdir('/home/daytona/i')
i = 0
while True:
    open('/home/daytona/i/%d' % i, 'w').close()
    i += 1"`, "No space left on device", "oom"},
		{"open files", `python3 -c "
l = []
while True: l.append(open('/etc/passwd'))"`, "Too many open files", "oom"},
		{"connections", `python3 -c "
import socket
l = []
for i in range(20000):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.connect(('11.98.%d.%d' % (i // 250, i % 250 + 1), 80))
    s.send(b'x')
    if i % 100 == 99: l.clear()
    l.append(s)
print('all sent')"`, "all sent", ""},
		{"log flood", "timeout 10 yes 0123456789012345678901234567890123456789", "0123456789", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			api := shared.api
			neighbour, offender := mustCreate(t, api, nil), mustCreate(t, api, nil)
			ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
			defer cancel()
			var told result
			var err error
			over := make(chan struct{})
			go func() {
				defer close(over)
				told, err = api.exec(ctx, offender.ID, c.command, 25)
			}()
			for done := false; !done; {
				if r := mustExec(t, api, neighbour.ID, "echo fine; touch fine"); strings.TrimSpace(r.Result) != "fine" || r.ExitCode != 0 {
					t.Errorf("the neighbour: %+v", r)
				}
				select {
				case <-over:
					done = true
				case <-time.After(200 * time.Millisecond): // between two calls of the neighbour
				}
			}
			var is struct{ State, EndCause, ErrorReason string }
			if err := api.do(t.Context(), "GET", "/sandbox/"+offender.ID, nil, &is); err != nil {
				t.Fatal(err)
			}
			t.Logf("exit code %d, %v, %s; then %+v", told.ExitCode, err, tail(told.Result, 200), is)
			if is.State != "started" {
				return // that it ended, and by what, is for the log of this test and the drivers' suite
			}
			if c.told != "" && err == nil && !strings.Contains(told.Result, c.told) && told.ExitCode != 137 {
				t.Errorf("it was not told %q: %s", c.told, tail(told.Result, 400))
			}
		})
	}
	if load, err := os.ReadFile("/proc/loadavg"); err == nil {
		t.Logf("the host: %s", load)
	}
}
