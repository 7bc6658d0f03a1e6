package embedded_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"daytona/internal/objectstore"
	"daytona/internal/objectstore/buckettest"
	"daytona/internal/objectstore/embedded"
)

// childVariable makes this test the program that serves.
const childVariable = "DAYTONA_TEST_OBJECT_STORE"

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		if err := embedded.Serve(context.Background(), os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func open(t *testing.T, dir string) *embedded.Store {
	t.Helper()
	s := embedded.New(embedded.Config{Dir: dir, Command: []string{os.Args[0]}, Env: []string{childVariable + "=1"}, Log: slog.New(slog.DiscardHandler)})
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestEmbedded(t *testing.T) { buckettest.Run(t, open(t, t.TempDir()).Bucket("daytona")) }

// Another S3, reached as any is: by its address and with its keys.
func TestS3(t *testing.T) {
	other := open(t, t.TempDir())
	c := other.S3("elsewhere")
	if err := objectstore.Create(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if err := objectstore.Create(t.Context(), c); err != nil {
		t.Fatalf("a second time: %v", err)
	}
	buckettest.Run(t, objectstore.NewS3(c))
}

func TestNothingRunsBeforeItIsNeeded(t *testing.T) {
	s := open(t, t.TempDir())
	b := s.Bucket("daytona")
	if err := b.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	if pid := s.PID(); pid != 0 {
		t.Errorf("process %d runs", pid)
	}
	if _, err := b.List(t.Context(), objectstore.Query{}); err != nil {
		t.Fatal(err)
	}
	if err := b.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	pid := s.PID()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, 0); err == nil {
		t.Errorf("process %d outlived its store", pid)
	}
	if _, err := b.List(t.Context(), objectstore.Query{}); err == nil {
		t.Error("a closed store answers")
	}
}

// Whatever was answered is there after a kill, and what was under way is not to
// be seen.
func TestKilled(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	b := s.Bucket("daytona")
	for i := range 5 {
		key := fmt.Sprintf("org/%d/context.tar", i)
		if _, err := b.Put(t.Context(), key, strings.NewReader("content"), 7, ""); err != nil {
			t.Fatal(err)
		}
		r, w := io.Pipe()
		ended := make(chan error, 1)
		go func() {
			_, err := b.Put(t.Context(), key+".cut", r, 1<<20, "")
			ended <- err
			_ = r.Close()
		}()
		if _, err := w.Write(make([]byte, 100_000)); err != nil {
			t.Fatal(err)
		}
		pid := s.PID()
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		_, _ = w.Write(make([]byte, 1<<20))
		_ = w.Close()
		if err := <-ended; err == nil {
			t.Error("a put into a killed store succeeded")
		}
		for deadline := time.Now().Add(10 * time.Second); s.PID() == pid; {
			if time.Now().After(deadline) {
				t.Fatal("the killed process stays")
			}
			time.Sleep(time.Millisecond) // until the parent has reaped it
		}
		if o, err := b.Stat(t.Context(), key); err != nil || o.Size != 7 {
			t.Errorf("after the kill: %+v, %v", o, err)
		}
		page, err := b.List(t.Context(), objectstore.Query{Prefix: "org/"})
		if err != nil || len(page.Objects) != i+1 {
			t.Errorf("after %d kills: %+v, %v", i+1, page, err)
		}
	}
}

func TestFailedStartIsTold(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	b := open(t, filepath.Join(file, "below")).Bucket("daytona")
	_, listed := b.List(t.Context(), objectstore.Query{})
	for _, err := range []error{b.Check(t.Context()), listed} {
		if err == nil || !strings.Contains(err.Error(), "not a directory") {
			t.Errorf("got %v", err)
		}
	}
}
