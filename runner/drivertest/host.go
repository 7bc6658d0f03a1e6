package drivertest

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"daytona/runner"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// prefix starts the name of everything that the suite makes on the host.
const prefix = "dtest-"

// HostConfig describes a driver that is tested with real isolation.
type HostConfig struct {
	Name     string // of the driver
	Features Features
	UserNS   uint32 // first host id of containers, or 0
	// Open opens the driver with its state in a directory and its containers
	// in a parent control group.
	Open func(root, cgroupParent string) (runner.Driver, error)
}

// Host is a fixture on the real machine. It needs root.
type Host struct {
	cfg   HostConfig
	dir   string // everything of this run
	probe string
	count atomic.Int32
}

// NewHost returns a fixture, and removes what earlier runs left when they
// were killed.
func NewHost(t *testing.T, cfg HostConfig) (runner.Driver, *Host) {
	t.Helper()
	// One run at a time: the other one's things are not litter.
	lock, err := os.OpenFile(filepath.Join(os.TempDir(), prefix+"lock"), os.O_CREATE|os.O_RDWR, 0o600)
	must(t, err)
	must(t, unix.Flock(int(lock.Fd()), unix.LOCK_EX))
	t.Cleanup(func() { _ = lock.Close() })
	sweep(t)
	t.Cleanup(func() { sweep(t) })

	h := &Host{cfg: cfg}
	h.dir, err = os.MkdirTemp("", prefix+cfg.Name+"-")
	must(t, err)
	// Processes in user namespaces must be able to pass through.
	must(t, os.Chmod(h.dir, 0o711))
	h.probe = buildProbe(t, h.dir)
	return h.Reopen(t), h
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// buildProbe compiles the probe.
func buildProbe(t testing.TB, dir string) string {
	t.Helper()
	out := filepath.Join(dir, "probe")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-ldflags=-s -w", "-o", out, "daytona/runner/drivertest/probe")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if b, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building the probe: %v\n%s", err, b)
	}
	return out
}

// Features implements Fixture.
func (h *Host) Features() Features { return h.cfg.Features }

// State implements Fixture.
func (h *Host) State() string { return filepath.Join(h.dir, "state") }

func (h *Host) cgroupParent() string { return CgroupParent(h.cfg.Name) }

// CgroupParent is the parent control group of a driver's containers in tests.
func CgroupParent(driver string) string { return "/" + prefix + driver }

// Reopen implements Fixture.
func (h *Host) Reopen(t testing.TB) runner.Driver {
	t.Helper()
	d, err := h.cfg.Open(h.State(), h.cgroupParent())
	must(t, err)
	return d
}

// Port implements Fixture.
func (h *Host) Port(runner.Bundle) int { return 8080 }

// NewBundle implements Fixture.
func (h *Host) NewBundle(t testing.TB) runner.Bundle {
	t.Helper()
	n := int(h.count.Add(1))
	id := fmt.Sprintf("%s%s-%04d", prefix, h.cfg.Name, n) // no id starts another
	dir := filepath.Join(h.dir, id)
	root := filepath.Join(dir, "rootfs")
	must(t, os.MkdirAll(root, 0o755))
	h.fill(t, root)
	secret := filepath.Join(dir, "told")
	must(t, os.WriteFile(secret, []byte("told"), 0o644))
	b := runner.Bundle{
		ID: id, Dir: dir, RootFS: root, Hostname: "box" + fmt.Sprint(n),
		Args: []string{"/toolbox"}, Env: []string{"PROBE_PORT=8080", "HOME=/home/user"}, Cwd: "/home/user",
		UID: 1000, GID: 1000, Groups: []uint32{1000, 27},
		Mounts: []runner.Mount{
			{Source: h.probe, Target: "/toolbox", ReadOnly: true},
			{Source: secret, Target: "/etc/told", ReadOnly: true},
		},
		Limits: runner.Limits{CPU: 1, MemoryBytes: 512 << 20, Pids: 64},
		UserNS: h.cfg.UserNS, IDMapped: h.cfg.UserNS != 0,
	}
	b.NetNS, b.Addr = network(t, filepath.Join(dir, "netns"), n)
	return b
}

// fill makes a root file system.
func (h *Host) fill(t testing.TB, root string) {
	t.Helper()
	for _, dir := range []string{"proc", "sys", "dev", "tmp", "etc", "bin", "home/user"} {
		must(t, os.MkdirAll(filepath.Join(root, dir), 0o755))
	}
	must(t, os.Chmod(filepath.Join(root, "tmp"), 0o1777))
	must(t, os.WriteFile(filepath.Join(root, "etc/shadow"), []byte("secret"), 0o600))
	must(t, copyFile(h.probe, filepath.Join(root, "bin/asroot")))
	base := int(h.cfg.UserNS)
	must(t, filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, base, base)
	}))
	must(t, os.Chown(filepath.Join(root, "home/user"), base+1000, base+1000))
	must(t, os.Chmod(filepath.Join(root, "bin/asroot"), 0o755|os.ModeSetuid))
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// network makes a namespace, held by a mount at path, with one interface that
// the host reaches.
func network(t testing.TB, path string, n int) (_, addr string) {
	t.Helper()
	must(t, os.WriteFile(path, nil, 0o600))
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	host, err := netns.Get()
	must(t, err)
	defer func() { _ = host.Close() }() // it was only looked at
	ns, err := netns.New()              // and enter it
	must(t, err)
	defer func() { _ = ns.Close() }() // the mount keeps the namespace
	err = unix.Mount("/proc/thread-self/ns/net", path, "", unix.MS_BIND, "")
	must(t, netns.Set(host))
	must(t, err)
	t.Cleanup(func() { _ = unix.Unmount(path, unix.MNT_DETACH) })

	link := fmt.Sprintf("dtest%d", n)
	must(t, netlink.LinkAdd(&netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: link}, PeerName: "eth0", PeerNamespace: netlink.NsFd(int(ns)),
	}))
	out, err := netlink.LinkByName(link)
	must(t, err)
	t.Cleanup(func() { _ = netlink.LinkDel(out) })
	must(t, netlink.AddrAdd(out, hostAddr(n, 1)))
	must(t, netlink.LinkSetUp(out))
	configure(t, path, n)
	return path, hostAddr(n, 2).IP.String()
}

