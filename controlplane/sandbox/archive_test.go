package sandbox_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"daytona/api/runnerapi"
	"daytona/controlplane/fleet/fleettest"
	"daytona/controlplane/sandbox"
	"daytona/internal/fault"
	"daytona/internal/objectstore"
)

// bucket is an object store that can be made to misbehave.
type bucket struct {
	objectstore.Bucket
	mu  sync.Mutex
	put func(ctx context.Context, key string) error
	lie bool // keep other bytes than were given
}

func (b *bucket) on(put func(ctx context.Context, key string) error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.put = put
}

func (b *bucket) Put(ctx context.Context, key string, body io.Reader, size int64, contentType string) (objectstore.Object, error) {
	b.mu.Lock()
	put, lie := b.put, b.lie
	b.mu.Unlock()
	if put != nil {
		if err := put(ctx, key); err != nil {
			return objectstore.Object{}, err
		}
	}
	if lie {
		data, err := io.ReadAll(body)
		if err != nil {
			return objectstore.Object{}, err
		}
		data[len(data)/2] ^= 0x10
		body = bytes.NewReader(data)
	}
	return b.Bucket.Put(ctx, key, body, size, contentType)
}

// keys lists what is in the object store.
func (w *world) keys() []string {
	w.t.Helper()
	page, err := w.bucket.List(w.ctx, objectstore.Query{})
	w.must(err)
	var keys []string
	for _, o := range page.Objects {
		keys = append(keys, o.Key)
	}
	return keys
}

func noise(n int) []byte {
	data := make([]byte, n)
	src := rand.NewChaCha8([32]byte{1})
	_, _ = src.Read(data) // never fails
	return data
}

// stopped makes a stopped sandbox that has written something.
func (w *world) stopped(files []byte) sandbox.Sandbox {
	w.t.Helper()
	sb := w.create(sandbox.CreateRequest{})
	w.runner.SetFiles(sb.ID, files)
	sb, err := w.m.Stop(w.ctx, w.org, sb.ID, false)
	w.must(err)
	return sb
}

func TestArchiveAndStartAgain(t *testing.T) {
	w := newWorld(t)
	w.run(w.m)
	files := noise(9 << 20)
	sb := w.stopped(files)
	_, err := w.m.Archive(w.ctx, w.org, sb.ID)
	w.must(err)
	sb = w.wait(sb.ID, sandbox.Archived)
	for sb.RunnerID != "" {
		sb = w.get(sb.ID)
	}
	if got := w.runner.States(); len(got) != 0 {
		t.Errorf("the runner still has %v", got)
	}
	if sb.Desired != sandbox.Archived || !sb.Backup.Complete() || sb.Backup.State != sandbox.BackupCompleted || sb.Backup.Ref.Size != int64(len(files)) {
		t.Errorf("row %+v backup %+v", sb, sb.Backup)
	}
	used, err := w.db.OrganizationUsage(w.ctx, w.org)
	w.must(err)
	for region, u := range used {
		if u.CPU != 0 || u.DiskGiB != 0 {
			t.Errorf("an archived sandbox takes %+v of the quota in %s", u, region)
		}
	}
	if _, _, err := w.m.Target(w.ctx, sb.ID); !fault.Is(err, fault.Invalid) {
		t.Errorf("a request to an archived sandbox: %v", err)
	}
	again, err := w.m.Archive(w.ctx, w.org, sb.ID)
	if err != nil || again.State != sandbox.Archived {
		t.Errorf("archive again: %s %v", again.State, err)
	}
	_, err = w.m.Start(w.ctx, w.org, sb.ID)
	w.must(err)
	sb = w.wait(sb.ID, sandbox.Started)
	if sb.RunnerID != "r1" || !bytes.Equal(w.runner.Files(sb.ID), files) {
		t.Errorf("on runner %q its files came back as %d bytes", sb.RunnerID, len(w.runner.Files(sb.ID)))
	}
	_, err = w.m.Delete(w.ctx, w.org, sb.ID)
	w.must(err)
	w.wait(sb.ID, sandbox.Destroyed)
	if left := w.keys(); len(left) != 0 {
		t.Errorf("object storage still has %v", left)
	}
}

