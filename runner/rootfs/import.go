package rootfs

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"daytona/internal/fault"
)

// Import makes a root of an image and of what Export wrote. base is what Base
// said of the root that was exported; "" is anything. A root that exists with the
// same specification stays as it is. Errors: NotFound without the image,
// Unprocessable for a stream that is not one of Export's or an image that is not
// the one below it.
func (s *Store) Import(ctx context.Context, spec RootSpec, base string, files io.Reader) error {
	if err := spec.check(); err != nil {
		return err
	}
	unlock, err := s.ids.lock(ctx, spec.ID)
	if err != nil {
		return err
	}
	defer unlock()
	if old, ok := s.root(spec.ID); ok {
		if old.spec() != spec {
			return fault.New(fault.Conflict, "root %s exists with another specification", spec.ID)
		}
		return nil
	}
	if err := s.room(0); err != nil {
		return err
	}
	r, err := s.claimLayers(s.scope(ctx), spec)
	if err != nil {
		return err
	}
	if base != "" && r.Chain != base {
		s.forget(spec.ID)
		return fault.New(fault.Unprocessable,
			"the image %q on this runner is not the one that the sandbox was made from; its files do not fit on top of it", spec.Image)
	}
	err = s.makeRootWith(ctx, r, func(stage string) error { return s.fill(ctx, r, stage, files) })
	if err != nil {
		s.forget(spec.ID)
		return fmt.Errorf("import root %s: %w", spec.ID, err)
	}
	return nil
}

// fill unpacks files onto the disk of a root that is still in staging.
func (s *Store) fill(ctx context.Context, r record, stage string, files io.Reader) (err error) {
	d := s.disks[r.Disk]
	if err := d.create(ctx, stage, r.Bytes); err != nil {
		return err
	}
	disk, err := d.attach(ctx, stage)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.detach(context.WithoutCancel(ctx), stage)) }()
	files = &roomReader{r: files, room: func() error { return s.room(0) }}
	if err := importTree(ctx, filepath.Join(disk, "upper"), files); err != nil {
		if errors.Is(err, unix.ENOSPC) {
			return fault.Wrap(err, fault.Unprocessable, "the files do not fit on a disk of %d MiB", r.Bytes>>20)
		}
		return err
	}
	return syncTree(disk)
}

// importTree unpacks a stream of exportTree into a directory that it makes,
// unless the stream is empty.
func importTree(ctx context.Context, upper string, files io.Reader) error {
	return unpackTree(ctx, upper, files, func() error { return os.Mkdir(upper, 0o700) })
}

// importInto unpacks it into a directory that is there, and empty.
func importInto(ctx context.Context, dir string, files io.Reader) error {
	return unpackTree(ctx, dir, files, func() error { return nil })
}

// unpackTree calls begin before the first entry. No entry is written outside of
// the directory, whatever the stream says: each is reached from there without
// following a link.
func unpackTree(ctx context.Context, upper string, files io.Reader, begin func() error) error {
	tr := tar.NewReader(&meterReader{ctx: ctx, r: files})
	hdr, err := tr.Next()
	if errors.Is(err, io.EOF) {
		return nil // nothing was ever written
	}
	if err != nil {
		return importFault(err)
	}
	if err := begin(); err != nil {
		return err
	}
	dir, err := unix.Open(upper, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	im := importer{root: dir, upper: upper}
	defer func() { _ = unix.Close(dir) }() // nothing was written through it
	for ; err == nil; hdr, err = tr.Next() {
		if err := im.add(hdr, tr); err != nil {
			return fmt.Errorf("entry %q: %w", hdr.Name, importFault(err))
		}
	}
	if !errors.Is(err, io.EOF) {
		return importFault(err)
	}
	if err := im.finish(); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, files) // the stream's end says that it is whole
	return err
}

// importFault tells a damaged stream from trouble of ours.
func importFault(err error) error {
	if errors.Is(err, tar.ErrHeader) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, tar.ErrFieldTooLong) {
		return fault.Wrap(err, fault.Unprocessable, "the stream of files is damaged")
	}
	return err
}

type importer struct {
	root  int // descriptor of the directory
	upper string
	dirs  []*tar.Header // whose times are set when nothing is made in them any more
}

