package rootfs

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// isMounted reports whether path is the root of a mount.
func isMounted(path string) (bool, error) {
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, 0, &st)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("stat %s: %w", path, err)
	}
	return st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0, nil
}

// busyGrace is how long a busy mount may take to become free. Whoever killed the
// processes in it has waited for them; what is left is the kernel's clean-up.
const busyGrace = 500 * time.Millisecond

// unmount takes everything off path. It does not hang on a busy mount: after a
// grace it takes the mount out of sight, and it ends with its last user.
func unmount(ctx context.Context, path string, log *slog.Logger) error {
	ctx, cancel := context.WithTimeout(ctx, busyGrace)
	defer cancel()
	for {
		switch ok, err := isMounted(path); {
		case err != nil:
			return err
		case !ok:
			return nil
		}
		err := unix.Unmount(path, unix.UMOUNT_NOFOLLOW)
		if err == nil || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
			continue
		}
		if !errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("unmount %s: %w", path, err)
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			log.Warn("mount is still busy; it ends with its last user", "path", path)
			if err := unix.Unmount(path, unix.UMOUNT_NOFOLLOW|unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
				return fmt.Errorf("detach %s: %w", path, err)
			}
		}
	}
}

// mountsBelow lists the mount points below dir, the last mounted first.
func mountsBelow(dir string) ([]string, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var out []string
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		fields := strings.Fields(sc.Text())
		if len(fields) < 5 {
			continue
		}
		p := unescapeMount(fields[4])
		if strings.HasPrefix(p, dir+"/") {
			out = append([]string{p}, out...)
		}
	}
	return out, sc.Err()
}

// unescapeMount undoes the octal escapes of mountinfo.
func unescapeMount(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// removeTree removes a directory tree of ours, unmounting what a killed process
// left mounted in it and dropping btrfs subvolumes.
func removeTree(path string) error {
	if _, err := os.Lstat(path); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	mounts, err := mountsBelow(path)
	if err != nil {
		return err
	}
	for _, m := range mounts {
		if err := thaw(m); err != nil {
			return fmt.Errorf("thaw %s: %w", m, err)
		}
		if err := unix.Unmount(m, unix.UMOUNT_NOFOLLOW|unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("detach %s: %w", m, err)
		}
	}
	if err := (btrfsDisk{}).remove(context.Background(), path); err != nil {
		return err
	}
	return os.RemoveAll(path)
}