func TestArchiveRefuses(t *testing.T) {
	w := newWorld(t)
	w.run(w.m)
	sb := w.create(sandbox.CreateRequest{})
	_, err := w.m.Archive(w.ctx, w.org, sb.ID)
	w.wantKind(err, fault.Invalid)
	sb = w.create(sandbox.CreateRequest{})
	_, err = w.m.Stop(w.ctx, w.org, sb.ID, false)
	w.must(err)
	_, err = w.m.SetAutoDelete(w.ctx, w.org, sb.ID, 0)
	w.must(err)
	_, err = w.m.Archive(w.ctx, w.org, sb.ID)
	w.wantKind(err, fault.Invalid)
	_, err = w.m.Archive(w.ctx, "another", sb.ID)
	w.wantKind(err, fault.NotFound)
}

func TestRestoreOnAnotherRunner(t *testing.T) {
	w := newWorld(t)
	w.run(w.m)
	sb := w.stopped([]byte("files"))
	_, err := w.m.Archive(w.ctx, w.org, sb.ID)
	w.must(err)
	sb = w.wait(sb.ID, sandbox.Archived)
	second := fleettest.New("r2", slim)
	w.must(w.fleet.Add(w.ctx, "us", second))
	w.runner.On("Import", func(context.Context, string) error { return errors.New("down") })
	// The first runner does not take it: the next attempt goes elsewhere.
	_, err = w.m.Start(w.ctx, w.org, sb.ID)
	w.must(err)
	w.wait(sb.ID, sandbox.Error)
	_, err = w.m.Start(w.ctx, w.org, sb.ID)
	w.must(err)
	sb = w.wait(sb.ID, sandbox.Started)
	if sb.RunnerID != "r2" || string(second.Files(sb.ID)) != "files" {
		t.Errorf("on %s with %q", sb.RunnerID, second.Files(sb.ID))
	}
}

func TestObjectStoreThatFails(t *testing.T) {
	for name, misbehave := range map[string]func(b *bucket){
		"refuses": func(b *bucket) {
			b.on(func(context.Context, string) error { return errors.New("access denied") })
		},
		"hangs": func(b *bucket) {
			b.on(func(ctx context.Context, _ string) error { <-ctx.Done(); return ctx.Err() })
		},
		"lies":                  func(b *bucket) { b.lie = true },
		"fails at the last one": func(b *bucket) { b.on(failOn("manifests/")) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.run(w.m)
			files := noise(9 << 20)
			sb := w.stopped(files)
			misbehave(w.bucket)
			_, err := w.m.Archive(w.ctx, w.org, sb.ID)
			w.must(err)
			sb = w.wait(sb.ID, sandbox.Error)
			if !sb.Recoverable || sb.ErrorReason == nil || !strings.HasPrefix(*sb.ErrorReason, "Archiving failed: ") || sb.Backup.State != sandbox.BackupError {
				t.Errorf("recoverable %v, reason %v, backup %+v", sb.Recoverable, *sb.ErrorReason, sb.Backup)
			}
			if !bytes.Equal(w.runner.Files(sb.ID), files) {
				t.Error("the runner's copy is gone")
			}
			w.bucket.on(nil)
			w.bucket.mu.Lock()
			w.bucket.lie = false
			w.bucket.mu.Unlock()
			// It is tried again by itself.
			w.pass(sandbox.ArchiveAgain + time.Minute)
			sb = w.wait(sb.ID, sandbox.Archived)
			_, err = w.m.Start(w.ctx, w.org, sb.ID)
			w.must(err)
			sb = w.wait(sb.ID, sandbox.Started)
			if !bytes.Equal(w.runner.Files(sb.ID), files) || sb.ErrorReason != nil {
				t.Errorf("after all: %v", sb.ErrorReason)
			}
		})
	}
}

