package runner_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/uuid"

	"daytona/api/runnerapi"
	"daytona/internal/fault"
)

// written makes a stopped sandbox in whose home is a file.
func (w *world) written(content string) runnerapi.Spec {
	w.t.Helper()
	s := spec()
	w.create(s)
	if err := os.WriteFile(w.home(s.ID), []byte(content), 0o600); err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.Stop(w.t.Context(), s.ID, true); err != nil {
		w.t.Fatal(err)
	}
	return s
}

func (w *world) home(id string) string { return filepath.Join(w.roots.Path(id), "home/daytona/file") }

func (w *world) holds(id, want string) {
	w.t.Helper()
	if got, err := os.ReadFile(w.home(id)); err != nil || string(got) != want {
		w.t.Errorf("its file has %q: %v", got, err)
	}
}

func (w *world) export(id string) (string, []byte) {
	w.t.Helper()
	var b bytes.Buffer
	base, err := w.Export(w.t.Context(), id, &b)
	if err != nil {
		w.t.Fatal(err)
	}
	return base, b.Bytes()
}

func TestFilesComeBackAfterDelete(t *testing.T) {
	w := newWorld(t, nil)
	s := w.written("kept")
	base, files := w.export(s.ID)
	if err := w.Delete(t.Context(), s.ID); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second finds it there
		sb, err := w.Import(t.Context(), s, base, bytes.NewReader(files))
		if err != nil || sb.State != runnerapi.StateStopped {
			t.Fatalf("import: %s %v", sb.State, err)
		}
	}
	w.holds(s.ID, "kept")
	if _, err := w.Start(t.Context(), s.ID); err != nil {
		t.Fatal(err)
	}
	// The tombstone is gone for good.
	w.close()
	again := reopen(t, w.dir, nil)
	if sb, err := again.Inspect(t.Context(), s.ID); err != nil || sb.State != runnerapi.StateRunning {
		t.Errorf("after a restart: %s %v", sb.State, err)
	}
	again.agrees()
}

func TestImportThatFailsLeavesNothing(t *testing.T) {
	w := newWorld(t, nil)
	for name, files := range map[string]io.Reader{
		"no stream":    bytes.NewReader([]byte("this is no tar stream, however long it may be")),
		"broken store": io.MultiReader(errReader{}),
	} {
		s := spec()
		if _, err := w.Import(t.Context(), s, "", files); err == nil {
			t.Errorf("%s: taken", name)
		}
		if _, err := w.Inspect(t.Context(), s.ID); !fault.Is(err, fault.NotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
	s := spec()
	if _, err := w.Import(t.Context(), s, "another image", bytes.NewReader(nil)); !fault.Is(err, fault.Unprocessable) {
		t.Error("another base:", err)
	}
	w.nothingLeft()
}

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, errors.New("object storage failed") }

// An import that the runner's end cut off is undone by the next one, and can be
// repeated.
func TestImportAfterTheRunnerDied(t *testing.T) {
	w := newWorld(t, nil)
	s := w.written("kept")
	base, files := w.export(s.ID)
	s.ID = uuid.NewString()
	ctx, give := context.WithCancel(t.Context())
	pr, pw := io.Pipe()
	failed := make(chan error, 1)
	go func() { _, err := w.Import(ctx, s, base, pr); failed <- err }()
	if _, err := pw.Write(files[:len(files)/2]); err != nil {
		t.Fatal(err)
	}
	record := filepath.Join(w.dir, "runner", "sandboxes", s.ID, "record.fast.json")
	saved, err := os.ReadFile(record)
	if err != nil {
		t.Fatal(err)
	}
	give()
	_ = pw.CloseWithError(io.ErrUnexpectedEOF) // never fails
	if err := <-failed; err == nil {
		t.Fatal("the import went through")
	}
	w.close()
	// As it was when the process was killed.
	if err := errors.Join(os.MkdirAll(filepath.Dir(record), 0o700), os.WriteFile(record, saved, 0o600), os.MkdirAll(w.roots.Path(s.ID), 0o755)); err != nil {
		t.Fatal(err)
	}
	again := reopen(t, w.dir, nil)
	if _, err := again.Import(t.Context(), s, base, bytes.NewReader(files)); err != nil {
		t.Fatal(err)
	}
	again.holds(s.ID, "kept")
	again.agrees()
}

// Whatever else is asked of a sandbox goes before the reading of its files.
func TestExportGivesWay(t *testing.T) {
	for name, act := range map[string]func(w *world, id string) error{
		"start":  func(w *world, id string) error { _, err := w.Start(w.t.Context(), id); return err },
		"delete": func(w *world, id string) error { return w.Delete(w.t.Context(), id) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			s := w.written("kept")
			pr, pw := io.Pipe()
			exported := make(chan error, 1)
			go func() { _, err := w.Export(t.Context(), s.ID, pw); exported <- err }()
			if _, err := pr.Read(make([]byte, 100)); err != nil { // it is under way
				t.Fatal(err)
			}
			acted := make(chan error, 1)
			go func() { acted <- act(w, s.ID) }()
			go func() { _, _ = io.Copy(io.Discard, pr) }()
			if err := <-exported; err != nil && !fault.Is(err, fault.Conflict) {
				t.Errorf("export: %v", err)
			}
			if err := <-acted; err != nil {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
}

func TestForkOfAStoppedSandbox(t *testing.T) {
	w := newWorld(t, nil)
	s := w.written("shared")
	fork := s
	fork.ID = uuid.NewString()
	other := fork
	other.ID, other.OrgID = uuid.NewString(), "another"
	if _, err := w.Fork(t.Context(), s.ID, other); !fault.Is(err, fault.NotFound) {
		t.Error("fork by another organization:", err)
	}
	if sb, err := w.Fork(t.Context(), s.ID, fork); err != nil || sb.State != runnerapi.StateStopped {
		t.Fatalf("fork: %s %v", sb.State, err)
	}
	w.holds(fork.ID, "shared")
	if _, err := w.Start(t.Context(), s.ID); err != nil {
		t.Fatal(err)
	}
	fork.ID = uuid.NewString()
	if _, err := w.Fork(t.Context(), s.ID, fork); !fault.Is(err, fault.Conflict) {
		t.Error("fork of a running one:", err)
	}
	if _, err := w.Inspect(t.Context(), fork.ID); !fault.Is(err, fault.NotFound) {
		t.Error("a fork that failed is there:", err)
	}
	w.agrees()
}
