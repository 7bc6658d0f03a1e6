package rootfs

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/unix"

	"daytona/internal/atomicfile"
	"daytona/internal/fault"
)

// Resize gives a root that is not mounted a larger disk, with everything on it.
// One that is larger already stays as it is. When it is killed on the way the
// disk may be larger than its record says; the next call goes on from there.
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
		if err := s.room(0); err != nil {
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

// ext4ResizeFS is EXT4_IOC_RESIZE_FS of linux/ext4.h.
const ext4ResizeFS = 0x40086610

// grow enlarges the image, then the file system in it, which the kernel does
// under its journal: what is broken off there leaves a sound file system.
func (d *loopDisk) grow(ctx context.Context, dir string, bytes int64) (err error) {
	image, size := filepath.Join(dir, loopImage), shapeFor(bytes).imageBytes
	fi, err := os.Stat(image)
	if err != nil {
		return err
	}
	if fi.Size() < size {
		if err := os.Truncate(image, size); err != nil {
			return err
		}
	}
	path, err := d.attach(ctx, dir)
	if err != nil {
		return err
	}
	defer func() {
		if derr := d.detach(context.WithoutCancel(ctx), dir); err == nil {
			err = derr
		}
	}()
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }() // nothing was written through it
	blocks := uint64(max(size, fi.Size()) / blockSize)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), ext4ResizeFS, uintptr(unsafe.Pointer(&blocks))); errno != 0 {
		return fmt.Errorf("the file system on %s cannot be made larger: %w", image, errno)
	}
	return unix.Syncfs(fd)
}
