//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"daytona/images"
)

func lookPrivileges(context.Context, *settings) finding {
	if os.Geteuid() == 0 {
		return well("this is root")
	}
	return finding{bad, fmt.Sprintf("user %d is not root", os.Geteuid()), "type: sudo daytona server"}
}

func lookKernel(context.Context, *settings) finding {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return finding{bad, err.Error(), ""}
	}
	return judgeKernel(unix.ByteSliceToString(u.Release[:]))
}

func judgeKernel(release string) finding {
	var major, minor int
	if _, err := fmt.Sscanf(release, "%d.%d", &major, &minor); err != nil {
		return finding{doubtful, "Linux " + release, "its version cannot be read; runc needs 5.12 or newer, gVisor 4.14"}
	}
	switch newer := func(a, b int) bool { return major > a || major == a && minor >= b }; {
	case !newer(4, 14):
		return finding{bad, "Linux " + release, "gVisor needs 4.14 or newer: install a newer kernel"}
	case !newer(5, 12):
		return finding{doubtful, "Linux " + release, "files of runc sandboxes need 5.12; use gVisor (--isolation gvisor), or a newer kernel"}
	}
	return well("Linux %s", release)
}

// groupFacts are what is known of control groups.
type groupFacts struct {
	controllers []string // of version 2
	dirs        []string // of version 1, by controller
	writable    bool
}

const cgroupRoot = "/sys/fs/cgroup"

var neededControllers = []string{"cpu", "memory", "pids"}

func lookCgroups(context.Context, *settings) finding {
	f := groupFacts{writable: unix.Access(cgroupRoot, unix.W_OK) == nil}
	if text, err := os.ReadFile(filepath.Join(cgroupRoot, "cgroup.controllers")); err == nil {
		f.controllers = strings.Fields(string(text))
	}
	for _, name := range neededControllers {
		dir := filepath.Join(cgroupRoot, name)
		if _, err := os.Stat(dir); err == nil {
			f.dirs = append(f.dirs, name)
			f.writable = unix.Access(dir, unix.W_OK) == nil
		}
	}
	return judgeCgroups(f)
}

func judgeCgroups(f groupFacts) finding {
	version, have := "version 2", f.controllers
	if len(lacking(have)) > 0 && len(f.dirs) > 0 {
		version, have = "version 1", f.dirs
	}
	switch lacks := lacking(have); {
	case len(have) == 0:
		return finding{bad, "no control groups at " + cgroupRoot, "limits could not be held; type: mount -t cgroup2 none " + cgroupRoot}
	case len(lacks) > 0:
		return finding{bad, fmt.Sprintf("%s, without %s", version, strings.Join(lacks, ", ")),
			"limits could not be held: boot with cgroup_enable=memory, or delegate the controllers to this container"}
	case !f.writable:
		return finding{bad, version + ", read-only", "a container must have control groups of its own, writable: docker run --privileged --cgroupns=host"}
	}
	return well("%s, with %s", version, strings.Join(neededControllers, ", "))
}

func lacking(have []string) (out []string) {
	for _, name := range neededControllers {
		found := false
		for _, h := range have {
			found = found || h == name
		}
		if !found {
			out = append(out, name)
		}
	}
	return out
}

// lookUserNamespaces makes one, for a process that ends at once. Only runc needs them.
func lookUserNamespaces(ctx context.Context, s *settings) finding {
	self, err := os.Executable()
	if err != nil {
		return finding{bad, err.Error(), ""}
	}
	cmd := exec.CommandContext(ctx, self, "--version")
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 1 << 20, Size: 1 << 16}}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: ids, GidMappings: ids, GidMappingsEnableSetgroups: true}
	return judgeUserNamespaces(cmd.Run(), s.offers(isolationRunc))
}

func judgeUserNamespaces(err error, needed bool) finding {
	if err == nil {
		return well("can be made")
	}
	f := finding{bad, "none can be made: " + err.Error(), "runc needs them; type: sysctl -w user.max_user_namespaces=15000"}
	if !needed {
		f.Verdict, f.Advice = doubtful, "gVisor needs none, but images are then built slower; type: sysctl -w user.max_user_namespaces=15000"
	}
	return f
}

// leastMemory is what the server and a few sandboxes take.
const leastMemory = 2 << 30

func lookMemory(context.Context, *settings) finding {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return finding{doubtful, err.Error(), ""}
	}
	return judgeMemory(runtime.NumCPU(), uint64(info.Totalram)*uint64(info.Unit))
}

func judgeMemory(processors int, total uint64) finding {
	f := well("%d processors, %s of memory", processors, gib(total))
	if total < leastMemory {
		f.Verdict, f.Advice = doubtful, "2 GiB are little: keep fewer sandboxes ready, with --warm daytona-slim=0"
	}
	return f
}

func gib(n uint64) string { return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30)) }

// diskFacts are what is known of how sandboxes can get disks.
type diskFacts struct {
	fs                   int64 // magic number of the data directory's file system
	loop                 error // of opening the control device of loop devices
	mkfs, e2fsck, btrfs  bool  // programs that are there
	overlay, ext4, known bool  // file systems of the kernel; known if it told
}

