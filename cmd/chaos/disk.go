//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// disk is a file system in a file, so that it can be filled without harm to
// others.
type disk struct {
	file, mount string
	size        int64
}

func (d *disk) open(ctx context.Context) error {
	if err := os.MkdirAll(d.mount, 0o711); err != nil {
		return err
	}
	if err := d.close(); err != nil {
		return err
	}
	if _, err := os.Stat(d.file); errors.Is(err, os.ErrNotExist) {
		if err := d.format(ctx); err != nil {
			return err
		}
	}
	if err := command(ctx, "mount", "-o", "loop", d.file, d.mount); err != nil {
		return err
	}
	// A filled disk that was not freed.
	if err := os.Remove(d.ballast()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// format is done beside, so that a half-made disk is never taken for a whole one.
func (d *disk) format(ctx context.Context) error {
	half := d.file + ".new"
	f, err := os.Create(half)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Truncate(d.size), f.Close()); err != nil {
		return err
	}
	if err := command(ctx, "mkfs.ext4", "-q", "-F", "-m", "0", half); err != nil {
		return err
	}
	return os.Rename(half, d.file)
}

// close unmounts the disk if it is mounted.
func (d *disk) close() error {
	err := unix.Unmount(d.mount, 0)
	if errors.Is(err, unix.EINVAL) { // it isn't
		return nil
	}
	return err
}

func (d *disk) ballast() string { return filepath.Join(d.mount, "ballast") }

// fillRate is how many bytes a second fill takes: what a fast disk writes. Nobody
// can be warned of a disk that is full from one moment to the next.
const fillRate = 2 << 30

// fill leaves no byte; what it returns frees the disk again.
func (d *disk) fill() (free func() error, err error) {
	f, err := os.Create(d.ballast())
	if err != nil {
		return nil, err
	}
	defer f.Close()
	free = func() error { return os.Remove(d.ballast()) }
	var at int64
	for step := int64(64 << 20); step >= 4<<10; {
		err := unix.Fallocate(int(f.Fd()), 0, at, step)
		switch {
		case errors.Is(err, unix.ENOSPC):
			step /= 2
		case err != nil:
			return nil, errors.Join(err, free())
		default:
			at += step
			time.Sleep(time.Duration(step) * time.Second / fillRate)
		}
	}
	return free, nil
}

func command(ctx context.Context, name string, args ...string) error {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", name, err, out)
	}
	return nil
}
