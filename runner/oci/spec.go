package oci

import (
	"daytona/runner"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// openFiles is the limit on open files of each process: as many as programs
// could want, or as the host lets this process give.
func openFiles() uint64 {
	const enough = 65536
	var own unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &own); err != nil {
		return 1024
	}
	return min(enough, own.Max)
}

// BaseSpec is what is the same for every engine: the process, the mounts, the
// namespaces and the limits of a bundle. It grants nothing that not every
// sandbox needs: capabilities are for the engine to add.
func BaseSpec(b runner.Bundle) *specs.Spec {
	files := openFiles()
	return &specs.Spec{
		Version:  specs.Version,
		Hostname: b.Hostname,
		Root:     &specs.Root{Path: b.RootFS},
		Process: &specs.Process{
			Args: b.Args,
			Env:  b.Env,
			Cwd:  cwd(b.Cwd),
			User: specs.User{UID: b.UID, GID: b.GID, AdditionalGids: b.Groups},
			Rlimits: []specs.POSIXRlimit{
				{Type: "RLIMIT_NOFILE", Soft: files, Hard: files},
				{Type: "RLIMIT_CORE", Soft: 0, Hard: 0},
			},
			// The memory of the host is worth more than that of any sandbox. It
			// is not made less than 0 for the first process, because every
			// process of the sandbox would inherit the right to the same.
			OOMScoreAdj: new(oomScore),
		},
		Linux: &specs.Linux{
			Namespaces:    namespaces(b),
			MaskedPaths:   maskedPaths(),
			ReadonlyPaths: []string{"/proc/asound", "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"},
			Resources: &specs.LinuxResources{
				// The engine adds the harmless ones, such as /dev/null.
				Devices: []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}},
			},
		},
	}
}

// oomScore makes the kernel prefer a sandbox's processes to the host's when
// the host itself is short of memory.
const oomScore = 100

func cwd(dir string) string {
	if dir == "" {
		return "/"
	}
	return dir
}

func namespaces(b runner.Bundle) []specs.LinuxNamespace {
	return []specs.LinuxNamespace{
		{Type: specs.PIDNamespace},
		{Type: specs.MountNamespace},
		{Type: specs.UTSNamespace},
		{Type: specs.IPCNamespace},
		// Without a path a new one, in which there is no way out.
		{Type: specs.NetworkNamespace, Path: b.NetNS},
	}
}

// UserNS puts a container into a user namespace of its own, in which ids are
// shifted to those of the bundle.
func UserNS(s *specs.Spec, first uint32) {
	ids := []specs.LinuxIDMapping{{ContainerID: 0, HostID: first, Size: 65536}}
	s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
	s.Linux.UIDMappings, s.Linux.GIDMappings = ids, ids
}

// Capabilities gives the first process the capabilities that it may use, and
// all that programs of root may get. Only root holds them at once; another
// user gets them through set-user-id programs, where those are allowed.
func Capabilities(s *specs.Spec, caps []string) {
	c := &specs.LinuxCapabilities{Bounding: caps}
	if s.Process.User.UID == 0 {
		c.Effective, c.Permitted = caps, caps
	}
	s.Process.Capabilities = c
}

// KernelMounts are the file systems of the kernel that programs expect.
func KernelMounts(shmBytes string) []specs.Mount {
	return []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777", "size=" + shmBytes}},
	}
}

// BindMounts are a bundle's own mounts.
func BindMounts(b runner.Bundle) []specs.Mount {
	var ms []specs.Mount
	for _, m := range b.Mounts {
		opts := []string{"bind", "nosuid", "nodev"}
		if m.ReadOnly {
			opts = append(opts, "ro")
		}
		ms = append(ms, specs.Mount{Destination: m.Target, Type: "bind", Source: m.Source, Options: opts})
	}
	return ms
}

// maskedPaths are files of the kernel that tell of the host or act on it.
func maskedPaths() []string {
	return []string{
		"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys",
		"/proc/latency_stats", "/proc/sched_debug", "/proc/scsi", "/proc/timer_list",
		"/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware",
	}
}
