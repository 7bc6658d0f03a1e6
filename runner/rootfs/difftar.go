package rootfs

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"daytona/internal/fault"
)

const (
	whiteoutPrefix = ".wh."
	whiteoutOpaque = ".wh..wh..opq"

	xattrOpaque = "trusted.overlay.opaque"
	xattrPAX    = "SCHILY.xattr."
)

// writeUpper writes the upper directory of an overlay as a layer's tar stream.
// limit is the size of the disk that it lies on; sparse files that would be far
// larger when written out are refused, and so is what a layer cannot express.
func writeUpper(ctx context.Context, upper string, w io.Writer, limit int64) error {
	u := upperWriter{ctx: ctx, root: upper, tw: tar.NewWriter(w), links: map[uint64]string{}, left: 2 * limit}
	err := filepath.WalkDir(upper, func(path string, _ fs.DirEntry, err error) error {
		if errors.Is(err, os.ErrNotExist) && path == upper {
			return nil // never mounted: nothing was written
		}
		if err != nil {
			return err
		}
		return u.add(path)
	})
	if err != nil {
		return err
	}
	return u.tw.Close()
}

type upperWriter struct {
	ctx   context.Context
	root  string
	tw    *tar.Writer
	links map[uint64]string // inode with several names, to the first of them
	left  int64
}

func (u *upperWriter) add(path string) error {
	if err := u.ctx.Err(); err != nil {
		return err
	}
	name, err := filepath.Rel(u.root, path)
	if err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	if name == "." {
		return nil // the root's own attributes are not part of a layer
	}
	if strings.HasPrefix(filepath.Base(name), whiteoutPrefix) {
		return fault.New(fault.Unprocessable, "the file %q cannot be part of an image: layers keep names that begin with %q for deletions", "/"+name, whiteoutPrefix)
	}
	if isWhiteout(st.Mode, st.Rdev) {
		return u.mark(filepath.Join(filepath.Dir(name), whiteoutPrefix+filepath.Base(name)), st)
	}
	hdr, err := header(name, path, st)
	if err != nil || hdr == nil {
		return err
	}
	if hdr.Typeflag != tar.TypeDir && st.Nlink > 1 {
		if first, ok := u.links[st.Ino]; ok {
			hdr.Typeflag, hdr.Linkname, hdr.Size = tar.TypeLink, first, 0
			// Attributes were set with the first name.
			hdr.PAXRecords = nil
			return u.put(hdr, nil)
		}
		u.links[st.Ino] = name
	}
	if hdr.Typeflag == tar.TypeReg {
		return u.file(hdr, path)
	}
	if err := u.put(hdr, nil); err != nil {
		return err
	}
	if hdr.Typeflag == tar.TypeDir {
		v, err := getXattr(path, xattrOpaque)
		if err != nil {
			return err
		}
		if string(v) == "y" {
			return u.mark(filepath.Join(name, whiteoutOpaque), st)
		}
	}
	return nil
}

// isWhiteout recognizes overlayfs's mark for a deleted name.
func isWhiteout(mode uint32, rdev uint64) bool {
	return mode&unix.S_IFMT == unix.S_IFCHR && rdev == 0
}

// mark writes an empty file that means a deletion.
func (u *upperWriter) mark(name string, st unix.Stat_t) error {
	return u.put(&tar.Header{Typeflag: tar.TypeReg, Name: name, ModTime: mtime(st)}, nil)
}

func (u *upperWriter) file(hdr *tar.Header, path string) error {
	if u.left -= hdr.Size; u.left < 0 {
		return fault.New(fault.Unprocessable, "the sandbox's files are too large for an image when written out; %q has %d bytes", "/"+hdr.Name, hdr.Size)
	}
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NOATIME|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return u.put(hdr, f)
}

