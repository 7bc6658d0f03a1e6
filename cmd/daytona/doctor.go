//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"daytona/cli"
)

// verdict is what a check found.
type verdict int

const (
	good verdict = iota
	doubtful
	bad
)

// finding is a verdict, what was found, and what to type where that is wrong.
type finding struct {
	verdict      verdict
	what, advice string
}

// check looks at one thing that a server needs.
type check struct {
	name string
	look func(ctx context.Context, s *settings) finding
}

func checks() []check {
	return []check{
		{"privileges", lookPrivileges}, {"kernel", lookKernel}, {"control groups", lookCgroups}, {"disks of sandboxes", lookLoop},
		{"space", lookSpace}, {"network", lookNetwork}, {"forwarding", lookForwarding}, {"engines", lookEngines}, {"toolbox", lookToolbox}, {"port", lookPort},
	}
}

func doctorCommand() *cobra.Command {
	return withSettings(&cobra.Command{
		Use:   "doctor",
		Short: "Look whether this machine can run a server",
		Long: `Look whether this machine can run a server with these options: privileges,
kernel, control groups, disks, network, engines, port. It says what is wrong and
what to type, changes nothing, and ends with code 1 if a server cannot run.`,
	}, func(cmd *cobra.Command, s *settings) error {
		if !examine(cmd.Context(), cmd.OutOrStdout(), s, checks()) {
			return &cli.ExitError{Code: 1}
		}
		return nil
	})
}

// examine prints what every check found, and reports whether a server can run.
func examine(ctx context.Context, out io.Writer, s *settings, all []check) bool {
	mark := map[verdict]string{good: "ok  ", doubtful: "warn", bad: "FAIL"}
	well := true
	for _, c := range all {
		f := c.look(ctx, s)
		fmt.Fprintf(out, "%s  %-20s %s\n", mark[f.verdict], c.name, f.what)
		if f.verdict != good && f.advice != "" {
			fmt.Fprintf(out, "      %-20s %s\n", "", f.advice)
		}
		well = well && f.verdict != bad
	}
	return well
}

func lookPrivileges(context.Context, *settings) finding {
	if os.Geteuid() == 0 {
		return finding{what: "this is root"}
	}
	return finding{bad, fmt.Sprintf("user %d is not root", os.Geteuid()), "type: sudo daytona server"}
}

func lookKernel(context.Context, *settings) finding {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return finding{bad, err.Error(), ""}
	}
	release := unix.ByteSliceToString(u.Release[:])
	var major, minor int
	if _, err := fmt.Sscanf(release, "%d.%d", &major, &minor); err != nil {
		return finding{doubtful, "Linux " + release, "its version cannot be read; 5.12 or newer is needed for runc, 4.14 for gVisor"}
	}
	if major < 5 || major == 5 && minor < 12 {
		return finding{doubtful, "Linux " + release, "files of runc sandboxes need 5.12; use gVisor (--isolation gvisor), or a newer kernel"}
	}
	return finding{what: "Linux " + release}
}

func lookCgroups(context.Context, *settings) finding {
	v2, err := os.ReadFile("/sys/fs/cgroup/cgroup.controllers")
	if err == nil && strings.Contains(string(v2), "memory") && strings.Contains(string(v2), "pids") {
		return finding{what: "version 2, with " + strings.TrimSpace(string(v2))}
	}
	for _, name := range []string{"memory", "pids", "cpu"} {
		if _, err := os.Stat(filepath.Join("/sys/fs/cgroup", name)); err != nil {
			return finding{bad, "the controller " + name + " is in neither version", "limits could not be held: boot with cgroup_enable=memory, or mount the controllers below /sys/fs/cgroup"}
		}
	}
	return finding{what: "version 1, with memory, pids and cpu"}
}

func lookLoop(context.Context, *settings) finding {
	f, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return finding{bad, "no loop devices: " + err.Error(), "type: modprobe loop (in a container: give it --device /dev/loop-control and privileges)"}
	}
	defer f.Close()
	if _, err := exec.LookPath("mkfs.ext4"); err != nil {
		return finding{bad, "mkfs.ext4 is missing", "type: apt-get install e2fsprogs"}
	}
	return finding{what: "loop devices and mkfs.ext4"}
}

// leastSpace is what the default snapshot and a few sandboxes take.
const leastSpace = 10 << 30

func lookSpace(_ context.Context, s *settings) finding {
	dir := s.Data
	for {
		if _, err := os.Stat(dir); err == nil || dir == "/" {
			break
		}
		dir = filepath.Dir(dir)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return finding{bad, err.Error(), ""}
	}
	free := fs.Bavail * uint64(fs.Bsize)
	what := fmt.Sprintf("%.1f GiB free for %s", float64(free)/(1<<30), s.Data)
	if free < leastSpace {
		return finding{doubtful, what, "10 GiB are little: name another directory with --data, or make room"}
	}
	return finding{what: what}
}

// lookNetwork makes a network namespace, in a thread of a process of its own.
func lookNetwork(ctx context.Context, _ *settings) finding {
	self, err := os.Executable()
	if err != nil {
		return finding{bad, err.Error(), ""}
	}
	cmd := exec.CommandContext(ctx, self, "version")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if err := cmd.Run(); err != nil {
		return finding{bad, "no network namespace can be made: " + err.Error(), "the server must be root and may not be in a container without privileges"}
	}
	if _, err := os.Stat("/proc/sys/net/netfilter"); err != nil {
		return finding{doubtful, "namespaces work; netfilter is not loaded yet", "type: modprobe nf_tables nf_conntrack"}
	}
	return finding{what: "namespaces and netfilter"}
}

func lookForwarding(context.Context, *settings) finding {
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_forward")
	if err != nil {
		return finding{bad, err.Error(), ""}
	}
	if strings.TrimSpace(string(text)) == "1" {
		return finding{what: "on"}
	}
	return finding{what: "off; the server turns it on"}
}

func lookEngines(_ context.Context, s *settings) finding {
	used := map[string]string{"runsc": isolationGVisor, "runc": isolationRunc}
	f := finding{}
	var parts []string
	for _, e := range engines(s) {
		wanted := strings.Contains(strings.Join(s.offered(), ","), used[e.name])
		switch age, known := e.age(time.Now()); {
		case e.err != nil && wanted:
			return finding{bad, fmt.Sprintf("%s: %v", e.name, e.err), "type: make engines, or say where it is with --" + e.name}
		case e.err != nil:
		case known && age > staleAfter:
			parts = append(parts, fmt.Sprintf("%s %s, %d days old", e.name, e.version, int(age.Hours()/24)))
			f.verdict, f.advice = doubtful, "newer ones may have security fixes"
		default:
			parts = append(parts, e.name+" "+e.version)
		}
	}
	f.what = strings.Join(parts, "; ")
	return f
}

func lookToolbox(_ context.Context, s *settings) finding {
	path, err := program(s.Toolbox, "toolbox")
	if err != nil {
		return finding{bad, err.Error(), "type: make build"}
	}
	if !isProgram(path) {
		return finding{bad, path + " cannot be run", "type: make build"}
	}
	return finding{what: path}
}

func lookPort(ctx context.Context, s *settings) finding {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", s.Listen)
	if err == nil {
		_ = listener.Close()
		return finding{what: s.Listen + " is free"}
	}
	lock, lockErr := lockData(s.Data)
	if errors.Is(lockErr, errLocked) {
		return finding{what: s.Listen + " is in use, and a server runs on " + s.Data}
	}
	if lockErr == nil {
		lock.release()
	}
	return finding{bad, err.Error(), "another program listens there: name another address with --listen"}
}
