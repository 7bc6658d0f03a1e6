package oci

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"daytona/api/runnerapi"
	"daytona/internal/fault"
	"daytona/runner"

	"golang.org/x/sys/unix"
)

const (
	exited3 = unix.WaitStatus(3 << 8)
	exited0 = unix.WaitStatus(0)
	killed  = unix.WaitStatus(unix.SIGKILL)
	crashed = unix.WaitStatus(unix.SIGSEGV)
)

func TestEndOf(t *testing.T) {
	for name, c := range map[string]struct {
		facts facts
		cause runnerapi.Cause
		code  int
	}{
		"exit":                         {facts{started: true, known: true, status: exited3}, runnerapi.CauseExit, 3},
		"unknown status":               {facts{started: true}, runnerapi.CauseExit, -1},
		"stop wins over all":           {facts{started: true, stopMarked: true, otherBoot: true, oomKills: 1, pidsHits: 1, known: true, status: killed}, runnerapi.CauseUser, 137},
		"another boot":                 {facts{started: true, otherBoot: true, oomKills: 1}, runnerapi.CauseHostLost, -1},
		"never started":                {facts{known: true, status: exited3}, runnerapi.CauseStartFailed, 3},
		"out of memory":                {facts{started: true, oomKills: 2, known: true, status: killed}, runnerapi.CauseOutOfMemory, 137},
		"out of memory, nobody saw":    {facts{started: true, oomKills: 2}, runnerapi.CauseOutOfMemory, -1},
		"a child was out of memory":    {facts{started: true, oomKills: 2, known: true, status: exited3}, runnerapi.CauseExit, 3},
		"killed by someone else":       {facts{started: true, known: true, status: killed}, runnerapi.CauseExit, 137},
		"crash":                        {facts{started: true, known: true, status: crashed}, runnerapi.CauseExit, 139},
		"pids":                         {facts{started: true, pidsHits: 1, known: true, status: exited3}, runnerapi.CausePids, 3},
		"pids, but it ended well":      {facts{started: true, pidsHits: 1, known: true, status: exited0}, runnerapi.CauseExit, 0},
		"pids and memory, killed":      {facts{started: true, pidsHits: 1, oomKills: 1, known: true, status: killed}, runnerapi.CauseOutOfMemory, 137},
		"pids and memory, exited by 3": {facts{started: true, pidsHits: 1, oomKills: 1, known: true, status: exited3}, runnerapi.CausePids, 3},
	} {
		t.Run(name, func(t *testing.T) {
			e := endOf(c.facts)
			if e.Cause != c.cause || e.ExitCode != c.code || e.Evidence == "" {
				t.Errorf("%+v, want cause %q and code %d", e, c.cause, c.code)
			}
		})
	}
}