func (u *upperWriter) put(hdr *tar.Header, body io.Reader) error {
	hdr.Format = tar.FormatPAX
	if err := u.tw.WriteHeader(hdr); err != nil {
		return fmt.Errorf("layer entry %q: %w", hdr.Name, err)
	}
	if body == nil {
		return nil
	}
	// A file that changes length meanwhile breaks the promise that nothing runs
	// in the root; the tar writer reports it either way.
	if _, err := io.Copy(u.tw, body); err != nil {
		return fmt.Errorf("layer entry %q: %w", hdr.Name, err)
	}
	return nil
}

// header describes a file for a layer; nil for sockets, which have no meaning
// outside of the process that made them.
func header(name, path string, st unix.Stat_t) (*tar.Header, error) {
	hdr := &tar.Header{Name: name, Mode: int64(st.Mode & 0o7777), Uid: int(st.Uid), Gid: int(st.Gid), ModTime: mtime(st)}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		hdr.Typeflag, hdr.Size = tar.TypeReg, st.Size
	case unix.S_IFDIR:
		hdr.Typeflag, hdr.Name = tar.TypeDir, name+"/"
	case unix.S_IFLNK:
		target, err := os.Readlink(path)
		if err != nil {
			return nil, err
		}
		hdr.Typeflag, hdr.Linkname = tar.TypeSymlink, target
	case unix.S_IFCHR, unix.S_IFBLK:
		hdr.Typeflag = tar.TypeChar
		if st.Mode&unix.S_IFMT == unix.S_IFBLK {
			hdr.Typeflag = tar.TypeBlock
		}
		hdr.Devmajor, hdr.Devminor = int64(unix.Major(st.Rdev)), int64(unix.Minor(st.Rdev))
	case unix.S_IFIFO:
		hdr.Typeflag = tar.TypeFifo
	default:
		return nil, nil
	}
	var err error
	hdr.PAXRecords, err = layerXattrs(path)
	return hdr, err
}

func mtime(st unix.Stat_t) time.Time { return time.Unix(st.Mtim.Unix()) }

// layerXattrs returns the extended attributes that belong to a file and not to
// overlayfs or the host.
func layerXattrs(path string) (map[string]string, error) {
	names, err := listXattrs(path)
	if err != nil {
		return nil, err
	}
	var out map[string]string
	for _, n := range names {
		if !keepXattr(n) {
			continue
		}
		v, err := getXattr(path, n)
		if err != nil {
			return nil, err
		}
		if v == nil {
			continue
		}
		if out == nil {
			out = map[string]string{}
		}
		out[xattrPAX+n] = string(v)
	}
	return out, nil
}

func keepXattr(name string) bool {
	return strings.HasPrefix(name, "user.") || name == "security.capability" || strings.HasPrefix(name, "system.posix_acl_")
}

func listXattrs(path string) ([]string, error) {
	for {
		n, err := unix.Llistxattr(path, nil)
		if errors.Is(err, unix.ENOTSUP) || (err == nil && n == 0) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("attributes of %s: %w", path, err)
		}
		buf := make([]byte, n)
		n, err = unix.Llistxattr(path, buf)
		if errors.Is(err, unix.ERANGE) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("attributes of %s: %w", path, err)
		}
		return strings.Split(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00"), nil
	}
}

// getXattr returns nil for an attribute that is not there.
func getXattr(path, name string) ([]byte, error) {
	for {
		n, err := unix.Lgetxattr(path, name, nil)
		if errors.Is(err, unix.ENODATA) || errors.Is(err, unix.ENOTSUP) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("attribute %s of %s: %w", name, path, err)
		}
		buf := make([]byte, n)
		n, err = unix.Lgetxattr(path, name, buf)
		if errors.Is(err, unix.ERANGE) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("attribute %s of %s: %w", name, path, err)
		}
		return buf[:n], nil
	}
}

// syncTree writes everything of the file system that path is on to its disk.
func syncTree(path string) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }() // nothing was written through it
	return unix.Syncfs(fd)
}
