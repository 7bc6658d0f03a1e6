package runc

import (
	"runtime"
	"slices"

	"github.com/containerd/containerd/v2/contrib/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// filter is containerd's default profile, which allows what is known to be
// harmless, made narrower.
//
// It knows the native system calls only. Those of 32-bit programs include
// socketcall, whose arguments no filter can see, and much rarely used code.
func filter(s *specs.Spec) *specs.LinuxSeccomp {
	p := seccomp.DefaultProfile(s)
	p.Architectures = nil
	switch runtime.GOARCH {
	case "amd64":
		p.Architectures = []specs.Arch{specs.ArchX86_64}
	case "arm64":
		p.Architectures = []specs.Arch{specs.ArchAARCH64}
	}
	var calls []specs.LinuxSyscall
	for _, c := range p.Syscalls {
		if c.Action == specs.ActAllow {
			c.Names = slices.DeleteFunc(slices.Clone(c.Names), func(n string) bool { return n == "socket" || refused[n] })
		}
		if len(c.Names) > 0 {
			calls = append(calls, c)
		}
	}
	for _, domain := range []uint64{unix.AF_UNIX, unix.AF_INET, unix.AF_INET6, unix.AF_NETLINK} {
		calls = append(calls, specs.LinuxSyscall{
			Names: []string{"socket"}, Action: specs.ActAllow,
			Args: []specs.LinuxSeccompArg{{Index: 0, Value: domain, Op: specs.OpEqualTo}},
		})
	}
	p.Syscalls = calls
	return p
}

// refused are calls that stay out whatever the default profile or a capability
// would allow: ways into little tested kernel code, and new namespaces.
var refused = map[string]bool{
	"add_key": true, "keyctl": true, "request_key": true,
	"bpf": true, "perf_event_open": true, "userfaultfd": true,
	"io_uring_enter": true, "io_uring_register": true, "io_uring_setup": true,
	"fsconfig": true, "fsmount": true, "fsopen": true, "fspick": true, "mount": true, "mount_setattr": true,
	"move_mount": true, "open_tree": true, "pivot_root": true, "umount": true, "umount2": true,
	"setns": true, "unshare": true,
	"modify_ldt": true, "socketcall": true,
	"open_by_handle_at": true, "kexec_load": true, "kexec_file_load": true,
	"init_module": true, "finit_module": true, "delete_module": true,
}
