package builder

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	"golang.org/x/sys/unix"

	"daytona/internal/fault"
)

// upperDirs are the directories on this host that a mount writes to.
func upperDirs(mounts []mount.Mount) []string {
	var dirs []string
	for _, m := range mounts {
		if (m.Type == "bind" || m.Type == "rbind") && filepath.Base(m.Source) == "fs" {
			dirs = append(dirs, m.Source) // a layer without any below it
		}
		for _, o := range m.Options {
			if upper, ok := strings.CutPrefix(o, "upperdir="); ok && m.Type == "overlay" {
				dirs = append(dirs, upper)
			}
		}
	}
	return dirs
}

// diskInterval is how often the free space of the host is looked at while a step
// runs. What a step can write in between is what it may go over its limit.
const diskInterval = 100 * time.Millisecond

// space is what files take, or what is left for files.
type space struct{ bytes, files int64 }

func (a space) minus(b space) space { return space{a.bytes - b.bytes, a.files - b.files} }

// bytesPerFile bounds how many files a step may make: as many as a file system
// has room for that is as large as the limit. A host that has no inode left is as
// full as one that has no byte left.
const bytesPerFile = 16 << 10

// limits are those of one step.
func limits(bytes int64) space { return space{bytes, max(bytes/bytesPerFile, 4096)} }

// within says whether a takes no more than most allows.
func (a space) within(most space) bool { return a.bytes <= most.bytes && a.files <= most.files }

// watchDisk returns a context that ends when the step has written more than
// limit, or when the runner's disk gets short. Layers lie on the runner's own
// file system, which has no limit for a directory. So the free space is
// watched, which costs nothing, and the step's own files are counted whenever
// so much has been lost that they could have gone over the limit.
func (s *step) watchDisk(ctx context.Context, limit int64) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	most := limits(limit)
	go func() {
		defer close(done)
		tick := time.NewTicker(diskInterval)
		defer tick.Stop()
		begin := duAll(s.written) // a cache mount may be full of what others wrote
		used, last := begin, free(s.b.cfg.Store.Dir())
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if err := s.b.cfg.Store.Room(0); err != nil {
				cancel(err)
				return
			}
			now := free(s.b.cfg.Store.Dir())
			grown, lost := used.minus(begin), last.minus(now)
			if (space{grown.bytes + lost.bytes, grown.files + lost.files}).within(most) {
				continue
			}
			used, last = duAll(s.written), now
			switch grown = used.minus(begin); {
			case grown.bytes > most.bytes:
				cancel(fault.New(fault.Unprocessable, "the step has written more than %d MiB, the limit of this runner", limit>>20))
				return
			case grown.files > most.files:
				cancel(fault.New(fault.Unprocessable, "the step has made more than %d files, the limit of this runner", most.files))
				return
			}
			// Somebody else takes the space: do not count again at once.
			select {
			case <-ctx.Done():
				return
			case <-time.After(10 * diskInterval):
			}
		}
	}()
	return ctx, func() { cancel(nil); <-done }
}

// free is what is left on a path's file system. Some have no limit on files, and
// always have 0 left.
func free(path string) space {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return space{}
	}
	return space{int64(st.Bavail) * st.Bsize, int64(st.Ffree)}
}

// duAll is what the files below some directories take.
func duAll(dirs []string) (sum space) {
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
			if err != nil {
				return nil //nolint:nilerr // it goes away while it is looked at
			}
			sum.files++
			if info, err := d.Info(); err == nil {
				if st, ok := info.Sys().(*syscall.Stat_t); ok {
					sum.bytes += st.Blocks * 512
				}
			}
			return nil
		})
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			continue
		}
	}
	return sum
}
