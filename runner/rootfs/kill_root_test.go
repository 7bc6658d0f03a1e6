//go:build root

package rootfs

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const helperDir = "ROOTFS_TEST_HELPER_DIR"

// TestHelperProcess is not a test: it is what TestKill kills. It says what it is
// about to do and what it has done.
func TestHelperProcess(t *testing.T) {
	dir := os.Getenv(helperDir)
	if dir == "" {
		t.Skip("runs as a child of TestKill")
	}
	ctx := context.Background()
	s, err := Open(ctx, Config{Dir: dir, Reserve: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	say := func(format string, a ...any) { fmt.Printf("@ "+format+"\n", a...) }
	must := func(err error) {
		if err != nil {
			say("failed %v", err)
			t.Fatal(err)
		}
	}
	say("open -")
	for i := 0; ; i++ {
		id := fmt.Sprintf("p%d-%d", os.Getpid(), i)
		var userns uint32
		if i%2 == 1 {
			userns = testUserNS
		}
		say("creating %s", id)
		must(s.Create(ctx, RootSpec{ID: id, Image: "small", DiskBytes: minDiskBytes, UserNS: userns}))
		say("created %s", id)
		p, err := s.Mount(ctx, id)
		must(err)
		must(writeAs(userns, p+"/mark", id))
		switch i % 3 {
		case 0:
			must(s.Unmount(ctx, id))
			say("written %s", id)
		case 1:
			_, err = s.Commit(ctx, id, "img-"+id, nil)
			must(err)
			say("committed %s", id)
			must(s.RemoveImage(ctx, "img-"+id))
		case 2:
			_, err = s.ImportTar(ctx, "tar-"+id, smallRoot(t), ocispec.ImageConfig{Env: []string{id}}, nil)
			must(err)
		}
		if i%3 != 0 {
			say("deleting %s", id)
			must(s.Delete(ctx, id))
			say("deleted %s", id)
		}
	}
}

// TestKill kills a process at work at random moments and holds what it finds
// against what that process had said.
func TestKill(t *testing.T) {
	dir := testDir(t)
	func() {
		s, err := Open(t.Context(), Config{Dir: dir, Reserve: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		importSmall(t, s, "small")
	}()
	rounds := 12
	for round := range rounds {
		state := map[string]string{}
		cmd := exec.Command(os.Args[0], "-test.run=^TestHelperProcess$")
		cmd.Env = append(os.Environ(), helperDir+"="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		sc := bufio.NewScanner(out)
		for sc.Scan() {
			line, ok := strings.CutPrefix(sc.Text(), "@ ")
			if !ok {
				continue
			}
			what, id, _ := strings.Cut(line, " ")
			if what == "open" {
				// Any moment from here on may be its last.
				time.AfterFunc(rand.N(150*time.Millisecond), func() { _ = cmd.Process.Kill() })
				continue
			}
			if what == "failed" {
				t.Errorf("round %d: helper: %s", round, id)
			}
			state[id] = what
		}
		_ = cmd.Wait()
		checkAfterKill(t, dir, state)
	}
}

func checkAfterKill(t *testing.T, dir string, state map[string]string) {
	t.Helper()
	ctx := t.Context()
	s, err := Open(ctx, Config{Dir: dir, Reserve: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	roots, err := s.Roots(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, r := range roots {
		ids = append(ids, r.ID)
		if state[r.ID] == "deleted" {
			t.Errorf("%s is back after it was deleted", r.ID)
		}
		// Whatever is listed works.
		p, err := s.Mount(ctx, r.ID)
		if err != nil {
			t.Errorf("%s, last %s: %v", r.ID, state[r.ID], err)
			continue
		}
		if got := readFile(t, p+"/etc/gone"); got != "gone" {
			t.Errorf("%s: read %q", r.ID, got)
		}
		if state[r.ID] == "written" && readFile(t, p+"/mark") != r.ID {
			t.Errorf("%s lost what was written", r.ID)
		}
		if err := writeAs(r.UserNS, p+"/again", "x"); err != nil {
			t.Error(err)
		}
	}
	for id, what := range state {
		if (what == "created" || what == "written" || what == "committed") && !slices.Contains(ids, id) {
			t.Errorf("%s was %s and is lost", id, what)
		}
	}
	images, err := s.Images(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, im := range images {
		if im.Name != "small" {
			if err := s.RemoveImage(ctx, im.Name); err != nil {
				t.Error(err)
			}
		}
	}
	// One stays, the rest goes.
	var keep []string
	if len(ids) > 0 {
		keep = ids[:1]
	}
	if err := s.Reconcile(ctx, keep); err != nil {
		t.Error(err)
	}
	if left, _ := s.Roots(ctx); len(left) != len(keep) {
		t.Errorf("%v left, want %v", left, keep)
	}
	if err := s.Reconcile(ctx, nil); err != nil {
		t.Error(err)
	}
	noLitter(t, dir)
	for _, d := range []string{"roots", "staging", "trash", "tmp"} {
		emptyDir(t, s.path(d))
	}
	// Only the image's own layer and its pin are left.
	eventually(t, "layers are freed", func() error {
		if n, err := filepath.Glob(s.path("snapshots", "snapshots", "*")); err != nil || len(n) != 2 {
			return fmt.Errorf("layers %v, %v", n, err)
		}
		return nil
	})
	if n, err := filepath.Glob(s.path("content", "ingest", "*")); err != nil || len(n) != 0 {
		t.Errorf("half written content %v, %v", n, err)
	}
}

// writeAs writes a file as the root of a user namespace: in a root with shifted
// ids the host's own root does not exist and can make nothing.
func writeAs(userns uint32, path, text string) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // the thread ends with its ids
		err := error(nil)
		if userns != 0 {
			err = becomeFSID(userns)
		}
		if err == nil {
			err = os.WriteFile(path, []byte(text), 0o644)
		}
		done <- err
	}()
	return <-done
}

// TestReconcileFindsStrangers removes what no record tells of.
func TestReconcileFindsStrangers(t *testing.T) {
	s := testStore(t, Config{})
	importSmall(t, s, "small")
	kept := mustMount(t, s, RootSpec{ID: "kept", Image: "small"})
	lost := mustMount(t, s, RootSpec{ID: "lost", Image: "small", UserNS: testUserNS})
	write(t, kept+"/f", "kept")
	// Its record is damaged, as by somebody's hand.
	write(t, s.path("roots", "lost", recordFile), "{")
	for _, d := range []string{"roots/no record/disk", "staging/half/disk", "trash/old"} {
		if err := os.MkdirAll(s.path(d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Reconcile(t.Context(), []string{"kept", "unknown"}); err != nil {
		t.Fatal(err)
	}
	if readFile(t, kept+"/f") != "kept" {
		t.Error("the kept root was touched")
	}
	if _, err := os.Lstat(lost); !os.IsNotExist(err) {
		t.Error("lost root is there:", err)
	}
	entries, err := os.ReadDir(s.path("roots"))
	if err != nil || len(entries) != 1 {
		t.Errorf("roots hold %v, %v", entries, err)
	}
	mounts, err := mountsBelow(s.dir)
	if err != nil || len(mounts) != 2 {
		t.Errorf("mounts %v, %v", mounts, err)
	}
}

// TestBusyUnmount takes a root away under an open file, and brings it back on
// the same device.
func TestBusyUnmount(t *testing.T) {
	s := testStore(t, Config{})
	importSmall(t, s, "small")
	p := mustMount(t, s, RootSpec{ID: "busy", Image: "small"})
	f, err := os.Create(p + "/open")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Unmount(t.Context(), "busy"); err != nil {
		t.Fatal(err)
	}
	if mounts, err := mountsBelow(s.dir); err != nil || len(mounts) != 0 {
		t.Errorf("mounts %v, %v", mounts, err)
	}
	if _, err := f.WriteString("late"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Mount(t.Context(), "busy"); err != nil {
		t.Fatal(err)
	}
	loops, err := boundLoops()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, file := range loops {
		if strings.HasPrefix(file, s.dir+"/") {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d devices over one disk", n)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if got := readFile(t, p+"/open"); got != "late" {
		t.Errorf("read %q", got)
	}
}
