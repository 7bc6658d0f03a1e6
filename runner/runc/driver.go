// Package runc runs containers on the host's kernel, fenced in by it as
// tightly as ordinary programs allow: a user namespace, a narrow filter on
// system calls, few capabilities and no way to gain any.
package runc

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"daytona/internal/fault"
	"daytona/runner"
	"daytona/runner/oci"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Config configures the driver. See oci.Config for Binary, Root and
// CgroupParent.
type Config struct {
	Binary       string // path of runc
	Root         string
	CgroupParent string
	Log          *slog.Logger
	// AllowNewPrivileges lets set-user-id programs such as sudo work. They get
	// no more than the few capabilities that root has in its namespace.
	AllowNewPrivileges bool
}

// Driver implements runner.Driver.
type Driver struct{ *oci.Driver }

// New returns a driver. It fails with Unavailable when runc is missing or was
// built without filters on system calls.
func New(cfg Config) (*Driver, error) {
	if _, _, _, err := oci.EngineInfo(cfg.Binary); err != nil {
		return nil, err
	}
	if err := checkFeatures(cfg.Binary); err != nil {
		return nil, err
	}
	d, err := oci.New(&engine{newPrivileges: cfg.AllowNewPrivileges}, oci.Config{
		Binary: cfg.Binary, Root: cfg.Root, CgroupParent: cfg.CgroupParent, Log: cfg.Log,
	})
	if err != nil {
		return nil, err
	}
	return &Driver{d}, nil
}

// checkFeatures refuses a runc that could not carry out our specs.
func checkFeatures(binary string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, binary, "features").Output()
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, "%s does not run", binary)
	}
	var f struct {
		Linux struct {
			Seccomp struct{ Enabled bool }
		}
	}
	if err := json.Unmarshal(out, &f); err != nil {
		return fault.Wrap(err, fault.Unavailable, "%s does not describe its features", binary)
	}
	if !f.Linux.Seccomp.Enabled {
		return fault.New(fault.Unavailable, "%s was built without seccomp, which its sandboxes need", binary)
	}
	return nil
}

type engine struct{ newPrivileges bool }

func (e *engine) Name() string { return "runc" }

func (e *engine) Args(_ runner.Bundle, stateDir, logFile string) []string {
	return []string{"--root", stateDir, "--log", logFile, "--log-format", "json"}
}

// RunArgs implements oci.Engine.
func (e *engine) RunArgs() []string { return []string{"--keep"} }

// Spec implements oci.Engine.
func (e *engine) Spec(b runner.Bundle) (*specs.Spec, error) {
	if b.UserNS == 0 || !b.IDMapped {
		return nil, fault.New(fault.Invalid, "container %s has no user namespace, without which runc does not isolate", b.ID)
	}
	s := oci.BaseSpec(b)
	s.Process.NoNewPrivileges = !e.newPrivileges
	oci.UserNS(s, b.UserNS)
	s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.CgroupNamespace})
	s.Mounts = append(oci.KernelMounts("64m"), sysMounts()...)
	s.Mounts = append(s.Mounts, oci.BindMounts(b)...)
	oci.Capabilities(s, capabilities())
	s.Linux.Seccomp = filter(s)
	return s, nil
}

// sysMounts is a /sys with nothing in it but what libraries ask for the number
// of processors. The kernel's own cannot be mounted, because the network
// namespace belongs to the host, and it says much of the host.
func sysMounts() []specs.Mount {
	ms := []specs.Mount{{Destination: "/sys", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "noexec", "nodev", "mode=755", "size=4k"}}}
	for _, dir := range []string{"/sys/devices/system/cpu", "/sys/devices/system/node"} {
		if _, err := os.Stat(dir); err == nil {
			ms = append(ms, specs.Mount{Destination: dir, Type: "bind", Source: dir, Options: []string{"bind", "ro", "nosuid", "noexec", "nodev"}})
		}
	}
	return ms
}

// capabilities that installing packages as root takes, in the user namespace.
func capabilities() []string {
	return []string{
		"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL",
		"CAP_NET_BIND_SERVICE", "CAP_SETGID", "CAP_SETUID",
	}
}

// Started implements oci.Engine: runc takes the pipe on which a container
// waits for its start away.
func (e *engine) Started(stateDir, id string) bool {
	dir := filepath.Join(stateDir, id)
	if _, err := os.Stat(filepath.Join(dir, "state.json")); err != nil {
		return false
	}
	_, err := os.Lstat(filepath.Join(dir, "exec.fifo"))
	return os.IsNotExist(err)
}

// HostPids implements oci.Engine.
func (e *engine) HostPids(pids int64) int64 {
	if pids <= 0 {
		return 512
	}
	return pids
}

// LastWords implements oci.Engine.
func (e *engine) LastWords(string) string { return "" }
