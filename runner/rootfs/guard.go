package rootfs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// guard keeps what sandboxes have written from being lost when the file system
// under their disks gets full.
//
// Disk images are sparse, so that a host can hold more of them than it has room
// for. A file system in an image whose own writes fail loses what programs
// believe is written, and its structure with it. So before there is no room at
// all, the guard gives up a ballast that it has held for this moment, freezes
// the file systems in the images, which writes into that room what they still
// have in memory, and thaws them when there is room again. Meanwhile programs
// inside go on until they write, and then wait.
type guard struct {
	dir     string // roots below it have their disks in images
	ballast string // file
	bytes   int64  // its size; 0: too small a file system, nothing is guarded
	low     int64  // free bytes below which disks are frozen
	log     *slog.Logger

	mu     sync.Mutex
	full   bool
	ending map[string]bool // disks that are not frozen, since they shall be unmounted
}

const (
	ballastMost  = 1 << 30
	ballastShare = 32 // part of the file system, at most
	// fastest is how many bytes a second are thought to be written at most.
	fastest   = 2 << 30
	guardWait = 50 * time.Millisecond // between two looks, when there is little room
	guardRest = 2 * time.Second       // when there is much
	guardFull = 250 * time.Millisecond
)

func newGuard(dir string, log *slog.Logger) (*guard, error) {
	g := &guard{dir: dir, ballast: filepath.Join(dir, "ballast"), log: log, ending: map[string]bool{}}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return nil, fmt.Errorf("free space of %s: %w", dir, err)
	}
	g.bytes = min(ballastMost, int64(st.Blocks)*st.Bsize/ballastShare)
	g.low = g.bytes / 4
	// An earlier process may have left them frozen.
	if int64(st.Bavail)*st.Bsize >= g.low {
		g.each(loopMounted.thaw)
	}
	return g, nil
}

// watch looks at the free space until ctx ends. What is frozen then stays so, for
// the next process to thaw: without anybody who watches nothing may be written.
func (g *guard) watch(ctx context.Context) {
	for {
		free, err := g.free()
		if err != nil {
			g.log.Error("the free space of the disk is not known", "dir", g.dir, "err", err)
		} else {
			g.look(free)
		}
		if !pause(ctx, g.rest(free)) {
			return
		}
	}
}

// rest is how long nothing can happen that would have to be seen. The kernel has
// no event for a disk that gets full.
func (g *guard) rest(free int64) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.full {
		return guardFull
	}
	seconds := float64(free-g.low) / fastest
	return min(max(time.Duration(seconds/4*float64(time.Second)), guardWait), guardRest)
}

func (g *guard) free() (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(g.dir, &st); err != nil {
		return 0, err
	}
	return int64(st.Bavail) * st.Bsize, nil
}

// look does what so many free bytes ask for.
func (g *guard) look(free int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	_, err := os.Stat(g.ballast)
	held := err == nil
	switch {
	case !g.full && free < g.low:
		g.full = true
		g.log.Error("the runner's disk is full: writes of sandboxes wait until there is room", "dir", g.dir, "free_mib", free>>20)
		if err := os.Remove(g.ballast); err != nil && !errors.Is(err, os.ErrNotExist) {
			g.log.Error("the ballast cannot be given up", "err", err)
		}
		g.freeze()
	case g.full && free < g.bytes+2*g.low:
		g.freeze() // also those that were mounted meanwhile
	case g.full:
		g.full = false
		g.log.Info("the runner's disk has room again", "dir", g.dir, "free_mib", free>>20)
		g.each(loopMounted.thaw)
	case !held && free >= g.bytes+2*g.low:
		if err := g.takeBallast(); err != nil {
			g.log.Warn("no ballast is held for the moment when the disk is full", "err", err)
		}
	}
}

func (g *guard) takeBallast() error {
	f, err := os.OpenFile(g.ballast, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Fallocate(int(f.Fd()), 0, 0, g.bytes); err != nil {
		return errors.Join(err, os.Remove(g.ballast))
	}
	return nil
}

// freeze freezes every disk at the same time: each has to write what it holds.
func (g *guard) freeze() {
	g.each(func(d loopMounted) error {
		if g.ending[d.path] {
			return nil
		}
		return d.freeze()
	})
}

func (g *guard) each(do func(loopMounted) error) {
	disks, err := g.disks()
	if err != nil {
		g.log.Error("the disks of roots are not known", "err", err)
		return
	}
	var wg sync.WaitGroup
	for _, d := range disks {
		wg.Go(func() {
			// A file system that has met an error cannot be frozen.
			if err := do(d); err != nil {
				g.log.Debug("a disk could not be frozen or thawed", "path", d.path, "err", err)
			}
		})
	}
	wg.Wait()
}

// release thaws a disk for good: what writes to it shall end, and cannot while it
// waits for room.
func (g *guard) release(path string) error {
	if g == nil {
		return nil
	}
	g.mu.Lock() // waits for a round of freezing
	defer g.mu.Unlock()
	g.ending[path] = true
	if !g.full {
		return nil
	}
	return thaw(path)
}

// forget ends what release began.
func (g *guard) forget(path string) {
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.ending, path)
}

// loopMounted is a mounted disk.
type loopMounted struct {
	path   string
	device uint64
}

func (g *guard) disks() ([]loopMounted, error) {
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(g.dir))
	if err != nil {
		return nil, err
	}
	var found []loopMounted
	for _, m := range mounts {
		if m.FSType == "ext4" && filepath.Base(m.Mountpoint) == loopMount && m.Major == loopMajor {
			found = append(found, loopMounted{m.Mountpoint, unix.Mkdev(uint32(m.Major), uint32(m.Minor))})
		}
	}
	return found, nil
}

// loopMajor is the number of the kernel's loop devices.
const loopMajor = 7

// FIFREEZE and FITHAW of the kernel's <linux/fs.h>.
const (
	fiFreeze = 0xc0045877
	fiThaw   = 0xc0045878
)

func (d loopMounted) freeze() error { return d.control(fiFreeze, unix.EBUSY) }
func (d loopMounted) thaw() error   { return d.control(fiThaw, unix.EINVAL) }

// thaw thaws the file system at path, if it is frozen. One that is unmounted
// frozen never goes away.
func thaw(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.IoctlSetInt(int(f.Fd()), fiThaw, 0); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOTTY) && !errors.Is(err, unix.EOPNOTSUPP) {
		return err
	}
	return nil
}

// control calls an ioctl of the file system; already is the error that says that
// it is so already.
func (d loopMounted) control(request uint, already error) error {
	f, err := os.Open(d.path)
	if errors.Is(err, os.ErrNotExist) {
		return nil // unmounted and removed meanwhile
	}
	if err != nil {
		return err
	}
	defer f.Close()
	// Unmounted meanwhile, the path leads to the host's own file system, which
	// nobody may freeze. From here on the file holds the mount.
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return err
	}
	if st.Dev != d.device {
		return nil
	}
	if err := unix.IoctlSetInt(int(f.Fd()), request, 0); err != nil && !errors.Is(err, already) {
		return err
	}
	return nil
}
