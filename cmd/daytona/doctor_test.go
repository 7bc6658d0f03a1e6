//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"daytona/runner/netns"
)

// TestJudgements holds what each finding leads to: the verdict, and a word of
// what a person is told to do.
func TestJudgements(t *testing.T) {
	fine := diskFacts{mkfs: true, e2fsck: true, known: true, overlay: true, ext4: true}
	with := func(change func(*diskFacts)) diskFacts { f := fine; change(&f); return f }
	all := []string{"cpu", "io", "memory", "pids"}
	names := map[string][]netip.Prefix{
		"eth0": {netip.MustParsePrefix("192.168.1.5/24")}, "docker0": {netip.MustParsePrefix("172.17.0.1/16")}, "dtn3": {netip.MustParsePrefix("10.9.0.1/32")},
	}
	for name, tt := range map[string]struct {
		got    finding
		want   verdict
		advice string
	}{
		"new kernel":             {judgeKernel("6.1.0-40-amd64"), good, ""},
		"kernel without idmap":   {judgeKernel("5.10.0-1"), doubtful, "--isolation gvisor"},
		"old kernel":             {judgeKernel("4.9.0"), bad, "newer kernel"},
		"kernel of another name": {judgeKernel("next"), doubtful, "5.12"},

		"cgroups 2":              {judgeCgroups(groupFacts{controllers: all, writable: true}), good, ""},
		"cgroups 1":              {judgeCgroups(groupFacts{dirs: neededControllers, writable: true}), good, ""},
		"cgroups of both":        {judgeCgroups(groupFacts{controllers: []string{"rdma"}, dirs: neededControllers, writable: true}), good, ""},
		"cgroups without memory": {judgeCgroups(groupFacts{controllers: []string{"cpu", "pids"}, writable: true}), bad, "cgroup_enable=memory"},
		"cgroups read-only":      {judgeCgroups(groupFacts{controllers: all}), bad, "--privileged"},
		"no cgroups":             {judgeCgroups(groupFacts{}), bad, "mount -t cgroup2"},

		"user namespaces":             {judgeUserNamespaces(nil, true), good, ""},
		"no user namespaces, runc":    {judgeUserNamespaces(unix.ENOSPC, true), bad, "sysctl -w user.max_user_namespaces"},
		"no user namespaces, gVisor":  {judgeUserNamespaces(unix.EPERM, false), doubtful, "sysctl -w user.max_user_namespaces"},
		"much memory":                 {judgeMemory(8, 16<<30), good, ""},
		"little memory":               {judgeMemory(1, 1<<30), doubtful, "--warm"},
		"disk":                        {judgeDisk("auto", "/d", fine), good, ""},
		"disk without loop":           {judgeDisk("auto", "/d", with(func(f *diskFacts) { f.loop = unix.ENOENT })), bad, "modprobe loop"},
		"disk without mkfs":           {judgeDisk("loop", "/d", with(func(f *diskFacts) { f.mkfs = false })), bad, "apt-get install e2fsprogs"},
		"disk without e2fsck":         {judgeDisk("loop", "/d", with(func(f *diskFacts) { f.e2fsck = false })), bad, "apt-get install e2fsprogs"},
		"disk without overlay":        {judgeDisk("auto", "/d", with(func(f *diskFacts) { f.overlay = false })), doubtful, "modprobe overlay"},
		"disk without ext4":           {judgeDisk("auto", "/d", with(func(f *diskFacts) { f.ext4 = false })), doubtful, "modprobe ext4"},
		"disk of unknown systems":     {judgeDisk("auto", "/d", with(func(f *diskFacts) { f.known, f.overlay, f.ext4 = false, false, false })), good, ""},
		"btrfs elsewhere":             {judgeDisk("btrfs", "/d", fine), bad, "--disk loop"},
		"btrfs":                       {judgeDisk("btrfs", "/d", with(func(f *diskFacts) { f.fs = unix.BTRFS_SUPER_MAGIC; f.loop = unix.ENOENT })), good, ""},
		"space":                       {judgeSpace("/d", 100<<30, 1e6, 1e6), good, ""},
		"little space":                {judgeSpace("/d", 5<<30, 1e6, 1e6), doubtful, "--data"},
		"no space":                    {judgeSpace("/d", 5<<20, 1e6, 1e6), bad, "--data"},
		"few inodes":                  {judgeSpace("/d", 100<<30, 1e6, 10), doubtful, "--data"},
		"a system without inodes":     {judgeSpace("/d", 100<<30, 0, 0), good, ""},
		"network":                     {judgeNetwork(nil), good, ""},
		"range":                       {judgeRange(netip.MustParsePrefix("10.9.0.0/16"), "dtn", names), good, ""},
		"range in use":                {judgeRange(netip.MustParsePrefix("172.16.0.0/12"), "dtn", names), bad, "--network-range"},
		"name servers of the host":    {judgeNames(nil, "search x\nnameserver 10.0.0.1\n"), good, ""},
		"no name servers":             {judgeNames(nil, "# nameserver 1.1.1.1\n"), doubtful, "--dns"},
		"name servers of the server":  {judgeNames([]string{"9.9.9.9"}, ""), good, ""},
		"previews":                    {judgePreviews("p.example.org", nil), good, ""},
		"previews of localhost":       {judgePreviews("proxy.localhost", errors.New("no such host")), good, ""},
		"previews without DNS record": {judgePreviews("p.example.org", errors.New("no such host")), doubtful, "*.p.example.org"},
	} {
		if tt.got.Verdict != tt.want || !strings.Contains(tt.got.Advice, tt.advice) || tt.got.Found == "" || tt.want != good && tt.got.Advice == "" {
			t.Errorf("%s: %+v, want %s with %q", name, tt.got, tt.want, tt.advice)
		}
	}
	for err, advice := range map[error]string{netns.ErrNamespace: "root", netns.ErrDevice: "veth", netns.ErrRules: "nf_tables"} {
		if f := judgeNetwork(fmt.Errorf("%w: %w", err, unix.ENOENT)); f.Verdict != bad || !strings.Contains(f.Advice, advice) && !strings.Contains(f.Advice, "root") {
			t.Errorf("%v: %+v", err, f)
		}
	}
}

