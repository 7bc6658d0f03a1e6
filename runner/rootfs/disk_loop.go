package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"daytona/internal/atomicfile"
	"daytona/internal/fault"
)

const (
	mkfsCommand = "mkfs.ext4"
	// loopFormat names the layout of disk images. Ready-made disks of another
	// layout are not used.
	loopFormat = "ext4-1"

	loopImage = "disk.img"
	loopMount = "disk"

	blockSize     = 4096
	bytesPerInode = 16384
	inodeSize     = 256
)

// ext4Shape is how a disk image is formatted.
type ext4Shape struct {
	imageBytes int64
	inodes     int64
	journalMiB int64
}

// shapeFor returns the image whose files can take the bytes asked for: df
// inside shows that size, and what ext4 needs for itself comes on top.
func shapeFor(bytes int64) ext4Shape {
	sh := ext4Shape{inodes: max(bytes/bytesPerInode, 2048), journalMiB: 4}
	switch {
	case bytes >= 8<<30:
		sh.journalMiB = 64
	case bytes >= 1<<30:
		sh.journalMiB = 16
	}
	size := bytes + sh.inodes*inodeSize + sh.journalMiB<<20
	groups := size/(128<<20) + 1
	// Two bitmaps and a descriptor per group, copies of superblock and
	// descriptors in some, and rounding of inode tables.
	size += groups*(2*blockSize+64) + 256<<10
	sh.imageBytes = (size + blockSize - 1) / blockSize * blockSize
	return sh
}

// loopDisk keeps each root's writable layer in a sparse ext4 image of its own,
// mounted through a loop device. Formatted images wait ready in dir, by size, and
// are claimed by renaming, so that no request waits for mkfs.
type loopDisk struct {
	dir   string
	log   *slog.Logger
	wake  chan struct{}
	guard *guard

	mu    sync.Mutex
	want  map[int64]int      // how many to keep ready
	ready map[int64][]string // their paths
	seq   int

	formatting keyedMutex // by template
}

// readyOnUse is how many disks are kept ready of a size that was asked for.
const readyOnUse = 2

// readySizes bounds the sizes that are kept ready without being configured.
const readySizes = 8

func newLoopDisk(dir string, log *slog.Logger, want map[int64]int) *loopDisk {
	d := &loopDisk{dir: dir, log: log, wake: make(chan struct{}, 1), want: map[int64]int{}, ready: map[int64][]string{}}
	for size, n := range want {
		if size >= minDiskBytes && size <= maxDiskBytes && n > 0 {
			d.want[size] = n
		}
	}
	return d
}

func (*loopDisk) kind() string { return "loop" }

// start finds the disks that an earlier process made ready and keeps making
// more until ctx ends.
func (d *loopDisk) start(ctx context.Context, work *sync.WaitGroup) error {
	entries, err := os.ReadDir(d.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := filepath.Join(d.dir, e.Name())
		size, ok := parseReadyName(e.Name())
		if !ok {
			_ = removeTree(path) // half written, or of another layout
			continue
		}
		if size > 0 {
			d.ready[size] = append(d.ready[size], path)
		}
	}
	work.Go(func() { d.fill(ctx) })
	d.kick()
	return nil
}

// Names below dir: ext4-1.<bytes>.template, ext4-1.<bytes>.<unique>.ready, and
// while they are being written the same with ".tmp" after it.
func templateName(size int64) string { return fmt.Sprintf("%s.%d.template", loopFormat, size) }

// parseReadyName tells ready disks (size > 0) and templates (size 0) from what
// has to go (not ok).
func parseReadyName(name string) (size int64, ok bool) {
	rest, found := strings.CutPrefix(name, loopFormat+".")
	if !found {
		return 0, false
	}
	num, rest, found := strings.Cut(rest, ".")
	if !found {
		return 0, false
	}
	size, err := strconv.ParseInt(num, 10, 64)
	if err != nil || size <= 0 {
		return 0, false
	}
	if rest == "template" {
		return 0, true
	}
	unique, found := strings.CutSuffix(rest, ".ready")
	return size, found && unique != "" && !strings.Contains(unique, ".")
}

