package rootfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"daytona/internal/atomicfile"
	"daytona/internal/fault"
)

// Resize gives a root that is not mounted a larger disk, with everything on it.
// One that is larger already stays as it is. When it is killed on the way the
// next call begins anew.
func (s *Store) Resize(ctx context.Context, id string, diskBytes int64) error {
	return s.locked(ctx, id, func(r record) error {
		dir := s.path("roots", id)
		spec := r.spec()
		spec.DiskBytes = diskBytes
		if err := spec.check(); err != nil {
			return err
		}
		switch mounted, err := isMounted(filepath.Join(dir, "merged")); {
		case err != nil:
			return err
		case diskBytes <= r.Bytes:
			return nil
		case mounted:
			return fault.New(fault.Conflict, "root %s is in use, so its disk cannot be changed", id)
		}
		need, err := allocated(dir)
		if err != nil {
			return err
		}
		if err := s.room(need); err != nil {
			return err
		}
		d := s.disks[r.Disk]
		if err := d.detach(ctx, dir); err != nil { // a killed process may have left it attached
			return err
		}
		if err := d.grow(ctx, dir, diskBytes); err != nil {
			return fmt.Errorf("resize root %s: %w", id, err)
		}
		r.Bytes = diskBytes
		b, err := encodeRecord(r)
		if err != nil {
			return err
		}
		if err := atomicfile.WriteFile(filepath.Join(dir, recordFile), b, 0o600); err != nil {
			return err
		}
		s.pin.Lock()
		s.roots[id] = r
		s.pin.Unlock()
		return nil
	})
}

// allocated is how many bytes the image of a loop disk takes on the host.
func allocated(dir string) (int64, error) {
	var st unix.Stat_t
	err := unix.Stat(filepath.Join(dir, loopImage), &st)
	if errors.Is(err, unix.ENOENT) { // another kind of disk
		return 0, nil
	}
	return st.Blocks * 512, err
}

// resizeCommand makes the ext4 file system in a file as large as the file.
const resizeCommand = "resize2fs"

// grow enlarges a copy, which shares its blocks where the host's file system can,
// and then puts it in the disk's place: a program that moves blocks about, and may
// be killed at any moment, gets no disk of which there is no other.
func (d *loopDisk) grow(ctx context.Context, dir string, bytes int64) error {
	image, size := filepath.Join(dir, loopImage), shapeFor(bytes).imageBytes
	err := publishFile(image, func(tmp string) error {
		if err := cloneSparse(image, tmp); err != nil {
			return err
		}
		fi, err := os.Stat(tmp)
		if err != nil {
			return err
		}
		if err := os.Truncate(tmp, max(size, fi.Size())); err != nil {
			return err
		}
		if err := checkExt4(ctx, tmp, "-f"); err != nil { // without it, it refuses
			return err
		}
		if out, err := exec.CommandContext(ctx, resizeCommand, tmp).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", resizeCommand, err, strings.TrimSpace(string(out)))
		}
		return nil
	})
	if errors.Is(err, unix.ENOSPC) {
		return fault.Wrap(err, fault.Unavailable, "the runner's disk is full")
	}
	return err
}