func lookDisk(_ context.Context, s *settings) finding {
	var f diskFacts
	var st unix.Statfs_t
	dir := existing(s.Data)
	if err := unix.Statfs(dir, &st); err != nil {
		return finding{bad, err.Error(), ""}
	}
	f.fs = st.Type
	fd, err := unix.Open("/dev/loop-control", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if f.loop = err; err == nil {
		_ = unix.Close(fd)
	}
	has := func(name string) bool { _, err := exec.LookPath(name); return err == nil }
	f.mkfs, f.e2fsck, f.btrfs = has("mkfs.ext4"), has("e2fsck"), has("btrfs")
	if text, err := os.ReadFile("/proc/filesystems"); err == nil {
		f.known, f.overlay, f.ext4 = true, strings.Contains(string(text), "\toverlay\n"), strings.Contains(string(text), "\text4\n")
	}
	return judgeDisk(s.Disk, dir, f)
}

// judgeDisk says which kind of disk sandboxes get. A file system that the kernel
// does not list may be a module that it loads when it is first used.
func judgeDisk(want, dir string, f diskFacts) finding {
	const module = "type: modprobe %s (the server tries that by itself, where the module is installed)"
	switch {
	case f.known && !f.overlay:
		return finding{doubtful, "the kernel does not list the file system overlay", fmt.Sprintf(module, "overlay")}
	case want == "btrfs" && f.fs != unix.BTRFS_SUPER_MAGIC:
		return finding{bad, "--disk btrfs, and " + dir + " is not on btrfs", "use --disk loop, or name a directory on btrfs with --data"}
	case want == "btrfs":
		return well("btrfs, with a quota for each")
	case f.loop != nil:
		return finding{bad, "no loop devices: " + f.loop.Error(), "type: modprobe loop (in a container: docker run --privileged -v /dev:/dev)"}
	case !f.mkfs || !f.e2fsck:
		return finding{bad, "mkfs.ext4 or e2fsck is missing", "type: apt-get install e2fsprogs"}
	case f.known && !f.ext4:
		return finding{doubtful, "the kernel does not list the file system ext4", fmt.Sprintf(module, "ext4")}
	}
	return well("loop: an image with ext4 for each, of fixed size")
}

// leastSpace is what the default snapshot and a few sandboxes take.
const leastSpace = 10 << 30

func lookSpace(_ context.Context, s *settings) finding {
	var fs unix.Statfs_t
	if err := unix.Statfs(existing(s.Data), &fs); err != nil {
		return finding{bad, err.Error(), ""}
	}
	return judgeSpace(s.Data, fs.Bavail*uint64(fs.Bsize), fs.Files, fs.Ffree)
}

func judgeSpace(dir string, free, inodes, freeInodes uint64) finding {
	f := well("%s free for %s", gib(free), dir)
	switch {
	case free < 1<<30:
		f.Verdict, f.Advice = bad, "the default snapshot alone does not fit: name another directory with --data, or make room"
	case free < leastSpace:
		f.Verdict, f.Advice = doubtful, "10 GiB are little: name another directory with --data, or make room"
	case inodes > 0 && freeInodes < 100_000: // some file systems have no number of them
		f.Verdict, f.Found = doubtful, fmt.Sprintf("%s, and %d inodes", f.Found, freeInodes)
		f.Advice = "an image has tens of thousands of files: name another directory with --data"
	}
	return f
}

// existing is the nearest directory at or above path that there is.
func existing(path string) string {
	for path != "/" && path != "." {
		if _, err := os.Stat(path); err == nil {
			break
		}
		path = filepath.Dir(path)
	}
	return path
}

func lookEngines(_ context.Context, s *settings) finding {
	used := map[string]string{"runsc": isolationGVisor, "runc": isolationRunc}
	f := finding{Verdict: good}
	var parts []string
	for _, e := range engines(s) {
		switch age, known := e.age(time.Now()); {
		case e.err != nil && s.offers(used[e.name]):
			return finding{bad, fmt.Sprintf("%s: %v", e.name, e.err), "type: make engines, or say where it is with --" + e.name}
		case e.err != nil:
		case known && age > staleAfter:
			parts = append(parts, fmt.Sprintf("%s %s, %d days old", e.name, e.version, int(age.Hours()/24)))
			f.Verdict, f.Advice = doubtful, "newer ones may have security fixes; type: git pull && make engines"
		case known:
			parts = append(parts, fmt.Sprintf("%s %s, %d days old", e.name, e.version, int(age.Hours()/24)))
		default:
			parts = append(parts, e.name+" "+e.version)
		}
	}
	f.Found = strings.Join(parts, "; ")
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
	return well("%s", path)
}

// lookBootstrap says of what the default snapshot can be made.
func lookBootstrap(_ context.Context, s *settings) finding {
	if _, err := os.Stat(filepath.Join(s.Data, databaseFile)); err == nil {
		return well("the server has been started here")
	}
	if all, err := images.Named(s.Snapshots...); err != nil || len(all) == 0 {
		return finding{doubtful, "none is made", "name some with --snapshots"}
	}
	if _, err := exec.LookPath("mmdebstrap"); err != nil && s.BaseImage == "" {
		return finding{doubtful, "mmdebstrap is missing", "it makes the base where no registry can be reached; type: apt-get install mmdebstrap"}
	}
	return well("made by the first start")
}