func failOn(part string) func(context.Context, string) error {
	return func(_ context.Context, key string) error {
		if strings.Contains(key, part) {
			return fault.New(fault.Unavailable, "object storage is full")
		}
		return nil
	}
}

func TestStartAfterFailedArchive(t *testing.T) {
	w := newWorld(t)
	w.run(w.m)
	sb := w.stopped([]byte("files"))
	w.bucket.on(failOn("chunks/"))
	_, err := w.m.Archive(w.ctx, w.org, sb.ID)
	w.must(err)
	w.wait(sb.ID, sandbox.Error)
	_, err = w.m.Start(w.ctx, w.org, sb.ID)
	w.must(err)
	sb = w.wait(sb.ID, sandbox.Started)
	if string(w.runner.Files(sb.ID)) != "files" {
		t.Error("its files are gone")
	}
}

func TestStartBreaksOffAnArchive(t *testing.T) {
	w := newWorld(t)
	w.run(w.m)
	sb := w.stopped([]byte("files"))
	reached := make(chan struct{}, 10)
	w.bucket.on(func(ctx context.Context, _ string) error { reached <- struct{}{}; <-ctx.Done(); return ctx.Err() })
	go func() { _, _ = w.m.Archive(w.ctx, w.org, sb.ID) }()
	<-reached
	_, err := w.m.Start(w.ctx, w.org, sb.ID)
	w.must(err)
	w.wait(sb.ID, sandbox.Started)
	if string(w.runner.Files(sb.ID)) != "files" {
		t.Error("its files are gone")
	}
}

func TestDeleteFromEachStepOfAnArchive(t *testing.T) {
	hang := func(ctx context.Context, _ string) error { <-ctx.Done(); return ctx.Err() }
	for name, prepare := range map[string]func(w *world, sb sandbox.Sandbox){
		"archiving": func(w *world, sb sandbox.Sandbox) {
			w.bucket.on(hang)
			go func() { _, _ = w.m.Archive(w.ctx, w.org, sb.ID) }()
			w.wait(sb.ID, sandbox.Archiving)
		},
		"archived": func(w *world, sb sandbox.Sandbox) {
			_, err := w.m.Archive(w.ctx, w.org, sb.ID)
			w.must(err)
			w.wait(sb.ID, sandbox.Archived)
		},
		"restoring": func(w *world, sb sandbox.Sandbox) {
			_, err := w.m.Archive(w.ctx, w.org, sb.ID)
			w.must(err)
			w.wait(sb.ID, sandbox.Archived)
			w.runner.On("Import", func(ctx context.Context, id string) error { return hang(ctx, id) })
			go func() { _, _ = w.m.Start(w.ctx, w.org, sb.ID) }()
			w.wait(sb.ID, sandbox.Restoring)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.run(w.m)
			sb := w.stopped([]byte("files"))
			prepare(w, sb)
			_, err := w.m.Delete(w.ctx, w.org, sb.ID)
			w.must(err)
			w.wait(sb.ID, sandbox.Destroyed)
			if got := w.runner.States(); len(got) != 0 {
				t.Errorf("the runner still has %v", got)
			}
		})
	}
}

func TestFailedRestoreCanBeTriedAgain(t *testing.T) {
	w := newWorld(t)
	w.run(w.m)
	sb := w.stopped([]byte("files"))
	_, err := w.m.Archive(w.ctx, w.org, sb.ID)
	w.must(err)
	w.wait(sb.ID, sandbox.Archived)
	w.runner.On("Import", func(context.Context, string) error { return fault.New(fault.Unprocessable, "the disk is broken") })
	_, err = w.m.Start(w.ctx, w.org, sb.ID)
	w.must(err)
	sb = w.wait(sb.ID, sandbox.Error)
	if !sb.Recoverable || !strings.Contains(*sb.ErrorReason, "the disk is broken") || sb.RunnerID != "" {
		t.Errorf("recoverable %v, runner %q, %s", sb.Recoverable, sb.RunnerID, *sb.ErrorReason)
	}
	w.runner.On("Import", nil)
	_, err = w.m.Start(w.ctx, w.org, sb.ID)
	w.must(err)
	w.wait(sb.ID, sandbox.Started)
	if string(w.runner.Files(sb.ID)) != "files" {
		t.Error("its files are gone")
	}
}

