package rootfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const loopControl = "/dev/loop-control"

// loopAttach returns an open loop device over a file. The device frees itself
// when nothing has it open or mounted any more. A file that still has a device,
// because a mount of it lives on somewhere, gets that same device: two devices
// over one file system would destroy it.
func loopAttach(ctx context.Context, path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if dev, err := loopOf(f); err != nil || dev != nil {
		return dev, err
	}
	ctl, err := os.OpenFile(loopControl, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer ctl.Close()
	for ctx.Err() == nil {
		n, err := unix.IoctlRetInt(int(ctl.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, fmt.Errorf("no free loop device: %w", err)
		}
		dev, err := os.OpenFile(fmt.Sprintf("/dev/loop%d", n), os.O_RDWR, 0)
		if err != nil {
			return nil, err
		}
		cfg := unix.LoopConfig{Fd: uint32(f.Fd()), Size: 0}
		// Direct I/O keeps file data out of the host's cache, where it would be
		// a second time and on nobody's account.
		cfg.Info.Flags = unix.LO_FLAGS_AUTOCLEAR | unix.LO_FLAGS_DIRECT_IO
		copy(cfg.Info.File_name[:len(cfg.Info.File_name)-1], path)
		err = unix.IoctlLoopConfigure(int(dev.Fd()), &cfg)
		if err == nil {
			return dev, nil
		}
		_ = dev.Close()
		if !errors.Is(err, unix.EBUSY) { // another process was faster
			return nil, fmt.Errorf("loop device for %s: %w", path, err)
		}
	}
	return nil, ctx.Err()
}

// loopOf finds the loop device of a file, or nil.
func loopOf(f *os.File) (*os.File, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, err
	}
	bound, err := boundLoops()
	if err != nil {
		return nil, err
	}
	for name := range bound {
		dev, err := os.OpenFile("/dev/"+name, os.O_RDWR, 0)
		if err != nil {
			continue
		}
		info, err := unix.IoctlLoopGetStatus64(int(dev.Fd()))
		if err == nil && info.Inode == st.Ino && info.Device == st.Dev {
			return dev, nil
		}
		_ = dev.Close()
	}
	return nil, nil
}

// boundLoops maps the loop devices in use to their backing files, as the kernel
// writes them: " (deleted)" follows the path of a file without a name.
func boundLoops() (map[string]string, error) {
	list, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for _, p := range list {
		b, err := os.ReadFile(p)
		if err != nil {
			continue // gone meanwhile
		}
		out[strings.Split(p, "/")[3]] = strings.TrimSuffix(string(b), "\n")
	}
	return out, nil
}

// loopClear frees the loop devices whose backing file is below dir and that
// keep does not want. Those still mounted somewhere free themselves with their
// mount.
func loopClear(dir string, keep func(file string) bool) error {
	bound, err := boundLoops()
	if err != nil {
		return err
	}
	var errs []error
	for name, file := range bound {
		file = strings.TrimSuffix(file, " (deleted)")
		if !strings.HasPrefix(file, dir+"/") || keep(file) {
			continue
		}
		dev, err := os.OpenFile("/dev/"+name, os.O_RDWR, 0)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if err := unix.IoctlSetInt(int(dev.Fd()), unix.LOOP_CLR_FD, 0); err != nil && !errors.Is(err, unix.ENXIO) {
			errs = append(errs, fmt.Errorf("free %s: %w", name, err))
		}
		_ = dev.Close()
	}
	return errors.Join(errs...)
}