// hostAddr is an address in the network of bundle n.
func hostAddr(n, last int) *netlink.Addr {
	i := n*4 + last
	return &netlink.Addr{IPNet: &net.IPNet{IP: net.IPv4(10, 213, byte(i>>8), byte(i)), Mask: net.CIDRMask(30, 32)}}
}

// configure gives the interfaces of a namespace their addresses.
func configure(t testing.TB, path string, n int) {
	t.Helper()
	ns, err := netns.GetFromPath(path)
	must(t, err)
	defer func() { _ = ns.Close() }() // the mount keeps the namespace
	in, err := netlink.NewHandleAt(ns)
	must(t, err)
	defer in.Close()
	for _, name := range []string{"lo", "eth0"} {
		l, err := in.LinkByName(name)
		must(t, err)
		if name == "eth0" {
			must(t, in.AddrReplace(l, hostAddr(n, 2)))
		}
		must(t, in.LinkSetUp(l))
	}
	must(t, in.RouteReplace(&netlink.Route{Gw: hostAddr(n, 1).IP}))
}

// Renew implements Fixture.
func (h *Host) Renew(t testing.TB, b runner.Bundle) {
	t.Helper()
	var n int
	_, err := fmt.Sscanf(b.ID, prefix+h.cfg.Name+"-%d", &n)
	must(t, err)
	configure(t, b.NetNS, n)
}

// Litter implements Fixture.
func (h *Host) Litter(t testing.TB, b runner.Bundle) []string {
	t.Helper()
	var found []string
	for _, g := range groupDirs(t) {
		dir := filepath.Join(g, h.cgroupParent(), b.ID)
		if _, err := os.Lstat(dir); err == nil {
			found = append(found, "control group "+dir)
		}
	}
	_ = filepath.WalkDir(h.State(), func(path string, _ fs.DirEntry, err error) error {
		if err == nil && strings.Contains(filepath.Base(path), b.ID) {
			found = append(found, "file "+path)
		}
		return nil
	})
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	must(t, err)
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, h.dir) && !strings.HasSuffix(strings.Fields(line)[4], "/netns") {
			found = append(found, "mount "+line)
		}
	}
	for pid, cmd := range processes() {
		if strings.Contains(cmd, b.ID) {
			found = append(found, fmt.Sprintf("process %d: %s", pid, cmd))
		}
	}
	return found
}

// groupDirs returns the mount points of all control group hierarchies.
func groupDirs(t testing.TB) []string {
	t.Helper()
	b, err := os.ReadFile("/proc/self/mounts")
	must(t, err)
	var dirs []string
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 2 && (f[2] == "cgroup" || f[2] == "cgroup2") {
			dirs = append(dirs, f[1])
		}
	}
	return dirs
}

// processes returns the command line of every process but this one.
func processes() map[int]string {
	all := map[int]string{}
	paths, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, p := range paths {
		var pid int
		_, _ = fmt.Sscanf(p, "/proc/%d/", &pid)
		if b, err := os.ReadFile(p); err == nil && pid != os.Getpid() {
			all[pid] = strings.ReplaceAll(string(b), "\x00", " ")
		}
	}
	return all
}

// sweep removes everything that bears the suite's name.
func sweep(t testing.TB) {
	t.Helper()
	for _, g := range groupDirs(t) {
		parents, _ := filepath.Glob(filepath.Join(g, prefix+"*"))
		for _, p := range parents {
			sweepGroup(t, p)
		}
	}
	links, err := netlink.LinkList()
	must(t, err)
	for _, l := range links {
		if strings.HasPrefix(l.Attrs().Name, "dtest") {
			_ = netlink.LinkDel(l)
		}
	}
	dirs, _ := filepath.Glob(filepath.Join(os.TempDir(), prefix+"*"))
	mounts, err := os.ReadFile("/proc/self/mounts")
	must(t, err)
	for _, d := range dirs {
		if st, err := os.Stat(d); err != nil || !st.IsDir() {
			continue
		}
		for line := range strings.Lines(string(mounts)) {
			if f := strings.Fields(line); len(f) > 1 && strings.HasPrefix(f[1], d+"/") {
				_ = unix.Unmount(f[1], unix.MNT_DETACH)
			}
		}
		must(t, os.RemoveAll(d))
	}
}

// sweepGroup kills what is in a control group and removes it.
func sweepGroup(t testing.TB, dir string) {
	t.Helper()
	eventually(t, "removing "+dir, func() error {
		var last error
		_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.Name() != "cgroup.procs" {
				return nil //nolint:nilerr // what is gone needs no sweeping
			}
			b, _ := os.ReadFile(path)
			for f := range strings.FieldsSeq(string(b)) {
				var pid int
				if _, err := fmt.Sscan(f, &pid); err == nil && pid > 1 {
					_ = syscall.Kill(pid, syscall.SIGKILL)
				}
			}
			return nil
		})
		var below []string
		_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				below = append(below, path)
			}
			return nil
		})
		for i := len(below) - 1; i >= 0; i-- {
			if err := unix.Rmdir(below[i]); err != nil && !errors.Is(err, unix.ENOENT) {
				last = err
			}
		}
		return last
	})
}
