package git

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestNothingLeaks counts descriptors, goroutines and processes before and
// after requests that succeed, fail and are left by their clients. It is alone:
// the parallel tests begin when it has ended.
func TestNothingLeaks(t *testing.T) {
	b := newBox(t)
	h := newHost(t, false).protect("user", "secret")
	url := h.repo("app.git", "one")
	with := func(path string) m { return m{"url": url, "path": path, "username": "user", "password": "secret"} }
	b.want(200, "POST", "/git/clone", with("app"), nil)

	// More history than connections hold.
	var stream strings.Builder
	message := strings.Repeat("long ", 200_000)
	for i := range 20 {
		fmt.Fprintf(&stream, "commit refs/heads/long\ncommitter C <c@d> %d +0000\ndata %d\n%s\n\n", 1_700_000_000+i, len(message), message)
	}
	file := filepath.Join(t.TempDir(), "stream")
	if err := os.WriteFile(file, []byte(stream.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	app := filepath.Join(b.home, "app")
	git(t, app, "-c", "alias.import=!git fast-import --quiet < "+file, "import")
	b.want(200, "POST", "/git/checkout", m{"path": "app", "branch": "long"}, nil)

	once := func(i int) {
		b.status("app")
		b.refused(401, "GIT_AUTH_FAILED", "", "POST", "/git/clone", m{"url": url, "path": "none"})
		b.refused(404, "GIT_BRANCH_NOT_FOUND", "", "POST", "/git/checkout", m{"path": "app", "branch": "none"})
		b.want(200, "POST", "/git/clone", with(fmt.Sprint("clone", i)), nil)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		r, err := http.NewRequestWithContext(ctx, "GET", b.url+"/git/history?path=app", nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := res.Body.Read(make([]byte, 100)); err != nil {
			t.Fatal(err)
		}
		cancel()
		res.Body.Close()
	}
	count := func() (fds, goroutines int) {
		http.DefaultClient.CloseIdleConnections()
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries), runtime.NumGoroutine()
	}
	for i := range 2 {
		once(i)
	}
	settled := func() bool { return b.svc.Space.Table.Running() == 0 && !b.svc.locks.any() }
	wait := func(what string, ok func() bool) {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s; %d processes", what, b.svc.Space.Table.Running())
			}
		}
	}
	wait("git still runs", settled)
	fds, goroutines := count()
	for i := range 10 {
		once(10 + i)
	}
	wait("git still runs", settled)
	const slack = 3 // the test servers' own connections come and go
	wait(fmt.Sprintf("there were %d descriptors and %d goroutines", fds, goroutines), func() bool {
		f, g := count()
		return f <= fds+slack && g <= goroutines+slack
	})
}
