package rootfs

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/unix"

	"daytona/internal/fault"
)

// btrfsDisk keeps each root's writable layer in a subvolume whose quota group
// limits it. df inside shows the host's disk; see probeDisk.
type btrfsDisk struct{}

// Request numbers and structures of linux/btrfs.h.
const (
	btrfsIocSubvolCreate = 0x5000940e
	btrfsIocSnapCreate   = 0x50009417
	btrfsIocSnapDestroy  = 0x5000940f
	btrfsIocQuotaCtl     = 0xc0109428
	btrfsIocQgroupCreate = 0x4010942a
	btrfsIocQgroupLimit  = 0x8030942b
	btrfsIocTreeSearch   = 0xd0009411
	btrfsIocInoLookup    = 0xd0009412

	btrfsQuotaEnable       = 1
	btrfsQuotaEnableSimple = 4
	btrfsLimitMaxRfer      = 1

	btrfsQuotaTree       = 8
	btrfsQgroupInfoKey   = 242
	btrfsQgroupLimitKey  = 244
	btrfsFirstFreeObject = 256
)

type btrfsVolArgs struct {
	fd   int64
	name [4088]byte
}

type btrfsLimit struct {
	flags, maxRfer, maxExcl, rsvRfer, rsvExcl uint64
}

func (btrfsDisk) kind() string { return "btrfs" }

func btrfsCall(path string, req uintptr, arg unsafe.Pointer) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }() // nothing was written through it
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), req, uintptr(arg)); errno != 0 {
		return errno
	}
	return nil
}

// btrfsEnableQuota switches quotas on. The simple kind (Linux 6.7) costs less;
// one that is on already stays as it is.
func btrfsEnableQuota(dir string) error {
	for _, cmd := range []uint64{btrfsQuotaEnableSimple, btrfsQuotaEnable} {
		arg := struct{ cmd, status uint64 }{cmd: cmd}
		err := btrfsCall(dir, btrfsIocQuotaCtl, unsafe.Pointer(&arg))
		if err == nil || errors.Is(err, unix.EEXIST) {
			return nil
		}
		if !errors.Is(err, unix.EINVAL) {
			return err
		}
	}
	return unix.EINVAL
}

func (btrfsDisk) create(_ context.Context, dir string, bytes int64) error {
	arg := btrfsVolArgs{}
	copy(arg.name[:], loopMount)
	if err := btrfsCall(dir, btrfsIocSubvolCreate, unsafe.Pointer(&arg)); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("subvolume in %s: %w", dir, err)
	}
	return btrfsLimitTo(dir, bytes)
}

// clone takes a snapshot of the subvolume, in constant time.
func (btrfsDisk) clone(_ context.Context, from, dir string, bytes int64) error {
	source, err := unix.Open(filepath.Join(from, loopMount), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return fmt.Errorf("subvolume in %s: %w", from, err)
	}
	defer func() { _ = unix.Close(source) }() // nothing was written through it
	arg := struct {
		fd, transid, flags uint64
		unused             [4]uint64
		name               [4040]byte
	}{fd: uint64(source)}
	copy(arg.name[:], loopMount)
	if err := btrfsCall(dir, btrfsIocSnapCreate, unsafe.Pointer(&arg)); err != nil {
		return fmt.Errorf("snapshot of %s: %w", from, err)
	}
	return btrfsLimitTo(dir, bytes)
}

func (btrfsDisk) grow(_ context.Context, dir string, bytes int64) error {
	return btrfsLimitTo(dir, bytes)
}

// btrfsLimitTo limits what the subvolume in dir can hold.
func btrfsLimitTo(dir string, bytes int64) error {
	lim := struct {
		qgroup uint64
		lim    btrfsLimit
	}{lim: btrfsLimit{flags: btrfsLimitMaxRfer, maxRfer: uint64(bytes)}}
	if err := btrfsCall(filepath.Join(dir, loopMount), btrfsIocQgroupLimit, unsafe.Pointer(&lim)); err != nil {
		return fmt.Errorf("quota of %s: %w", dir, err)
	}
	return nil
}

