package runner

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"daytona/api/runnerapi"
)

func TestDecide(t *testing.T) {
	const alive, buried, rebooted = 1, 2, 4
	for _, c := range []struct {
		name  string
		rec   record
		facts int
		want  step
	}{
		{"running", record{Phase: phaseRunning, Born: true}, alive, stepAdopt},
		{"ended unseen", record{Phase: phaseRunning, Born: true}, 0, stepEnd},
		{"host went down", record{Phase: phaseRunning, Born: true}, rebooted, stepEnd},
		{"deleted, directory half removed", record{Phase: phaseRunning}, buried, stepDestroy},
		{"deleting", record{Phase: phaseDeleting}, alive, stepDestroy},
		{"stopping", record{Phase: phaseStopping}, alive, stepStop},
		{"stopping, already dead", record{Phase: phaseStopping}, 0, stepStop},
		{"stopped", record{Phase: phaseStopped}, 0, stepKeep},
		{"failed", record{Phase: phaseFailed}, 0, stepKeep},
		{"create interrupted before the container", record{Phase: phasePreparing}, 0, stepUndo},
		{"create interrupted, root complete", record{Phase: phasePreparing, Kept: true}, 0, stepUndo},
		{"create interrupted after the start", record{Phase: phasePreparing, Kept: true}, alive, stepFinish},
		{"power cut, last write lost", record{Phase: phasePreparing, Kept: true}, rebooted, stepEnd},
		{"power cut while it was made", record{Phase: phasePreparing}, rebooted, stepUndo},
		{"start interrupted", record{Phase: phasePreparing, Born: true}, 0, stepEnd},
		{"start interrupted after the start", record{Phase: phasePreparing, Born: true}, alive, stepFinish},
		{"waiting", record{Phase: phaseRunning, Warm: &warm{}}, alive, stepAdopt},
		{"waiting, dead", record{Phase: phaseRunning, Warm: &warm{}}, 0, stepDestroy},
		{"waiting, half made", record{Phase: phasePreparing, Warm: &warm{}}, alive, stepDestroy},
		{"build", record{Phase: phaseRunning, Build: true}, alive, stepDestroy},
	} {
		got := decide(c.rec, c.facts&alive != 0, c.facts&buried != 0, c.facts&rebooted != 0)
		if got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestUsers(t *testing.T) {
	root := t.TempDir()
	must(t, os.Mkdir(filepath.Join(root, "etc"), 0o755))
	passwd := "root:x:0:0::/root:/bin/sh\nnode:x:1001:1001::/home/node:/bin/sh\n"
	must(t, os.WriteFile(filepath.Join(root, "etc/group"), nil, 0o644))
	for _, c := range []struct {
		asked, image, passwd string
		name                 string
		uid                  uint32
		home                 string
		fails                bool
	}{
		{"", "", passwd, "root", 0, "/root", false},
		{"", "", passwd + "daytona:x:1000:1000::/home/daytona:/bin/sh\n", "daytona", 1000, "/home/daytona", false},
		{"", "node", passwd, "node", 1001, "/home/node", false},
		{"root", "node", passwd, "root", 0, "/root", false},
		{"mallory", "", passwd, "", 0, "", true},
		{"", "mallory", passwd, "", 0, "", true},
		{"", "", "", "root", 0, "/", false},
	} {
		must(t, os.WriteFile(filepath.Join(root, "etc/passwd"), []byte(c.passwd), 0o644))
		name, u, err := lookupUser(root, c.asked, c.image)
		if (err != nil) != c.fails {
			t.Errorf("asked %q, image %q: %v", c.asked, c.image, err)
		}
		if err == nil && (name != c.name || u.uid != c.uid || u.home != c.home) {
			t.Errorf("asked %q, image %q: %s %d %s", c.asked, c.image, name, u.uid, u.home)
		}
	}
}

func TestEntrypoint(t *testing.T) {
	for _, c := range []struct{ entry, cmd, want []string }{
		{nil, nil, nil},
		{[]string{"sleep", "infinity"}, nil, nil},
		{[]string{"tail"}, []string{"-f", "/dev/null"}, nil},
		{[]string{"/init"}, []string{"serve"}, []string{"/init", "serve"}},
		{nil, []string{"bash"}, []string{"bash"}},
	} {
		if got := entrypoint(ocispec.ImageConfig{Entrypoint: c.entry, Cmd: c.cmd}); !slices.Equal(got, c.want) {
			t.Errorf("%v %v: %v, want %v", c.entry, c.cmd, got, c.want)
		}
	}
}

func TestEnviron(t *testing.T) {
	env := environ(ocispec.ImageConfig{Env: []string{"PATH=/opt/bin", "HOME=/wrong", "X=1"}}, "/home/u", "u", "secret")
	want := []string{"PATH=/opt/bin", "HOME=/home/u", "X=1", "LANG=C.UTF-8", "USER=u", tokenEnv + "=secret"}
	if !slices.Equal(env, want) {
		t.Errorf("%v, want %v", env, want)
	}
}

func TestJudgeDisk(t *testing.T) {
	exit := runnerapi.End{Cause: runnerapi.CauseExit, ExitCode: 1}
	for _, c := range []struct {
		used, total int64
		want        runnerapi.Cause
	}{{99, 100, runnerapi.CauseDiskFull}, {50, 100, runnerapi.CauseExit}, {0, 0, runnerapi.CauseExit}} {
		if got := judgeDisk(exit, c.used, c.total); got.Cause != c.want {
			t.Errorf("%d of %d: %s", c.used, c.total, got.Cause)
		}
	}
}

func TestIDRanges(t *testing.T) {
	r := newIDRanges()
	r.hold(firstHostID + idsPerRange)
	a, err := r.take()
	if err != nil {
		t.Fatal(err)
	}
	b, err := r.take()
	if err != nil {
		t.Fatal(err)
	}
	if a != firstHostID || b != firstHostID+2*idsPerRange {
		t.Errorf("ranges %d and %d", a, b)
	}
	r.next = lastRange - 1
	last, err := r.take()
	if err != nil || uint64(last)+idsPerRange > 1<<32-1 {
		t.Errorf("the last range %d does not fit: %v", last, err)
	}
	r.give(a)
	if again, err := r.take(); err != nil || again != a {
		t.Errorf("a range that was given back: %d %v", again, err)
	}
}

func TestRecordsOnDisk(t *testing.T) {
	s, err := openStore(t.TempDir(), testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	rec := record{Spec: runnerapi.Spec{ID: "a"}, Seq: 1, Phase: phasePreparing}
	save := func(seq int64, p phase, durable bool) {
		t.Helper()
		rec.Seq, rec.Phase = seq, p
		if err := s.save(&rec, durable); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(p phase) {
		t.Helper()
		got, err := s.read("a")
		if err != nil || got.Phase != p {
			t.Errorf("read %+v, %v; want phase %s", got, err, p)
		}
	}
	save(1, phasePreparing, true)
	expect(phasePreparing)
	save(2, phaseRunning, false)
	expect(phaseRunning)
	// A power cut emptied what nobody had waited for.
	if err := os.WriteFile(filepath.Join(s.sandboxDir("a"), fastFile), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	expect(phasePreparing)
	save(3, phaseStopped, true)
	expect(phaseStopped)

	// A directory without a record, one on its way out, and a tombstone.
	must(t, os.MkdirAll(s.sandboxDir("b"), 0o700))
	must(t, os.MkdirAll(s.sandboxDir(trashPrefix+"c"), 0o700))
	recs, leftover, err := s.load()
	if err != nil || len(recs) != 1 || !slices.Equal(leftover, []string{"b"}) {
		t.Errorf("load: %v %v %v", recs, leftover, err)
	}
	if _, err := os.Stat(s.sandboxDir(trashPrefix + "c")); err == nil {
		t.Error("what was on its way out is still there")
	}
	if err := s.bury("a", time.Now()); err != nil || !s.buried("a") {
		t.Errorf("bury: %v", err)
	}
	if err := s.expireTombstones(time.Now(), time.Hour); err != nil || !s.buried("a") {
		t.Errorf("a young tombstone went: %v", err)
	}
	if err := s.expireTombstones(time.Now().Add(2*time.Hour), time.Hour); err != nil || s.buried("a") {
		t.Errorf("an old tombstone stays: %v", err)
	}
}

func TestMeminfo(t *testing.T) {
	m, err := parseMeminfo(strings.NewReader("MemTotal:       2048000 kB\nMemFree: 1 kB\nMemAvailable:   1024000 kB\nHugePages_Total:       0\n"))
	if err != nil || m.totalMiB != 2000 || m.availableMiB != 1000 {
		t.Errorf("%+v %v", m, err)
	}
}

func TestShare(t *testing.T) {
	for _, tt := range []struct {
		used, window time.Duration
		cpus, want   float64
	}{
		{0, time.Second, 1, 0},
		{time.Second, time.Second, 1, 100},
		{time.Second, time.Second, 2, 50},
		{100 * time.Millisecond, 200 * time.Millisecond, 0.5, 100},
		{time.Second / 3, time.Second, 1, 33.3},
		{210 * time.Millisecond, 200 * time.Millisecond, 1, 100},
		{-time.Second, time.Second, 1, 0},
		{time.Second, 0, 1, 0},
	} {
		if got := share(tt.used, tt.window, tt.cpus); got != tt.want {
			t.Errorf("share(%v, %v, %v) = %v, want %v", tt.used, tt.window, tt.cpus, got, tt.want)
		}
	}
}