func TestAutoArchive(t *testing.T) {
	w := newWorld(t)
	w.run(w.m)
	sb := w.stopped([]byte("files"))
	_, err := w.m.SetAutoArchive(w.ctx, w.org, sb.ID, 60)
	w.must(err)
	w.pass(59 * time.Minute)
	w.resync(w.m)
	if got := w.get(sb.ID); got.State != sandbox.Stopped {
		t.Errorf("archived before its time: %s", got.State)
	}
	w.pass(2 * time.Minute)
	sb = w.wait(sb.ID, sandbox.Archived)
	if sb.EndCause != string(runnerapi.CauseUser) {
		t.Errorf("cause %q", sb.EndCause)
	}
	// Archived sandboxes are not deleted by themselves.
	_, err = w.m.SetAutoDelete(w.ctx, w.org, sb.ID, 5)
	w.must(err)
	w.pass(24 * time.Hour)
	w.resync(w.m)
	if got := w.get(sb.ID); got.State != sandbox.Archived {
		t.Errorf("an archived sandbox became %s", got.State)
	}
}

func (w *world) waitBackup(id string, state sandbox.BackupState) sandbox.Sandbox {
	w.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		sb := w.get(id)
		if sb.Backup != nil && sb.Backup.State == state {
			return sb
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("the backup stays %+v, want %s", sb.Backup, state)
		}
	}
}

func TestBackupIsIncrementalAndSavesALostSandbox(t *testing.T) {
	w := newWorld(t)
	w.run(w.m)
	sb := w.create(sandbox.CreateRequest{})
	files := noise(20 << 20)
	w.runner.SetFiles(sb.ID, files)
	_, err := w.m.Backup(w.ctx, w.org, sb.ID)
	w.must(err)
	first := w.waitBackup(sb.ID, sandbox.BackupCompleted)
	if first.State != sandbox.Started || first.Backup.Ref.Sent < 20<<20 {
		t.Errorf("%s, backup %+v", first.State, first.Backup)
	}
	files = append(files[:10<<20:10<<20], append([]byte("new"), files[10<<20:]...)...)
	w.runner.SetFiles(sb.ID, files)
	_, err = w.m.Backup(w.ctx, w.org, sb.ID)
	w.must(err)
	for sb = w.waitBackup(sb.ID, sandbox.BackupCompleted); sb.Backup.At.Equal(first.Backup.At); {
		sb = w.waitBackup(sb.ID, sandbox.BackupCompleted)
	}
	if sb.Backup.Ref.Sent > 17<<20 {
		t.Errorf("%d bytes were sent for a change of three", sb.Backup.Ref.Sent)
	}
	w.runner.Lose(sb.ID)
	sb = w.wait(sb.ID, sandbox.Error)
	if !sb.Recoverable || sb.EndCause != string(runnerapi.CauseHostLost) {
		t.Errorf("recoverable %v, cause %s", sb.Recoverable, sb.EndCause)
	}
	_, err = w.m.Recover(w.ctx, w.org, sb.ID, false)
	w.must(err)
	w.wait(sb.ID, sandbox.Started)
	if !bytes.Equal(w.runner.Files(sb.ID), files) {
		t.Error("the files are not those of the last backup")
	}
}

