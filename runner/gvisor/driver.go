// Package gvisor runs containers in gVisor: their system calls are served by a
// kernel of its own, in user space, so that no code of a sandbox ever talks to
// the host's kernel.
package gvisor

import (
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"daytona/internal/fault"
	"daytona/runner"
	"daytona/runner/oci"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Config configures the driver. See oci.Config for Binary, Root and
// CgroupParent.
type Config struct {
	Binary       string // path of runsc
	Root         string
	CgroupParent string
	Log          *slog.Logger
	// Platform is how system calls are intercepted: "systrap" (the default)
	// works everywhere, "kvm" is faster on bare metal.
	Platform string
}

// Driver implements runner.Driver.
type Driver struct{ *oci.Driver }

// New returns a driver. It fails with Unavailable when runsc is missing.
func New(cfg Config) (*Driver, error) {
	switch cfg.Platform {
	case "":
		cfg.Platform = "systrap"
	case "systrap", "kvm", "ptrace":
	default:
		return nil, fault.New(fault.Invalid, "gVisor has no platform %q", cfg.Platform)
	}
	if _, _, _, err := oci.EngineInfo(cfg.Binary); err != nil {
		return nil, err
	}
	// It starts itself again in an empty root directory.
	if !oci.Static(cfg.Binary) {
		return nil, fault.New(fault.Unavailable, "%s must be built with CGO_ENABLED=0", cfg.Binary)
	}
	d, err := oci.New(&engine{platform: cfg.Platform}, oci.Config{
		Binary: cfg.Binary, Root: cfg.Root, CgroupParent: cfg.CgroupParent, Log: cfg.Log,
	})
	if err != nil {
		return nil, err
	}
	return &Driver{d}, nil
}

type engine struct{ platform string }

func (e *engine) Name() string { return "gvisor" }

func (e *engine) Args(b runner.Bundle, stateDir, logFile string) []string {
	args := []string{
		"--root=" + stateDir,
		"--log=" + logFile,
		"--log-format=json",
		"--panic-log=" + filepath.Join(filepath.Dir(logFile), panicLog),
		"--platform=" + e.platform,
		"--network=sandbox",
		// Files are written to the root file system at once: what was
		// acknowledged survives a crash of the sandbox.
		"--overlay2=none",
		// The file system of a sandbox is changed by nobody else.
		"--file-access=exclusive",
		// sudo works inside.
		"--allow-suid",
		"--ignore-cgroups=false",
		"--host-settings=ignore",
	}
	if b.NetNS != "" {
		// The process that opens files needs no network. It shares that of its
		// sandbox: an empty one of its own costs milliseconds, and one for all
		// would be a mount left behind.
		args = append(args, "--gofer-network-namespace="+b.NetNS)
	}
	return args
}

// panicLog is written when the engine itself breaks down.
const panicLog = "panic.log"

// RunArgs implements oci.Engine.
func (e *engine) RunArgs() []string { return nil }

// Spec implements oci.Engine.
func (e *engine) Spec(b runner.Bundle) (*specs.Spec, error) {
	s := oci.BaseSpec(b)
	s.Mounts = append(oci.KernelMounts("1g"),
		specs.Mount{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}},
		// gVisor puts a file system in memory over an empty /tmp, unless the
		// spec has a mount there; one of a type that it does not know is left
		// out. So /tmp is on the sandbox's disk, like everything else.
		specs.Mount{Destination: "/tmp", Type: "rootfs", Source: "rootfs"})
	s.Mounts = append(s.Mounts, oci.BindMounts(b)...)
	if b.UserNS != 0 {
		if !b.IDMapped {
			return nil, fault.New(fault.Invalid, "the root file system of container %s is not mapped to its user namespace", b.ID)
		}
		oci.UserNS(s, b.UserNS)
	}
	oci.Capabilities(s, capabilities())
	return s, nil
}

// capabilities inside a sandbox: those that containers of root have by
// custom. They are capabilities in gVisor's kernel, not in the host's.
func capabilities() []string {
	return []string{
		"CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_MKNOD",
		"CAP_NET_BIND_SERVICE", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT",
	}
}

// Started implements oci.Engine.
func (e *engine) Started(stateDir, id string) bool {
	var st struct {
		Status int `json:"status"`
	}
	const running = 2
	err := oci.ReadState(filepath.Join(stateDir, id+"_sandbox:"+id+".state"), &st)
	return err == nil && st.Status == running
}

// HostPids implements oci.Engine. A process inside costs three of the host;
// gVisor itself takes some 25. At the limit a fork inside fails.
func (e *engine) HostPids(pids int64) int64 {
	if pids <= 0 {
		pids = 512
	}
	return 64 + 3*pids
}

// LastWords implements oci.Engine: the first line with which the engine broke
// down.
func (e *engine) LastWords(bundleDir string) string {
	f, err := os.Open(filepath.Join(bundleDir, panicLog))
	if err != nil {
		return ""
	}
	defer f.Close()
	b, _ := io.ReadAll(io.LimitReader(f, 400))
	line, _, _ := strings.Cut(strings.TrimSpace(string(b)), "\n")
	if line == "" {
		return ""
	}
	return "gVisor broke down: " + line
}