func (d *loopDisk) kick() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// fill makes disks ready until ctx ends.
func (d *loopDisk) fill(ctx context.Context) {
	for {
		size := d.lacking()
		if size == 0 {
			select {
			case <-ctx.Done():
				return
			case <-d.wake:
			}
			continue
		}
		if !pause(ctx, d.refillPause(size)) {
			return
		}
		path, err := d.makeReady(ctx, size)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			// The next Create of this size will meet the error and say so.
			d.log.Warn("no disk can be made ready", "bytes", size, "err", err)
			select {
			case <-ctx.Done():
				return
			case <-d.wake:
			}
			continue
		}
		d.mu.Lock()
		d.ready[size] = append(d.ready[size], path)
		d.mu.Unlock()
	}
}

// refillPause keeps refilling out of the way of the request that took a disk: a
// copy and its sync would compete with it for processor and disk. An empty shelf
// is filled at once.
func (d *loopDisk) refillPause(size int64) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.ready[size]) == 0 {
		return 0
	}
	return 100 * time.Millisecond
}

func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return ctx.Err() == nil
	}
}

// lacking returns a size of which too few are ready, or 0.
func (d *loopDisk) lacking() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	for size, n := range d.want {
		if len(d.ready[size]) < n {
			return size
		}
	}
	return 0
}

// claim takes a ready disk of a size, if there is one, and notes that the size
// is in use.
func (d *loopDisk) claim(size int64) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	defer d.kick()
	if _, ok := d.want[size]; !ok && len(d.want) < readySizes {
		d.want[size] = readyOnUse
	}
	list := d.ready[size]
	if len(list) == 0 {
		return ""
	}
	path := list[len(list)-1]
	d.ready[size] = list[:len(list)-1]
	return path
}

func (d *loopDisk) unique() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.seq++
	return fmt.Sprintf("%d-%d", os.Getpid(), d.seq)
}

// makeReady makes one formatted disk, complete and on the disk when its final
// name appears.
func (d *loopDisk) makeReady(ctx context.Context, size int64) (string, error) {
	tmpl, err := d.template(ctx, size)
	if err != nil {
		return "", err
	}
	path := filepath.Join(d.dir, fmt.Sprintf("%s.%d.%s.ready", loopFormat, size, d.unique()))
	return path, publishFile(path, func(tmp string) error { return cloneSparse(tmpl, tmp) })
}

// template returns the formatted image of a size that disks are copied from.
func (d *loopDisk) template(ctx context.Context, size int64) (string, error) {
	path := filepath.Join(d.dir, templateName(size))
	unlock, err := d.formatting.lock(ctx, path)
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		return path, err
	}
	return path, format(ctx, path, size)
}

// format makes a formatted image for a disk of size.
func format(ctx context.Context, path string, size int64) error {
	sh := shapeFor(size)
	return publishFile(path, func(tmp string) error {
		f, err := os.OpenFile(tmp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := f.Truncate(sh.imageBytes); err != nil {
			return err
		}
		// Lazy tables keep the image small; no blocks are reserved since the
		// sandbox's root is not the host's; growth is not needed.
		cmd := exec.CommandContext(ctx, mkfsCommand, "-q", "-F", "-m", "0",
			"-b", strconv.Itoa(blockSize), "-I", strconv.Itoa(inodeSize), "-N", strconv.FormatInt(sh.inodes, 10),
			"-J", "size="+strconv.FormatInt(sh.journalMiB, 10), "-O", "^resize_inode", "-e", "remount-ro",
			"-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard,root_owner=0:0", tmp)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", mkfsCommand, err, strings.TrimSpace(string(out)))
		}
		return nil
	})
}

