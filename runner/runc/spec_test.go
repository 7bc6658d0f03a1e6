package runc

import (
	"slices"
	"testing"

	"daytona/internal/fault"
	"daytona/runner"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func bundle() runner.Bundle {
	return runner.Bundle{ID: "x", Args: []string{"/toolbox"}, UserNS: 100000, IDMapped: true, NetNS: "/run/netns/x"}
}

func TestSpecRefusesWhatIsNotIsolated(t *testing.T) {
	for name, spoil := range map[string]func(*runner.Bundle){
		"no user namespace": func(b *runner.Bundle) { b.UserNS = 0 },
		"files not mapped":  func(b *runner.Bundle) { b.IDMapped = false },
	} {
		b := bundle()
		spoil(&b)
		if _, err := (&engine{}).Spec(b); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v, want Invalid", name, err)
		}
	}
}

func TestSpec(t *testing.T) {
	b := bundle()
	s, err := (&engine{}).Spec(b)
	if err != nil {
		t.Fatal(err)
	}
	if !s.Process.NoNewPrivileges {
		t.Error("new privileges can be gained")
	}
	for _, kind := range []specs.LinuxNamespaceType{
		specs.UserNamespace, specs.PIDNamespace, specs.MountNamespace, specs.IPCNamespace,
		specs.UTSNamespace, specs.NetworkNamespace, specs.CgroupNamespace,
	} {
		if !slices.ContainsFunc(s.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == kind }) {
			t.Errorf("no %s namespace", kind)
		}
	}
	if m := s.Linux.UIDMappings; len(m) != 1 || m[0].ContainerID != 0 || m[0].HostID != b.UserNS || m[0].Size != 65536 {
		t.Errorf("ids: %+v", m)
	}
	for _, m := range s.Mounts {
		if m.Type == "cgroup" || m.Type == "cgroup2" || m.Type == "sysfs" {
			t.Errorf("%s shows the host's %s", m.Destination, m.Type)
		}
		if m.Type == "bind" && !slices.Contains(m.Options, "ro") {
			t.Errorf("%s of the host can be written", m.Source)
		}
	}
	if s, _ := (&engine{newPrivileges: true}).Spec(b); s.Process.NoNewPrivileges {
		t.Error("AllowNewPrivileges has no effect")
	}
}

func TestFilter(t *testing.T) {
	s, err := (&engine{}).Spec(bundle())
	if err != nil {
		t.Fatal(err)
	}
	f := s.Linux.Seccomp
	if f.DefaultAction != specs.ActErrno {
		t.Errorf("what is not named is answered by %s", f.DefaultAction)
	}
	if len(f.Architectures) != 1 {
		t.Errorf("architectures %v, want the native one", f.Architectures)
	}
	allowed := map[string]bool{}
	var domains []uint64
	for _, c := range f.Syscalls {
		if c.Action != specs.ActAllow {
			continue
		}
		for _, n := range c.Names {
			allowed[n] = true
			if n == "socket" {
				if len(c.Args) != 1 || c.Args[0].Index != 0 || c.Args[0].Op != specs.OpEqualTo {
					t.Errorf("socket is allowed by %+v", c.Args)
					continue
				}
				domains = append(domains, c.Args[0].Value)
			}
		}
	}
	for n := range refused {
		if allowed[n] {
			t.Errorf("%s is allowed", n)
		}
	}
	for _, n := range []string{"read", "execve", "clone", "wait4", "chown", "setuid", "memfd_create", "epoll_wait"} {
		if !allowed[n] {
			t.Errorf("%s is not allowed", n)
		}
	}
	slices.Sort(domains)
	if want := []uint64{unix.AF_UNIX, unix.AF_INET, unix.AF_INET6, unix.AF_NETLINK}; !slices.Equal(domains, slices.Sorted(slices.Values(want))) {
		t.Errorf("socket families %v", domains)
	}
}