func (btrfsDisk) attach(_ context.Context, dir string) (string, error) {
	path := filepath.Join(dir, loopMount)
	if !isSubvolume(path) {
		return "", fault.New(fault.Internal, "the disk in %s is missing", dir)
	}
	return path, nil
}

func (btrfsDisk) detach(context.Context, string) error { return nil }

// remove drops the subvolume in dir if there is one.
func (btrfsDisk) remove(_ context.Context, dir string) error {
	path := filepath.Join(dir, loopMount)
	if !isSubvolume(path) {
		return nil
	}
	id, err := subvolumeID(path)
	if err != nil {
		return err
	}
	arg := btrfsVolArgs{}
	copy(arg.name[:], loopMount)
	if err := btrfsCall(dir, btrfsIocSnapDestroy, unsafe.Pointer(&arg)); err != nil {
		return fmt.Errorf("remove subvolume in %s: %w", dir, err)
	}
	// Newer kernels drop the empty group by themselves; a group that stays
	// behind limits nothing.
	q := struct{ create, id uint64 }{0, id}
	_ = btrfsCall(dir, btrfsIocQgroupCreate, unsafe.Pointer(&q))
	return nil
}

func isSubvolume(path string) bool {
	var st unix.Stat_t
	var fs unix.Statfs_t
	return unix.Lstat(path, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR && st.Ino == btrfsFirstFreeObject &&
		unix.Statfs(path, &fs) == nil && fs.Type == unix.BTRFS_SUPER_MAGIC
}

func subvolumeID(path string) (uint64, error) {
	arg := struct {
		tree, object uint64
		name         [4080]byte
	}{object: btrfsFirstFreeObject}
	if err := btrfsCall(path, btrfsIocInoLookup, unsafe.Pointer(&arg)); err != nil {
		return 0, fmt.Errorf("subvolume id of %s: %w", path, err)
	}
	return arg.tree, nil
}

// usage reads the quota group's limit and count out of the quota tree.
func (btrfsDisk) usage(_ context.Context, dir string) (Usage, error) {
	path := filepath.Join(dir, loopMount)
	id, err := subvolumeID(path)
	if err != nil {
		return Usage{}, err
	}
	// What was written counts once it is committed.
	if fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0); err == nil {
		_ = unix.Syncfs(fd)
		_ = unix.Close(fd)
	}
	info, err := quotaItem(path, btrfsQgroupInfoKey, id)
	if err != nil {
		return Usage{}, err
	}
	limit, err := quotaItem(path, btrfsQgroupLimitKey, id)
	if err != nil {
		return Usage{}, err
	}
	if len(info) < 16 || len(limit) < 16 {
		return Usage{}, fmt.Errorf("quota of %s: %w", path, os.ErrNotExist)
	}
	return Usage{
		TotalBytes: int64(binary.LittleEndian.Uint64(limit[8:])),
		UsedBytes:  int64(binary.LittleEndian.Uint64(info[8:])),
	}, nil
}

// quotaItem returns one item of the quota tree.
func quotaItem(path string, kind uint32, id uint64) ([]byte, error) {
	arg := struct {
		tree, minObject, maxObject, minOffset, maxOffset, minTrans, maxTrans uint64
		minType, maxType, items, unused                                      uint32
		unused2                                                              [4]uint64
		buf                                                                  [3992]byte
	}{tree: btrfsQuotaTree, minOffset: id, maxOffset: id, maxTrans: ^uint64(0), minType: kind, maxType: kind, items: 1}
	if err := btrfsCall(path, btrfsIocTreeSearch, unsafe.Pointer(&arg)); err != nil {
		return nil, fmt.Errorf("quota of %s: %w", path, err)
	}
	if arg.items == 0 {
		return nil, nil
	}
	const header = 32 // transid, objectid, offset, type, len
	n := binary.LittleEndian.Uint32(arg.buf[28:])
	if int(n) > len(arg.buf)-header {
		return nil, fmt.Errorf("quota of %s: item of %d bytes", path, n)
	}
	return arg.buf[header : header+n], nil
}