// publishFile has make write a file under a temporary name, then gives it its
// name when its content is on the disk.
func publishFile(path string, make func(tmp string) error) (err error) {
	tmp := path + ".tmp"
	if err := os.RemoveAll(tmp); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(tmp)
		}
	}()
	if err := make(tmp); err != nil {
		return err
	}
	f, err := os.Open(tmp)
	if err != nil {
		return err
	}
	err = f.Sync()
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	return atomicfile.SyncDir(filepath.Dir(path))
}

// cloneSparse copies a file, sharing its blocks where the file system can, else
// only where it has data.
func cloneSparse(from, to string) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer dst.Close()
	if unix.IoctlFileClone(int(dst.Fd()), int(src.Fd())) == nil {
		return dst.Close()
	}
	fi, err := src.Stat()
	if err != nil {
		return err
	}
	if err := dst.Truncate(fi.Size()); err != nil {
		return err
	}
	for off := int64(0); ; {
		data, err := unix.Seek(int(src.Fd()), off, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			break // no data from here on
		}
		if err != nil {
			return err
		}
		hole, err := unix.Seek(int(src.Fd()), data, unix.SEEK_HOLE)
		if err != nil {
			return err
		}
		n, err := io.Copy(io.NewOffsetWriter(dst, data), io.NewSectionReader(src, data, hole-data))
		if err != nil {
			return err
		}
		if n != hole-data {
			return io.ErrUnexpectedEOF
		}
		off = hole
	}
	return dst.Close()
}

func (d *loopDisk) create(ctx context.Context, dir string, bytes int64) error {
	if err := os.MkdirAll(filepath.Join(dir, loopMount), 0o700); err != nil {
		return err
	}
	for {
		path := d.claim(bytes)
		if path == "" {
			break
		}
		err := os.Rename(path, filepath.Join(dir, loopImage))
		if err == nil {
			return nil
		}
		if !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	path, err := d.makeReady(ctx, bytes)
	if err != nil {
		if errors.Is(err, unix.ENOSPC) {
			return fault.Wrap(err, fault.Unavailable, "the runner's disk is full")
		}
		return err
	}
	return os.Rename(path, filepath.Join(dir, loopImage))
}

func (d *loopDisk) clone(_ context.Context, from, dir string, _ int64) error {
	if err := os.MkdirAll(filepath.Join(dir, loopMount), 0o700); err != nil {
		return err
	}
	err := publishFile(filepath.Join(dir, loopImage), func(tmp string) error { return cloneSparse(filepath.Join(from, loopImage), tmp) })
	if errors.Is(err, unix.ENOSPC) {
		return fault.Wrap(err, fault.Unavailable, "the runner's disk is full")
	}
	return err
}

func (d *loopDisk) attach(ctx context.Context, dir string) (string, error) {
	target := filepath.Join(dir, loopMount)
	switch ok, err := isMounted(target); {
	case err != nil:
		return "", err
	case ok:
		return target, nil
	}
	dev, err := loopAttach(ctx, filepath.Join(dir, loopImage))
	if err != nil {
		return "", err
	}
	// The mount holds the device from here on; closing ours lets it go when the
	// mount ends, also after a kill.
	defer dev.Close()
	if err := mountExt4(ctx, dev, target, d.log); err != nil {
		return "", err
	}
	return target, nil
}

func (d *loopDisk) detach(ctx context.Context, dir string) error {
	path := filepath.Join(dir, loopMount)
	if err := d.guard.release(path); err != nil {
		return err
	}
	defer d.guard.forget(path)
	return unmount(ctx, path, d.log)
}

func (d *loopDisk) remove(_ context.Context, dir string) error {
	err := os.Remove(filepath.Join(dir, loopImage))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

func (d *loopDisk) usage(_ context.Context, dir string) (Usage, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(filepath.Join(dir, loopMount), &st); err != nil {
		return Usage{}, err
	}
	return Usage{
		TotalBytes: int64(st.Blocks) * st.Bsize, UsedBytes: int64(st.Blocks-st.Bfree) * st.Bsize,
		TotalInodes: int64(st.Files), UsedInodes: int64(st.Files - st.Ffree),
	}, nil
}
