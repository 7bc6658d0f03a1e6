package rootfs

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"
)

// mountExt4 mounts a loop device. A file system on which the host's disk once
// failed is checked first, so that it does not carry damage on.
func mountExt4(ctx context.Context, dev *os.File, target string, log *slog.Logger) error {
	// discard gives the blocks of deleted files back to the host. Errors of the
	// host's disk stop writing instead of spreading.
	const opts = "discard,noinit_itable,errors=remount-ro"
	mount := func() error {
		if err := unix.Mount(dev.Name(), target, "ext4", unix.MS_NODEV|unix.MS_NOSUID, opts); err != nil {
			return fmt.Errorf("mount %s on %s: %w", dev.Name(), target, err)
		}
		return nil
	}
	err := mount()
	if err == nil {
		// Mounting has replayed the journal, which is where errors are noted first.
		bad, serr := hasErrors(dev)
		if serr != nil || !bad {
			return serr
		}
		if err := unmount(ctx, target, log); err != nil {
			return err
		}
	}
	log.Warn("disk of a root had errors and is checked", "path", target, "err", err)
	if cerr := checkExt4(ctx, dev.Name()); cerr != nil {
		// What cannot be repaired without a choice may still be readable.
		log.Error("disk of a root has errors that remain", "path", target, "err", cerr)
	}
	return mount()
}

// hasErrors reads the state that an ext4 superblock notes.
func hasErrors(dev *os.File) (bool, error) {
	const superblock, magicAt, stateAt, magic, errorFlag = 1024, 0x38, 0x3a, 0xef53, 2
	var b [stateAt + 2]byte
	if _, err := dev.ReadAt(b[:], superblock); err != nil {
		return false, fmt.Errorf("read %s: %w", dev.Name(), err)
	}
	if binary.LittleEndian.Uint16(b[magicAt:]) != magic {
		return true, nil
	}
	return binary.LittleEndian.Uint16(b[stateAt:])&errorFlag != 0, nil
}

// checkExt4 repairs what can be repaired without losing anything.
func checkExt4(ctx context.Context, dev string, flags ...string) error {
	out, err := exec.CommandContext(ctx, "e2fsck", append(append([]string{"-p"}, flags...), dev)...).CombinedOutput()
	if e, ok := errors.AsType[*exec.ExitError](err); ok && e.ExitCode() <= 3 { // 1 and 2: repaired
		return nil
	}
	if err != nil {
		return fmt.Errorf("e2fsck: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}
