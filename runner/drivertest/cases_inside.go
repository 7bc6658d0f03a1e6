package drivertest

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func (s *suite) asTold(t *testing.T) {
	b, c := s.start(t)
	f := c.facts(t)
	if f.PID != 1 || f.UID != 1000 || f.GID != 1000 {
		t.Errorf("pid %d, uid %d, gid %d", f.PID, f.UID, f.GID)
	}
	slices.Sort(f.Groups)
	if !slices.Equal(f.Groups, []int{27, 1000}) {
		t.Errorf("groups %v", f.Groups)
	}
	if f.Cwd != b.Cwd || f.Hostname != b.Hostname || !slices.Equal(f.Args, b.Args) {
		t.Errorf("cwd %q, hostname %q, args %q", f.Cwd, f.Hostname, f.Args)
	}
	slices.Sort(f.Env)
	want := slices.Sorted(slices.Values(b.Env))
	if !slices.Equal(f.Env, want) {
		t.Errorf("env %q, want %q", f.Env, want)
	}
	for _, line := range []string{"Max core file size        0                    0"} {
		if !strings.Contains(f.Limits, line) {
			t.Errorf("limits lack %q:\n%s", line, f.Limits)
		}
	}
}

func (s *suite) mounts(t *testing.T) {
	b, c := s.start(t)
	if a := c.ask(t, "/read", "path", "/etc/told"); a.Text != "told" {
		t.Errorf("/etc/told = %+v", a)
	}
	for _, path := range []string{"/etc/told", "/toolbox", "/proc/sys/kernel/hostname", "/sys/x"} {
		if a := c.ask(t, "/write", "path", path, "text", "x"); a.Error == "" {
			t.Errorf("%s can be written", path)
		}
	}
	if a := c.ask(t, "/remove", "path", "/toolbox"); a.Error == "" {
		t.Error("/toolbox can be removed")
	}
	// The root file system is written at once, with the ids of the container.
	if a := c.ask(t, "/write", "path", "/home/user/new", "text", "x"); a.Error != "" {
		t.Fatal(a.Error)
	}
	var raw unix.Stat_t
	must(t, unix.Stat(filepath.Join(b.RootFS, "home/user/new"), &raw))
	if raw.Uid != b.UserNS+1000 {
		t.Errorf("on the host it belongs to %d, want %d", raw.Uid, b.UserNS+1000)
	}
	if a := c.ask(t, "/write", "path", "/dev/shm/x", "text", "x"); a.Error != "" {
		t.Errorf("/dev/shm: %s", a.Error)
	}
}

// confined: of the host nothing is to be seen or changed, as root either.
func (s *suite) confined(t *testing.T) {
	b := s.fx.NewBundle(t)
	b.UID, b.GID, b.Groups = 0, 0, nil
	_, c := s.startFrom(t, b)
	f := c.facts(t)
	for _, line := range strings.Split(strings.TrimSpace(f.Mountinfo), "\n") {
		fields := strings.Fields(line)
		if len(fields) > 4 && strings.HasPrefix(fields[4], "/sys/fs/cgroup") {
			t.Errorf("control groups are shown: %s", line)
		}
	}
	if a := c.ask(t, "/list", "path", "/proc"); strings.Contains(a.Text, fmt.Sprintf("\n%d\n", os.Getpid())) {
		t.Error("it sees this process")
	}
	const noCaps = "CAP_SYS_ADMIN, CAP_SYS_PTRACE, CAP_SYS_MODULE, CAP_NET_ADMIN, CAP_NET_RAW, CAP_SYS_RAWIO, CAP_SYS_BOOT"
	var eff, bnd uint64
	_, err := fmt.Sscanf(f.Status["CapEff"]+" "+f.Status["CapBnd"], "%x %x", &eff, &bnd)
	must(t, err)
	for _, bit := range []int{unix.CAP_SYS_ADMIN, unix.CAP_SYS_PTRACE, unix.CAP_SYS_MODULE, unix.CAP_NET_ADMIN, unix.CAP_NET_RAW, unix.CAP_SYS_RAWIO, unix.CAP_SYS_BOOT} {
		if (eff|bnd)>>bit&1 != 0 {
			t.Errorf("root has one of %s: CapEff %x, CapBnd %x", noCaps, eff, bnd)
		}
	}
	for _, bit := range []int{unix.CAP_CHOWN, unix.CAP_SETUID, unix.CAP_DAC_OVERRIDE} {
		if eff>>bit&1 == 0 {
			t.Errorf("root lacks what package managers need: CapEff %x", eff)
		}
	}
	if a := c.ask(t, "/write", "path", "/proc/sys/kernel/core_pattern", "text", "|/x"); a.Error == "" {
		t.Error("core_pattern can be written")
	}
	if a := c.ask(t, "/read", "path", "/proc/kcore"); a.Error == "" && a.Text != "" {
		t.Error("kcore can be read")
	}
	if a := c.ask(t, "/write", "path", "/toolbox", "text", "x"); a.Error == "" {
		t.Error("root can write the toolbox")
	}
}