func TestExamine(t *testing.T) {
	say := func(f finding) func(context.Context, *settings) finding {
		return func(context.Context, *settings) finding { return f }
	}
	all := []check{
		{"one", say(well("as it should be")), true},
		{"two", say(finding{doubtful, "so so", "do this"}), false},
		{"three", say(finding{bad, "wrong", "do that"}), true},
	}
	r := examine(t.Context(), &settings{Isolation: isolationGVisor}, all)
	want := "ok    one                  as it should be\n" +
		"warn  two                  so so\n" +
		"                           -> do this\n" +
		"FAIL  three                wrong\n" +
		"                           -> do that\n" +
		"\nA server cannot run here yet: 1 thing is wrong.\n"
	if got := r.String(); got != want || r.OK {
		t.Errorf("%v:\n%s", r.OK, got)
	}
	if r := examine(t.Context(), &settings{Isolation: isolationGVisor}, all[:2]); !r.OK || !strings.HasSuffix(r.String(), "A server can run here.\n") {
		t.Errorf("%+v", r)
	}
	if r := examine(t.Context(), &settings{Isolation: isolationFake}, all[:2]); len(r.Checks) != 1 {
		t.Errorf("a server that isolates nothing: %+v", r)
	}
}

// TestDoctor runs the program: ports that are taken are found, and what runs on
// the data directory already is no trouble.
func TestDoctor(t *testing.T) {
	taken, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	doctor := func(args ...string) (report, error) {
		t.Helper()
		args = append([]string{"doctor", "--format", "json", "--isolation=fake", "--toolbox", noToolbox}, args...)
		out, err := exec.CommandContext(t.Context(), filepath.Join(binDir(t), "daytona"), args...).Output()
		var r report
		if err := json.Unmarshal(out, &r); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return r, err
	}
	find := func(r report, name string) finding {
		for _, l := range r.Checks {
			if l.Name == name {
				return l.finding
			}
		}
		t.Errorf("%s was not looked at", name)
		return finding{}
	}
	dir := t.TempDir()
	r, err := doctor("--data", filepath.Join(dir, "new"), "--listen", "127.0.0.1:0", "--ssh-listen", "off")
	if err != nil || !r.OK {
		t.Errorf("%v: %+v", err, r)
	}
	for _, option := range []string{"--listen", "--ssh-listen"} {
		name := map[string]string{"--listen": "port", "--ssh-listen": "port of SSH"}[option]
		r, err := doctor("--data", dir, "--listen", "127.0.0.1:0", "--ssh-listen", "off", option, taken.Addr().String())
		var exit *exec.ExitError
		if f := find(r, name); !errors.As(err, &exit) || exit.ExitCode() != 1 || r.OK || f.Verdict != bad || !strings.Contains(f.Advice, option) {
			t.Errorf("%s: %v, %+v", option, err, f)
		}
	}
	p := start(t, dir)
	r, err = doctor("--data", dir, "--listen", strings.TrimPrefix(p.url, "http://"), "--ssh-listen", "off")
	if f := find(r, "port"); err != nil || f.Verdict != good || !strings.Contains(f.Found, "a server runs on "+dir) {
		t.Errorf("beside a server: %v, %+v", err, f)
	}
	r, err = doctor("--data", dir, "--listen", "127.0.0.1:0", "--ssh-listen", "off", "--database", "postgres://x:secret@127.0.0.1:1/d")
	if f := find(r, "database"); err == nil || f.Verdict != bad || strings.Contains(f.Found, "secret") {
		t.Errorf("no database: %v, %+v", err, f)
	}
}