func TestBackupThatFailsSaysSo(t *testing.T) {
	w := newWorld(t)
	w.run(w.m)
	sb := w.create(sandbox.CreateRequest{})
	w.runner.SetFiles(sb.ID, []byte("files"))
	w.bucket.on(failOn("chunks/"))
	_, err := w.m.Backup(w.ctx, w.org, sb.ID)
	w.must(err)
	sb = w.waitBackup(sb.ID, sandbox.BackupError)
	if sb.State != sandbox.Started || !strings.Contains(sb.Backup.Error, "object storage is full") {
		t.Errorf("%s, backup %+v", sb.State, sb.Backup)
	}
	w.bucket.on(nil)
	_, err = w.m.Backup(w.ctx, w.org, sb.ID)
	w.must(err)
	w.waitBackup(sb.ID, sandbox.BackupCompleted)
}

func TestStopBreaksOffABackupWhichThenGoesOn(t *testing.T) {
	w := newWorld(t)
	w.run(w.m)
	sb := w.create(sandbox.CreateRequest{})
	w.runner.SetFiles(sb.ID, []byte("files"))
	reached := make(chan struct{})
	var once sync.Once
	w.bucket.on(func(ctx context.Context, _ string) error {
		once.Do(func() { close(reached); <-ctx.Done() })
		return ctx.Err()
	})
	_, err := w.m.Backup(w.ctx, w.org, sb.ID)
	w.must(err)
	<-reached
	_, err = w.m.Stop(w.ctx, w.org, sb.ID, false)
	w.must(err)
	w.wait(sb.ID, sandbox.Stopped)
	w.waitBackup(sb.ID, sandbox.BackupCompleted)
}

func TestRecover(t *testing.T) {
	w := newWorld(t)
	w.run(w.m)
	sb := w.stopped([]byte("files"))
	_, err := w.m.Recover(w.ctx, w.org, sb.ID, false)
	w.wantKind(err, fault.Invalid)
	w.bucket.on(failOn("chunks/"))
	_, err = w.m.Archive(w.ctx, w.org, sb.ID)
	w.must(err)
	w.wait(sb.ID, sandbox.Error)
	_, err = w.m.Recover(w.ctx, w.org, sb.ID, true)
	w.must(err)
	sb = w.wait(sb.ID, sandbox.Stopped)
	if sb.ErrorReason != nil || sb.Recoverable || sb.Desired != sandbox.Stopped {
		t.Errorf("after recover: %v %v %s", sb.ErrorReason, sb.Recoverable, sb.Desired)
	}
	w.bucket.on(nil)
	w.runner.Lose(sb.ID) // without a backup nothing helps
	sb = w.wait(sb.ID, sandbox.Error)
	_, err = w.m.Recover(w.ctx, w.org, sb.ID, false)
	w.wantKind(err, fault.Invalid)
}

func TestFork(t *testing.T) {
	w := newWorld(t)
	w.run(w.m)
	running := w.create(sandbox.CreateRequest{})
	_, err := w.m.Fork(w.ctx, w.org, "u", running.ID, "")
	w.wantKind(err, fault.Invalid)
	_, err = w.m.Fork(w.ctx, "another", "u", running.ID, "")
	w.wantKind(err, fault.NotFound)
	sb := w.stopped([]byte("files"))
	fork, err := w.m.Fork(w.ctx, w.org, "u", sb.ID, "copy")
	w.must(err)
	fork = w.wait(fork.ID, sandbox.Started)
	if fork.Name != "copy" || fork.ForkOf != sb.ID || fork.ID == sb.ID || fork.PreviewToken == sb.PreviewToken || string(w.runner.Files(fork.ID)) != "files" {
		t.Errorf("fork %+v", fork)
	}
	parent, err := w.m.Parent(w.ctx, w.org, "copy")
	if err != nil || parent.ID != sb.ID {
		t.Errorf("parent %s %v", parent.ID, err)
	}
	_, err = w.m.Fork(w.ctx, w.org, "u", sb.ID, "copy")
	w.wantKind(err, fault.Conflict)
	_, err = w.m.Delete(w.ctx, w.org, sb.ID)
	w.must(err)
	if string(w.runner.Files(fork.ID)) != "files" {
		t.Error("the fork lost its files with the other one")
	}
}