func TestParseStat(t *testing.T) {
	const rest = " Z 1 2 3 0 -1 4 5 6 7 8 9 10 11 12 20 0 1 0 777 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39 40 41 42 43 44 45 46 47 48 49 1792\n"
	for _, name := range []string{"sh", "a b", "a) R 1 (", "()"} {
		st, err := parseStat([]byte("12 (" + name + ")" + rest))
		if err != nil || st.start != 777 || st.state != 'Z' || st.exitCode != 1792 {
			t.Errorf("%q: %+v, %v", name, st, err)
		}
	}
	for _, bad := range []string{"", "12", "12 (sh) R 1"} {
		if _, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestVersionDate(t *testing.T) {
	want := time.Date(2026, 9, 5, 3, 51, 2, 0, time.UTC)
	for version, date := range map[string]time.Time{
		"v0.0.0-20260905035102-160fafc42237":        want,
		"v1.5.3-0.20260905035102-160fafc42237":      want,
		"v1.5.3-rc.1.0.20260905035102-160fafc42237": want,
		"v1.5.2":                             {},
		"":                                   {},
		"v0.0.0-20269905035102-160fafc42237": {},
	} {
		if got := versionDate(version); !got.Equal(date) {
			t.Errorf("%s: %v, want %v", version, got, date)
		}
	}
}

func TestEngineInfo(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if mod, _, _, err := EngineInfo(self); err != nil || mod != "daytona" {
		t.Errorf("%q, %v", mod, err)
	}
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{script, script + "-missing"} {
		if _, _, _, err := EngineInfo(path); !fault.Is(err, fault.Unavailable) {
			t.Errorf("%s: %v, want Unavailable", path, err)
		}
	}
}

func TestLogMessages(t *testing.T) {
	in := `{"msg":"quiet","level":"info"}
not json
{"msg":"it broke","level":"error","time":"2026"}

`
	if got := logMessages([]byte(in)); got != "not json; it broke" {
		t.Errorf("%q", got)
	}
	if got := logMessages([]byte(strings.Repeat("x\n", 100))); strings.Count(got, "x") != 5 {
		t.Errorf("%q", got)
	}
}

func TestCheckID(t *testing.T) {
	for id, ok := range map[string]bool{
		"a": true, "8b0c1c2e-7e0b-4a3e-9a51-6c4f0d1f2a3b": true, "a.b_c": true,
		"": false, ".": false, "..": false, "a/b": false, "-x": false, "a\n": false, strings.Repeat("a", 200): false,
	} {
		if err := checkID(id); (err == nil) != ok {
			t.Errorf("%q: %v", id, err)
		}
	}
}

func TestFindCgroups(t *testing.T) {
	const v1 = `30 1 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw
31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
32 30 0:28 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory
33 30 0:29 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
34 30 0:30 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
35 30 0:31 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
`
	c, err := findCgroups(strings.NewReader(v1))
	if err != nil {
		t.Fatal(err)
	}
	if c.unified != "" || c.byCtrl["cpuacct"] != "/sys/fs/cgroup/cpu,cpuacct" || c.byCtrl["memory"] != "/sys/fs/cgroup/memory" {
		t.Errorf("%+v", c)
	}
	if len(c.mounts) != 5 {
		t.Errorf("hierarchies: %v", c.mounts)
	}
	c, err = findCgroups(strings.NewReader("35 30 0:31 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"))
	if err != nil || c.unified != "/sys/fs/cgroup" {
		t.Errorf("%+v, %v", c, err)
	}
	for _, bad := range []string{"", "33 30 0:29 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n"} {
		if _, err := findCgroups(strings.NewReader(bad)); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

// TestUnified works on a directory in the place of the unified hierarchy: its
// files hold what was written, as the kernel's would.
func TestUnified(t *testing.T) {
	root := t.TempDir()
	c := &cgroups{unified: root, mounts: []string{root}}
	box := filepath.Join(root, "top", "box")
	if err := os.MkdirAll(box, 0o755); err != nil {
		t.Fatal(err)
	}
	// memory.swap.max is missing, as in a kernel that does not count swap.
	for _, file := range []string{"../../cgroup.subtree_control", "../cgroup.subtree_control", "cpu.max", "cpu.weight", "memory.max", "pids.max"} {
		if err := os.WriteFile(filepath.Join(box, file), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.prepare("/top/box", runner.Limits{CPU: 1.5, MemoryBytes: 1 << 30, Pids: 64}); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{
		"cpu.max": "150000 100000", "memory.max": "1073741824", "pids.max": "64",
		"../cgroup.subtree_control": "+cpu +memory +pids", "../../cgroup.subtree_control": "+cpu +memory +pids",
	} {
		if b, err := os.ReadFile(filepath.Join(box, file)); err != nil || string(b) != want {
			t.Errorf("%s = %q, %v; want %q", file, b, err, want)
		}
	}
	if _, err := os.Stat(filepath.Join(box, "cgroup.subtree_control")); err == nil {
		t.Error("the group of a container passes controllers on, so that it could hold no process")
	}
	for file, text := range map[string]string{
		"memory.current": "300\n", "memory.stat": "anon 100\nfile 150\nshmem 50\n",
		"memory.events": "low 0\nmax 4\noom 2\noom_kill 1\n", "cpu.stat": "usage_usec 1500\nuser_usec 1\n",
		"pids.current": "7\n", "pids.events": "max 3\n",
	} {
		if err := os.WriteFile(filepath.Join(box, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := c.usage("/top/box")
	want := usage{memory: 200, cache: 100, cpu: 1500 * time.Microsecond, pids: 7, oomKills: 1, oomHits: 4, pidsHits: 3}
	if err != nil || got != want {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
}

func TestCPUWeight(t *testing.T) {
	for cpus, want := range map[float64]int64{0.001: 1, 1: 39, 1000: 10000} {
		if got := cpuWeight(cpus); got != want {
			t.Errorf("%v CPUs: %d, want %d", cpus, got, want)
		}
	}
}

func TestLocks(t *testing.T) {
	var l locks
	var order []string
	unlock := l.lock("a")
	l.lock("b")() // another id is free
	done := make(chan struct{})
	go func() {
		defer l.lock("a")()
		order = append(order, "second")
		close(done)
	}()
	order = append(order, "first")
	unlock()
	<-done
	if !slices.Equal(order, []string{"first", "second"}) {
		t.Error(order)
	}
	defer l.lock("a")()
	if len(l.byID) != 1 {
		t.Errorf("%d locks are kept for one id", len(l.byID))
	}
}

func TestBaseSpec(t *testing.T) {
	s := BaseSpec(runner.Bundle{Args: []string{"/x"}, NetNS: "/run/netns/x"})
	if s.Process.Capabilities != nil {
		t.Error("capabilities are granted to every engine's containers")
	}
	if *s.Process.OOMScoreAdj < 0 {
		t.Error("a sandbox would be spared before the host's own services")
	}
	if s.Process.Cwd != "/" {
		t.Errorf("cwd %q", s.Process.Cwd)
	}
	for _, l := range s.Process.Rlimits {
		if l.Soft > l.Hard {
			t.Errorf("%+v", l)
		}
	}
	if d := s.Linux.Resources.Devices; len(d) != 1 || d[0].Allow {
		t.Errorf("devices: %+v", d)
	}
}

func TestYield(t *testing.T) {
	for name, tt := range map[string]struct {
		unified bool
		files   map[string]string // before
		cpus    float64
		behind  map[string]string // after yield(true)
		before  map[string]string // after yield(false)
	}{
		"version 1": {
			false, map[string]string{"cpu.idle": "0", "cpu.shares": "2048"}, 2,
			map[string]string{"cpu.idle": "1"}, map[string]string{"cpu.idle": "0", "cpu.shares": "2048"},
		},
		"version 1, old kernel": {
			false, map[string]string{"cpu.shares": "2048"}, 2,
			map[string]string{"cpu.shares": "2"}, map[string]string{"cpu.shares": "2048"},
		},
		"version 2": {
			true, map[string]string{"cpu.idle": "0", "cpu.weight": "79"}, 2,
			map[string]string{"cpu.idle": "1"}, map[string]string{"cpu.idle": "0", "cpu.weight": "79"},
		},
		"version 2, old kernel": {
			true, map[string]string{"cpu.weight": "79"}, 2,
			map[string]string{"cpu.weight": "1"}, map[string]string{"cpu.weight": "79"},
		},
		"no limit": {
			true, map[string]string{"cpu.idle": "0", "cpu.weight": "100"}, 0,
			map[string]string{"cpu.idle": "1"}, map[string]string{"cpu.idle": "0", "cpu.weight": "100"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			c := &cgroups{byCtrl: map[string]string{"cpu": dir}}
			if tt.unified {
				c = &cgroups{unified: dir}
			}
			group := filepath.Join(dir, "a")
			if err := os.Mkdir(group, 0o700); err != nil {
				t.Fatal(err)
			}
			for file, value := range tt.files {
				if err := os.WriteFile(filepath.Join(group, file), []byte(value), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			for _, step := range []struct {
				on   bool
				want map[string]string
			}{{true, tt.behind}, {true, tt.behind}, {false, tt.before}, {false, tt.before}} {
				if err := c.yield("a", tt.cpus, step.on); err != nil {
					t.Fatal(err)
				}
				for file, want := range step.want {
					if got, err := os.ReadFile(filepath.Join(group, file)); err != nil || string(got) != want {
						t.Errorf("on %v: %s holds %q, %v, want %q", step.on, file, got, err, want)
					}
				}
			}
			if err := c.yield("none", tt.cpus, true); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("of a group that is not there: %v", err)
			}
		})
	}
}