func (im *importer) add(hdr *tar.Header, body io.Reader) error {
	name := filepath.Clean(hdr.Name)
	if name == "." {
		return im.attributes(im.root, "", hdr, true)
	}
	if !filepath.IsLocal(name) {
		return fault.New(fault.Unprocessable, "the stream of files is damaged: %q leads out of it", hdr.Name)
	}
	parent, err := im.open(filepath.Dir(name))
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(parent) }() // nothing was written through it
	base := filepath.Base(name)
	mode := uint32(hdr.Mode) & 0o7777
	switch hdr.Typeflag {
	case tar.TypeDir:
		err = unix.Mkdirat(parent, base, 0o700)
	case tar.TypeReg:
		return im.file(parent, base, hdr, body)
	case tar.TypeLink:
		return im.link(parent, base, hdr.Linkname)
	case tar.TypeSymlink:
		err = unix.Symlinkat(hdr.Linkname, parent, base)
	case tar.TypeFifo:
		kind := uint32(unix.S_IFIFO)
		if hdr.PAXRecords[paxSocket] != "" {
			kind = unix.S_IFSOCK
		}
		err = unix.Mknodat(parent, base, kind|mode, 0)
	case tar.TypeChar, tar.TypeBlock:
		kind := uint32(unix.S_IFCHR)
		if hdr.Typeflag == tar.TypeBlock {
			kind = unix.S_IFBLK
		}
		err = unix.Mknodat(parent, base, kind|mode, int(unix.Mkdev(uint32(hdr.Devmajor), uint32(hdr.Devminor))))
	default:
		return fault.New(fault.Unprocessable, "the stream of files is damaged: it has an entry of type %q", hdr.Typeflag)
	}
	if err != nil {
		return err
	}
	return im.attributes(parent, base, hdr, hdr.Typeflag == tar.TypeDir)
}

// open opens a directory below the root without following any link.
func (im *importer) open(dir string) (int, error) {
	return unix.Openat2(im.root, dir, &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV,
	})
}

func (im *importer) link(parent int, base, to string) error {
	to = filepath.Clean(to)
	if !filepath.IsLocal(to) {
		return fault.New(fault.Unprocessable, "the stream of files is damaged: a link to %q leads out of it", to)
	}
	from, err := im.open(filepath.Dir(to))
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(from) }() // nothing was written through it
	return unix.Linkat(from, filepath.Base(to), parent, base, 0)
}

func (im *importer) file(parent int, base string, hdr *tar.Header, body io.Reader) error {
	size, parts := hdr.Size, []part{{0, hdr.Size}}
	if list, sparse := hdr.PAXRecords[paxHoles]; sparse {
		var err error
		var stored int64
		if size, err = strconv.ParseInt(hdr.PAXRecords[paxSize], 10, 64); err == nil && size >= 0 {
			parts, stored, err = decodeParts(list, size)
		}
		if err != nil || size < 0 || stored != hdr.Size {
			return fault.New(fault.Unprocessable, "the stream of files is damaged: the parts of a file do not add up")
		}
	}
	fd, err := unix.Openat(parent, base, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), base)
	for _, p := range parts {
		if _, err = io.CopyN(io.NewOffsetWriter(f, p.offset), body, p.length); err != nil {
			break
		}
	}
	if err == nil && len(hdr.PAXRecords[paxSize]) > 0 {
		err = f.Truncate(size)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return im.attributes(parent, base, hdr, false)
}

// attributes sets owner, mode, extended attributes and times, in the order in
// which none undoes another. base "" is the directory itself.
func (im *importer) attributes(parent int, base string, hdr *tar.Header, dir bool) error {
	path := fmt.Sprintf("/proc/self/fd/%d", parent)
	if base != "" {
		path += "/" + base
	} else {
		path += "/."
	}
	if err := unix.Lchown(path, hdr.Uid, hdr.Gid); err != nil {
		return err
	}
	if hdr.Typeflag != tar.TypeSymlink {
		if err := unix.Chmod(path, uint32(hdr.Mode)&0o7777); err != nil {
			return err
		}
	}
	for key, value := range hdr.PAXRecords {
		name, ok := strings.CutPrefix(key, xattrPAX)
		if !ok || !keepXattr(name) && name != xattrOpaque {
			continue
		}
		if err := unix.Lsetxattr(path, name, []byte(value), 0); err != nil {
			return fmt.Errorf("attribute %s: %w", name, err)
		}
	}
	if dir {
		im.dirs = append(im.dirs, hdr)
		return nil
	}
	return setTime(path, hdr)
}

func setTime(path string, hdr *tar.Header) error {
	ts, err := unix.TimeToTimespec(hdr.ModTime)
	if err != nil {
		return err
	}
	return unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW)
}

// finish sets the times of directories, the innermost first.
func (im *importer) finish() error {
	for i := len(im.dirs) - 1; i >= 0; i-- {
		hdr := im.dirs[i]
		fd, err := im.open(filepath.Clean(hdr.Name))
		if err != nil {
			return err
		}
		err = setTime(fmt.Sprintf("/proc/self/fd/%d/.", fd), hdr)
		_ = unix.Close(fd) // nothing was written through it
		if err != nil {
			return err
		}
	}
	return nil
}
