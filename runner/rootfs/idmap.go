package rootfs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"daytona/internal/fault"
)

// idRange is how many ids a user namespace of ours maps.
const idRange = 65536

// How ids are shifted. On the disk every id is what the sandbox sees. An
// idmapped mount of the layers and one of the disk show them shifted by UserNS,
// and overlayfs is mounted over these two; overlayfs itself cannot be idmapped.
// In such a mount host id 0 does not exist, so overlayfs, which makes its work
// files with the ids of whoever mounted it, has to be mounted with the file
// system ids UserNS, which are 0 on the disk.

// mountIDMapped mounts what is visible at from also at to, with ids shifted.
func mountIDMapped(from, to string, userns *os.File) error {
	fd, err := unix.OpenTree(unix.AT_FDCWD, from, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return fmt.Errorf("clone mount of %s: %w", from, err)
	}
	defer func() { _ = unix.Close(fd) }() // nothing was written through it
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(userns.Fd())}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &attr); err != nil {
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
			return fault.Wrap(err, fault.Unavailable, "the kernel or the file system of %s cannot shift ids, which a user namespace needs", filepath.Dir(from))
		}
		return fmt.Errorf("shift ids of %s: %w", from, err)
	}
	if err := unix.MoveMount(fd, "", unix.AT_FDCWD, to, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("mount %s: %w", to, err)
	}
	return nil
}

// becomeFSID gives the calling thread, which must not be used for anything
// else, the file system ids id while it keeps its capabilities.
func becomeFSID(id uint32) error {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	if err := unix.Capget(&hdr, &caps[0]); err != nil {
		return fmt.Errorf("capabilities: %w", err)
	}
	// These calls return the previous id and never an error.
	_, _, _ = unix.RawSyscall(unix.SYS_SETFSGID, uintptr(id), 0, 0)
	_, _, _ = unix.RawSyscall(unix.SYS_SETFSUID, uintptr(id), 0, 0)
	now, _, _ := unix.RawSyscall(unix.SYS_SETFSUID, ^uintptr(0), 0, 0)
	if uint32(now) != id {
		return fmt.Errorf("file system id %d was refused", id)
	}
	// Leaving id 0 took the file capabilities out of the effective set.
	if _, _, errno := unix.RawSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&hdr)), uintptr(unsafe.Pointer(&caps[0])), 0); errno != 0 {
		return fmt.Errorf("capabilities: %w", errno)
	}
	return nil
}

// usernsCache keeps handles of user namespaces, which describe mappings to the
// kernel. They cost nothing while kept, and a process start to make.
type usernsCache struct {
	mu    sync.Mutex
	files map[uint32]*os.File
}

const usernsCached = 512

func newUsernsCache() *usernsCache { return &usernsCache{files: map[uint32]*os.File{}} }

// with calls f with the namespace that maps 0..65535 to first and on.
func (c *usernsCache) with(first uint32, f func(*os.File) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	file, ok := c.files[first]
	if !ok {
		var err error
		if file, err = makeUserns(first); err != nil {
			return fault.Wrap(err, fault.Unavailable, "no user namespace can be made")
		}
		if len(c.files) >= usernsCached {
			for k, old := range c.files {
				_ = old.Close()
				delete(c.files, k)
				break
			}
		}
		c.files[first] = file
	}
	return f(file)
}

func (c *usernsCache) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for k, f := range c.files {
		_ = f.Close()
		delete(c.files, k)
	}
}

// makeUserns opens a user namespace that a short-lived child is born in. The
// child waits for the end of its input, so it also ends when we are killed.
func makeUserns(first uint32) (*os.File, error) {
	cmd := exec.Command("cat") //nolint:noctx // it ends with its input
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	cmd.Stdout = io.Discard
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: int(first), Size: idRange}}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWUSER, UidMappings: ids, GidMappings: ids, GidMappingsEnableSetgroups: true,
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	file, err := os.Open("/proc/" + strconv.Itoa(cmd.Process.Pid) + "/ns/user")
	_ = in.Close()
	if werr := cmd.Wait(); err == nil && werr != nil {
		err = werr
		_ = file.Close()
	}
	if err != nil {
		return nil, err
	}
	return file, nil
}