func (s *suite) setUID(t *testing.T) {
	_, c := s.start(t)
	if a := c.ask(t, "/read", "path", "/etc/shadow"); a.Error == "" {
		t.Error("an ordinary user reads a file of root")
	}
	want := "1000 1000"
	if s.features.SetUID {
		want = "0 1000"
	}
	if a := c.ask(t, "/run", "arg", "/bin/asroot", "arg", "ids"); a.Text != want {
		t.Errorf("a set-user-id program has the ids %q, want %q (%s)", a.Text, want, a.Error)
	}
}

// userNamespace: the first process has an id that means nothing on the host.
func (s *suite) userNamespace(t *testing.T) {
	b := s.fx.NewBundle(t)
	b.UID, b.GID, b.Groups = 0, 0, nil
	b, c := s.startFrom(t, b)
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.inspect(t, b.ID).PID))
	must(t, err)
	want := fmt.Sprintf("Uid:\t%d\t%d\t%d\t%d\n", b.UserNS, b.UserNS, b.UserNS, b.UserNS)
	if b.UserNS == 0 || !strings.Contains(string(status), want) {
		t.Errorf("the first process on the host:\n%s", status)
	}
	f := c.facts(t)
	if f.Status["NoNewPrivs"] != "1" || f.Status["Seccomp"] != "2" {
		t.Errorf("NoNewPrivs %s, Seccomp %s", f.Status["NoNewPrivs"], f.Status["Seccomp"])
	}
}

func (s *suite) refusedCalls(t *testing.T) {
	b := s.fx.NewBundle(t)
	b.UID, b.GID, b.Groups = 0, 0, nil
	_, c := s.startFrom(t, b)
	type call struct {
		name string
		nr   int
		a, b int
	}
	calls := []call{
		{"socket(AF_ALG)", unix.SYS_SOCKET, unix.AF_ALG, unix.SOCK_SEQPACKET},
		{"socket(AF_VSOCK)", unix.SYS_SOCKET, unix.AF_VSOCK, unix.SOCK_STREAM},
		{"socket(AF_PACKET)", unix.SYS_SOCKET, unix.AF_PACKET, unix.SOCK_RAW},
		{"socket(AF_KEY)", unix.SYS_SOCKET, unix.AF_KEY, unix.SOCK_RAW},
		{"io_uring_setup", unix.SYS_IO_URING_SETUP, 1, 0},
		{"io_uring_enter", unix.SYS_IO_URING_ENTER, 0, 0},
		{"io_uring_register", unix.SYS_IO_URING_REGISTER, 0, 0},
		{"bpf", unix.SYS_BPF, 0, 0},
		{"keyctl", unix.SYS_KEYCTL, 0, 0},
		{"add_key", unix.SYS_ADD_KEY, 0, 0},
		{"request_key", unix.SYS_REQUEST_KEY, 0, 0},
		{"userfaultfd", unix.SYS_USERFAULTFD, 0, 0},
		{"perf_event_open", unix.SYS_PERF_EVENT_OPEN, 0, 0},
		{"unshare(CLONE_NEWUSER)", unix.SYS_UNSHARE, unix.CLONE_NEWUSER, 0},
		{"clone(CLONE_NEWUSER)", unix.SYS_CLONE, unix.CLONE_NEWUSER | int(unix.SIGCHLD), 0},
		{"setns", unix.SYS_SETNS, 0, 0},
		{"mount", unix.SYS_MOUNT, 0, 0},
		{"umount2", unix.SYS_UMOUNT2, 0, 0},
		{"fsopen", unix.SYS_FSOPEN, 0, 0},
		{"open_tree", unix.SYS_OPEN_TREE, 0, 0},
		{"move_mount", unix.SYS_MOVE_MOUNT, 0, 0},
		{"pivot_root", unix.SYS_PIVOT_ROOT, 0, 0},
		{"init_module", unix.SYS_INIT_MODULE, 0, 0},
		{"open_by_handle_at", unix.SYS_OPEN_BY_HANDLE_AT, 0, 0},
	}
	for _, k := range calls {
		a := c.ask(t, "/syscall", "nr", fmt.Sprint(k.nr), "a", fmt.Sprint(k.a), "b", fmt.Sprint(k.b))
		if a.Errno != int(unix.EPERM) {
			t.Errorf("%s: %+v, want EPERM", k.name, a)
		}
	}
	for _, family := range []int{unix.AF_UNIX, unix.AF_INET, unix.AF_INET6, unix.AF_NETLINK} {
		a := c.ask(t, "/syscall", "nr", fmt.Sprint(unix.SYS_SOCKET), "a", fmt.Sprint(family), "b", fmt.Sprint(unix.SOCK_DGRAM))
		if a.Error != "" {
			t.Errorf("socket family %d: %s", family, a.Error)
		}
	}
	if a := c.ask(t, "/syscall", "nr", fmt.Sprint(unix.SYS_CLONE3), "a", "0", "b", "0"); a.Errno != int(unix.ENOSYS) {
		t.Errorf("clone3: %+v, want ENOSYS, on which libraries fall back to clone", a)
	}
}
