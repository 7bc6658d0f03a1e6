package session

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// gigantic is a command that prints so many bytes, of which each line is another.
func gigantic(bytes int) string { return fmt.Sprintf("seq 1 100000000 | head -c %d", bytes) }

func gigabytes(n int) []byte {
	var b bytes.Buffer
	for i := 1; b.Len() < n; i++ {
		fmt.Fprintf(&b, "%d\n", i)
	}
	return b.Bytes()[:n]
}

func TestTenReadersGetEverything(t *testing.T) {
	b := newBox(t)
	b.create("s")
	const size = 8 << 20
	want := sha256.Sum256(gigabytes(size))
	id := b.begin("s", "until [ -e go ]; do sleep 0.01; done; "+gigantic(size))
	path := "/process/session/s/command/" + id + "/logs?follow=true"
	var readers sync.WaitGroup
	read := func() {
		resp, err := http.DefaultClient.Do(b.request(t.Context(), "GET", path, nil))
		if err != nil {
			t.Error(err)
			return
		}
		defer resp.Body.Close()
		hash := sha256.New()
		n, err := io.Copy(hash, resp.Body)
		if err != nil || [32]byte(hash.Sum(nil)) != want {
			t.Errorf("a reader got %d bytes, not the right ones or not all: %v", n, err)
		}
	}
	for range 9 {
		readers.Go(read)
	}
	conn := b.dial(path)
	if err := os.WriteFile(b.dir+"/work/go", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	hash := sha256.New()
	for {
		_, frame, err := conn.Read(t.Context())
		if err != nil {
			break
		}
		_, _ = hash.Write(frame)
	}
	if [32]byte(hash.Sum(nil)) != want {
		t.Error("a WebSocket did not get the right bytes")
	}
	readers.Go(read) // late
	readers.Wait()
}

// A client that does not read holds neither the command nor another client nor
// memory, and it is let go.
func TestAStalledReaderHoldsOnlyItself(t *testing.T) {
	b := newBox(t, func(c *Config) { c.Patience = 300 * time.Millisecond })
	b.create("s")
	const size = 48 << 20
	id := b.begin("s", "until [ -e go ]; do sleep 0.01; done; "+gigantic(size))
	path := "/process/session/s/command/" + id + "/logs?follow=true"
	stalled, err := new(net.Dialer).DialContext(t.Context(), "tcp", strings.TrimPrefix(b.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer stalled.Close()
	if err := stalled.(*net.TCPConn).SetReadBuffer(4096); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(stalled, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path)
	socket := b.dial(path) // is not read either
	defer func() { _ = socket.CloseNow() }()
	if err := os.WriteFile(b.dir+"/work/go", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if c := b.finished("s", id); *c.ExitCode != 0 {
		t.Errorf("%+v", c)
	}
	resp, err := http.DefaultClient.Do(b.request(t.Context(), "GET", path, nil))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if n, err := io.Copy(io.Discard, resp.Body); n != size || err != nil {
		t.Errorf("another reader got %d bytes: %v", n, err)
	}
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	if m.HeapAlloc > 16<<20 {
		t.Errorf("%d MiB of memory are held", m.HeapAlloc>>20)
	}
	// It is let go: reading on, it finds the end before the output's.
	eventually(t, "the stalled reader is let go", func() bool {
		return openLogs(b) == 0
	})
}

// openLogs counts this process's open files in the directory of logs.
func openLogs(b *box) int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		b.t.Fatal(err)
	}
	n := 0
	for _, entry := range entries {
		if target, err := os.Readlink("/proc/self/fd/" + entry.Name()); err == nil && strings.HasPrefix(target, b.logs+"/") {
			n++
		}
	}
	return n
}

func TestWhoReconnectsReadsFromTheStart(t *testing.T) {
	b := newBox(t)
	b.create("s")
	id := b.begin("s", "for i in 1 2 3; do echo $i; read x; done")
	path := "/process/session/s/command/" + id + "/logs?follow=true"
	for i := range 3 {
		ctx, cancel := context.WithCancel(t.Context())
		resp, err := http.DefaultClient.Do(b.request(ctx, "GET", path, nil))
		if err != nil {
			t.Fatal(err)
		}
		want := "1\n"
		for j := 1; j <= i; j++ {
			want += fmt.Sprintf("x\n%d\n", j+1)
		}
		got := make([]byte, len(want))
		if _, err := io.ReadFull(resp.Body, got); err != nil || string(got) != want {
			t.Errorf("connection %d: %q, %v", i, got, err)
		}
		cancel()
		resp.Body.Close()
		b.want(204, "POST", "/process/session/s/command/"+id+"/input", `{"data":"x"}`, nil)
	}
	if frames, code := b.follow(path); string(join(frames)) != "1\nx\n2\nx\n3\nx\n" || code != 1000 {
		t.Errorf("%q %d", join(frames), code)
	}
}

func TestNothingStaysOpen(t *testing.T) {
	b := newBox(t)
	b.create("warm")
	b.run("warm", "echo")
	b.want(204, "DELETE", "/process/session/warm", nil, nil)
	http.DefaultClient.CloseIdleConnections()
	count := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	descriptors, goroutines := count(), runtime.NumGoroutine()
	for i := range 20 {
		id := fmt.Sprint("s", i)
		b.create(id)
		for range 5 {
			b.run(id, "echo x; echo y >&2; sleep 1000 &")
		}
		b.follow("/process/session/" + id + "/command/" + b.begin(id, "echo z") + "/logs?follow=true")
		b.want(204, "DELETE", "/process/session/"+id, nil, nil)
	}
	http.DefaultClient.CloseIdleConnections()
	eventually(t, "all is as before", func() bool {
		return count() <= descriptors && runtime.NumGoroutine() <= goroutines
	})
}

// The files belong to the sandbox's user, who may do anything with them.
func TestTampering(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("do not show"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		do     func(dir string) error
		status int
		body   string
	}{
		"log is a link": {func(d string) error {
			return replace(d+"/output.log", func(p string) error { return os.Symlink(secret, p) })
		}, 410, "removed"},
		"index is a link": {func(d string) error {
			return replace(d+"/output.idx", func(p string) error { return os.Symlink(secret, p) })
		}, 410, "removed"},
		"log is a pipe":  {func(d string) error { return replace(d+"/output.log", mkfifo) }, 410, "removed"},
		"log is removed": {func(d string) error { return os.Remove(d + "/output.log") }, 410, "removed"},
		"all is removed": {os.RemoveAll, 410, "removed"},
		"directory is a link": {func(d string) error {
			if err := os.Rename(d, d+".old"); err != nil {
				return err
			}
			return os.Symlink(filepath.Dir(secret), d)
		}, 410, "removed"},
		"log is cut":       {func(d string) error { return os.Truncate(d+"/output.log", 3) }, 200, "out"},
		"log is longer":    {func(d string) error { return os.WriteFile(d+"/output.log", []byte("out\nerr\nmore"), 0o600) }, 200, "out\nerr\n"},
		"index is emptied": {func(d string) error { return os.Truncate(d+"/output.idx", 0) }, 200, "out\nerr\n"},
		"index is noise":   {func(d string) error { return os.WriteFile(d+"/output.idx", bytes.Repeat([]byte{0xee}, 99), 0o600) }, 200, "out\nerr\n"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBox(t)
			b.create("s")
			got := b.run("s", "echo out; sleep 0.1; echo err >&2")
			if err := test.do(filepath.Join(b.logs, "s", got.CmdID)); err != nil {
				t.Fatal(err)
			}
			path := "/process/session/s/command/" + got.CmdID + "/logs"
			resp, err := http.DefaultClient.Do(b.request(t.Context(), "GET", path, nil))
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || resp.StatusCode != test.status || !strings.Contains(string(body), test.body) || strings.Contains(string(body), "do not show") {
				t.Errorf("%d %s %v", resp.StatusCode, body, err)
			}
			// The session goes on.
			if got := b.run("s", "echo again"); *got.Output != "again\n" {
				t.Errorf("%+v", got)
			}
			b.want(204, "DELETE", "/process/session/s", nil, nil)
			if content, err := os.ReadFile(secret); err != nil || string(content) != "do not show" {
				t.Errorf("the file outside is %q, %v", content, err)
			}
		})
	}
	t.Run("everything is removed", func(t *testing.T) {
		b := newBox(t)
		b.create("s")
		got := b.run("s", "echo gone; rm -rf "+b.dir+"/home/.daytona "+b.dir+"/pipes/*")
		if *got.ExitCode != 0 || !strings.Contains(*got.Output, "the log has been removed; 5 bytes were dropped") {
			t.Errorf("%d %q", *got.ExitCode, *got.Output)
		}
		if got := b.run("s", "echo again"); *got.Output != "again\n" {
			t.Errorf("%+v", got)
		}
		b.create("other")
		b.run("other", "echo")
	})
}

func replace(path string, make func(string) error) error {
	if err := os.Remove(path); err != nil {
		return err
	}
	return make(path)
}

func TestEntrypoint(t *testing.T) {
	b := newBox(t)
	var session sessionReply
	b.want(200, "GET", "/process/session/entrypoint", nil, &session)
	if session.SessionID != "entrypoint" || session.Commands == nil || len(session.Commands) != 0 {
		t.Errorf("%+v", session)
	}
	if status, body := b.do("GET", "/process/session/entrypoint/logs", nil); status != 200 || body != "" {
		t.Errorf("%d %q", status, body)
	}
	if frames, code := b.follow("/process/session/entrypoint/logs?follow=true"); len(frames) != 0 || code != 1000 {
		t.Errorf("%q %d", frames, code)
	}
	child, err := b.s.StartEntrypoint([]string{"sh", "-c", "echo out; echo err >&2; until [ -e go ]; do sleep 0.01; done; pwd; exit 5"})
	if err != nil {
		t.Fatal(err)
	}
	b.want(200, "GET", "/process/session/entrypoint", nil, &session)
	if len(session.Commands) != 1 || session.Commands[0].ExitCode != nil || !strings.HasPrefix(session.Commands[0].Command, "sh -c echo out") {
		t.Errorf("%+v", session)
	}
	conn := b.dial("/process/session/entrypoint/logs?follow=true", newest...)
	if err := os.WriteFile(b.dir+"/work/go", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var all []byte
	for {
		_, frame, err := conn.Read(t.Context())
		if err != nil {
			break
		}
		all = append(all, frame...)
	}
	if out, errs := demux(all); out != "out\n"+b.dir+"/work\n" || errs != "err\n" {
		t.Errorf("%q %q", out, errs)
	}
	<-child.Done()
	c := b.finished("entrypoint", session.Commands[0].ID)
	if *c.ExitCode != 5 {
		t.Errorf("%+v", c)
	}
	var logs struct{ Output, Stdout, Stderr *string }
	b.want(200, "GET", "/process/session/entrypoint/logs", nil, &logs, newest...)
	if *logs.Stderr != "err\n" || len(*logs.Output) != len(*logs.Stdout)+4 {
		t.Errorf("%q %q", *logs.Stdout, *logs.Stderr)
	}
	if _, body := b.do("GET", "/process/session", nil); strings.TrimSpace(body) != "[]" {
		t.Errorf("the list shows it: %s", body)
	}
	b.wantError(400, "BAD_REQUEST", "takes no commands", "POST", "/process/session/entrypoint/exec", `{"command":"x"}`)
	b.wantError(400, "BAD_REQUEST", "cannot be deleted", "DELETE", "/process/session/entrypoint", nil)
}

func TestEntrypointThatCannotBeStarted(t *testing.T) {
	b := newBox(t)
	if _, err := b.s.StartEntrypoint([]string{"no-such-program"}); err == nil {
		t.Fatal("it was started")
	}
	if _, body := b.do("GET", "/process/session/entrypoint/logs", nil); !strings.Contains(body, "not found in $PATH") {
		t.Errorf("%q", body)
	}
	var session sessionReply
	b.want(200, "GET", "/process/session/entrypoint", nil, &session)
	if session.Commands[0].Cause != "notStarted" {
		t.Errorf("%+v", session)
	}
}
