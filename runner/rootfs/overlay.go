package rootfs

import (
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// overlayMount describes a root's overlay.
type overlayMount struct {
	base   string   // directory of all layers
	lowers []string // layers relative to base, the topmost first
	upper  string   // "" for one that cannot be written
	work   string
	target string
	fsID   uint32 // id as which overlayfs writes to upper and work; see idmap.go
}

// overlayOptions make the upper directory mean the same to everybody who reads
// it: no renames by reference, no files without data, no index. That is what
// Commit relies on.
var overlayOptions = [][2]string{
	{"index", "off"}, {"metacopy", "off"}, {"redirect_dir", "off"}, {"xino", "off"},
}

// mountOverlay mounts m. It runs in a thread of its own, which ends with it,
// since it changes the thread's working directory or credentials.
func mountOverlay(m overlayMount) error {
	done := make(chan error, 1)
	go func() {
		// Never unlocked: the changed thread dies with the goroutine.
		runtime.LockOSThread()
		done <- func() error {
			if m.fsID != 0 {
				if err := becomeFSID(m.fsID); err != nil {
					return err
				}
			}
			err := newOverlay(m)
			if errors.Is(err, errNoLowerPlus) {
				err = oldOverlay(m)
			}
			return err
		}()
	}()
	return <-done
}

var errNoLowerPlus = errors.New("the kernel has no lowerdir+")

// newOverlay uses the mount API that takes layers one by one (Linux 6.5), so
// that their number is not bound by the length of an option.
func newOverlay(m overlayMount) error {
	fs, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return fmt.Errorf("overlay: %w", err)
	}
	defer func() { _ = unix.Close(fs) }() // nothing was written through it
	for i, l := range m.lowers {
		if err := unix.FsconfigSetString(fs, "lowerdir+", filepath.Join(m.base, l)); err != nil {
			if i == 0 && errors.Is(err, unix.EINVAL) {
				return errNoLowerPlus
			}
			return fmt.Errorf("overlay layer %s: %w", l, err)
		}
	}
	opts := append([][2]string{{"source", "overlay"}}, overlayOptions...)
	if m.upper != "" {
		opts = append(opts, [2]string{"upperdir", m.upper}, [2]string{"workdir", m.work})
	}
	for _, o := range opts {
		if err := unix.FsconfigSetString(fs, o[0], o[1]); err != nil {
			return fmt.Errorf("overlay option %s=%s: %w", o[0], o[1], err)
		}
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return fmt.Errorf("overlay at %s: %w", m.target, err)
	}
	mnt, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NODEV)
	if err != nil {
		return fmt.Errorf("overlay at %s: %w", m.target, err)
	}
	defer func() { _ = unix.Close(mnt) }() // nothing was written through it
	if err := unix.MoveMount(mnt, "", unix.AT_FDCWD, m.target, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("overlay at %s: %w", m.target, err)
	}
	return nil
}

// oldOverlay uses mount(2), whose options fit one page: layers are named
// relative to their common directory, which some hundred fit in.
func oldOverlay(m overlayMount) error {
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("overlay: %w", err)
	}
	if err := unix.Chdir(m.base); err != nil {
		return fmt.Errorf("overlay: %w", err)
	}
	opts := []string{"lowerdir=" + strings.Join(m.lowers, ":")}
	if m.upper != "" {
		opts = append(opts, "upperdir="+m.upper, "workdir="+m.work)
	}
	for _, o := range overlayOptions {
		opts = append(opts, o[0]+"="+o[1])
	}
	data := strings.Join(opts, ",")
	if len(data) >= 4096 {
		return fmt.Errorf("overlay: %d layers are too many for this kernel", len(m.lowers))
	}
	if err := unix.Mount("overlay", m.target, "overlay", unix.MS_NODEV, data); err != nil {
		return fmt.Errorf("overlay at %s: %w", m.target, err)
	}
	return nil
}
