package rootfs

import (
	"context"
	"log/slog"
	"os/exec"

	"golang.org/x/sys/unix"

	"daytona/internal/fault"
)

// A disk is one way to give a root a writable layer with a hard limit. Methods
// take the root's directory. Each may be repeated and starts from any state
// that a kill can leave.
type disk interface {
	kind() string
	// create makes the disk in dir, which is not mounted yet.
	create(ctx context.Context, dir string, bytes int64) error
	// clone makes in dir what create did in from, with everything on it; neither is
	// attached.
	clone(ctx context.Context, from, dir string, bytes int64) error
	// grow makes a detached disk larger, with everything on it.
	grow(ctx context.Context, dir string, bytes int64) error
	// attach makes the disk's files reachable and returns where.
	attach(ctx context.Context, dir string) (string, error)
	// detach undoes attach; nothing unwritten is left in memory after it.
	detach(ctx context.Context, dir string) error
	// remove destroys a detached disk.
	remove(ctx context.Context, dir string) error
	// usage measures an attached disk.
	usage(ctx context.Context, dir string) (Usage, error)
}

// Usage is what a root's disk holds. Inodes are 0 where the disk has no limit
// on them.
type Usage struct {
	TotalBytes, UsedBytes   int64
	TotalInodes, UsedInodes int64
}

// probeDisk chooses the kind of disk for new roots.
//
// Only with "loop" does df inside show the sandbox's own disk everywhere: on
// btrfs a quota limits what can be written but statfs still tells of the whole
// host disk. So "auto" means "loop", and btrfs is there for operators who want
// its sharing more than df.
func probeDisk(dir, want string, log *slog.Logger) (string, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return "", err
	}
	onBtrfs := st.Type == unix.BTRFS_SUPER_MAGIC
	switch want {
	case "", "auto", "loop":
		if err := probeLoop(); err != nil {
			return "", err
		}
		why := "configured"
		if want != "loop" {
			why = "works on every file system, and df inside shows the sandbox's own disk"
		}
		log.Info("disk of sandboxes", "kind", "loop", "why", why)
		return "loop", nil
	case "btrfs":
		if !onBtrfs {
			return "", fault.New(fault.Invalid, "disk kind btrfs needs the data directory on btrfs; %s is not", dir)
		}
		if err := btrfsEnableQuota(dir); err != nil {
			return "", fault.Wrap(err, fault.Unavailable, "btrfs quotas cannot be switched on")
		}
		log.Info("disk of sandboxes", "kind", "btrfs", "why", "configured")
		return "btrfs", nil
	}
	return "", fault.New(fault.Invalid, "disk kind %q is not known: auto, loop or btrfs", want)
}

// probeLoop finds out whether loop disks can be made here.
func probeLoop() error {
	if _, err := exec.LookPath(mkfsCommand); err != nil {
		return fault.Wrap(err, fault.Unavailable, "%s was not found; install the package e2fsprogs", mkfsCommand)
	}
	fd, err := unix.Open(loopControl, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, "loop devices cannot be used; is the kernel module loop loaded, and are we root?")
	}
	return unix.Close(fd)
}
