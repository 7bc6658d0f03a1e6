//go:build root

package local_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"daytona/api/runnerapi"
	"daytona/runner/builder"
	"daytona/runner/local"
	"daytona/runner/registrytest"
)

// TestHostileBuilds: whatever a step does to its memory, processes and files ends
// the step, with the reason, and leaves nothing.
func TestHostileBuilds(t *testing.T) {
	for _, isolation := range []string{local.GVisor, local.Runc} {
		t.Run(isolation, func(t *testing.T) {
			w := newImageWorld(t, isolation, func(c *local.Config) {
				c.Build = builder.Limits{CPU: 1, MemoryBytes: 192 << 20, Pids: 64, DiskBytes: 128 << 20, Time: time.Minute}
			})
			before := look(t, w.dir)
			for name, tt := range map[string]struct{ run, reason string }{
				"memory": {"dd if=/dev/zero of=/dev/null bs=1000M count=1", "memory"},
				// A fork that fails ends the shell.
				"pids":  {"i=0; while [ $i -lt 500 ]; do sleep 100 & i=$((i+1)); done; echo all were started; wait", "limit on processes"},
				"files": {"mkdir /many; cd /many; i=0; while :; do mkdir $i; (cd $i; seq 1 500 | xargs touch); i=$((i+1)); done", "more than 8192 files"},
			} {
				t.Run(name, func(t *testing.T) {
					s := w.build("h-"+name, "FROM busybox:1\nRUN "+tt.run)
					if s.State != runnerapi.SnapshotFailed || !strings.Contains(s.Reason, tt.reason) {
						t.Errorf("%+v", s)
					}
					if log := w.log("h-" + name); strings.Contains(strings.ReplaceAll(log, "RUN "+tt.run, ""), "\nall were started") {
						t.Errorf("the log:\n%s", log)
					}
				})
			}
			if after := look(t, w.dir); strings.Join(before, "\n") != strings.Join(after, "\n") {
				t.Errorf("left behind:\n%s", strings.Join(after, "\n"))
			}
			if s := w.build("after", "FROM busybox:1\nRUN echo fine > /f"); s.State != runnerapi.SnapshotReady {
				t.Fatalf("afterwards: %+v", s)
			}
			if err := w.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// onSmallDisk gives a data directory a disk of its own. leave fills it up to the
// reserve and so many bytes; a negative number makes the file go that fills it.
func onSmallDisk(t *testing.T, dir string) (leave func(bytes int64)) {
	t.Helper()
	img := filepath.Join(t.TempDir(), "disk.img")
	sh := func(command string) string {
		t.Helper()
		out, err := exec.Command("sh", "-ec", command, img, dir).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v: %s", command, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	sh(`truncate -s 2G "$0"; mkfs.ext4 -q -F -m 0 "$0"; mount -o loop "$0" "$1"; chmod 711 "$1"`)
	t.Cleanup(func() {
		if r, err := local.Open(context.Background(), config(dir, toolbox, 0, local.GVisor)); err != nil {
			t.Error(err)
		} else if err := errors.Join(r.StopAll(context.Background()), r.Close(context.Background())); err != nil {
			t.Error(err)
		}
		eventually(t, "the small disk is not in use", func() bool { return exec.Command("umount", dir).Run() == nil })
	})
	filler := filepath.Join(dir, "filler")
	return func(bytes int64) {
		t.Helper()
		if err := os.RemoveAll(filler); err != nil {
			t.Fatal(err)
		}
		if bytes < 0 {
			return
		}
		var st syscall.Statfs_t
		if err := syscall.Statfs(dir, &st); err != nil {
			t.Fatal(err)
		}
		f, err := os.Create(filler)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := syscall.Fallocate(int(f.Fd()), 0, 0, int64(st.Bavail)*st.Bsize-1<<30-bytes); err != nil {
			t.Fatal(err)
		}
	}
}

// TestFullDiskWhileImagesAreMade: the disk gets full in the middle of a pull and of
// a build. Both end with that reason and leave nothing; what was there works; and
// when there is room again the same is made.
func TestFullDiskWhileImagesAreMade(t *testing.T) {
	dir := dataDir(t)
	leave := onSmallDisk(t, dir)
	w := &imageWorld{t: t, dir: dir, reg: registrytest.New(t)}
	base := registrytest.Busybox(t)
	w.reg.Push(t, "library/busybox:1", nil, base)
	w.reg.Push(t, "library/large:1", nil, base, registrytest.Layer(t, registrytest.File{Name: "zeros", Text: strings.Repeat("\x00", 300<<20)}))
	w.open(local.GVisor, nil)
	if s := w.build("small", "FROM busybox:1\nRUN echo kept > /kept"); s.State != runnerapi.SnapshotReady {
		t.Fatalf("%+v\n%s", s, w.log("small"))
	}
	free := func() int64 {
		var st syscall.Statfs_t
		if err := syscall.Statfs(dir, &st); err != nil {
			t.Fatal(err)
		}
		return int64(st.Bavail) * st.Bsize
	}
	pull := func() runnerapi.Snapshot {
		t.Helper()
		err := w.EnsureImage(t.Context(), runnerapi.ImageSpec{Name: "large", Pull: &runnerapi.Pull{Ref: w.reg.Host() + "/library/large:1"}})
		if err != nil {
			t.Fatal(err)
		}
		return w.settled("large")
	}
	const build = "FROM busybox:1\nRUN dd if=/dev/zero of=/zeros bs=1M count=300"
	leave(100 << 20)
	was := free()
	for name, make := range map[string]func() runnerapi.Snapshot{
		"pull": pull, "build": func() runnerapi.Snapshot { return w.build("built", build) },
	} {
		if s := make(); s.State != runnerapi.SnapshotFailed || !strings.Contains(s.Reason, "disk is full") {
			t.Errorf("%s: %+v", name, s)
		}
		// What was begun is freed, in the background.
		eventually(t, "space is freed after the "+name, func() bool { return free() > was-20<<20 })
	}
	if out := w.run("small", "cat /kept"); out != "kept\n" && out != "kept" {
		t.Errorf("what was there says %q", out)
	}
	leave(-1)
	if s := pull(); s.State != runnerapi.SnapshotReady {
		t.Errorf("with room again: %+v", s)
	}
	if s := w.build("built", build); s.State != runnerapi.SnapshotReady {
		t.Errorf("with room again: %+v\n%s", s, w.log("built"))
	}
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}
