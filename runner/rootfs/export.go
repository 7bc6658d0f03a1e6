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
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"daytona/internal/fault"
)

// What was written in a root leaves it as a tar stream of the overlay's upper
// directory as it is: whiteouts are devices 0/0, opaque directories have
// overlayfs's attribute. Unlike a layer of an image, this loses nothing: no name is
// reserved, holes stay holes, sockets are there. The same files give the same
// bytes, so that what was sent before is found again.
//
// Two records extend the tar format:
const (
	// paxHoles lists the parts of a file that have data, as offset+length pairs
	// joined by commas; only these follow. paxSize is the file's length.
	paxHoles = "DAYTONA.data"
	paxSize  = "DAYTONA.size"
	// paxSocket marks a fifo that is a socket.
	paxSocket = "DAYTONA.socket"
)

// Export writes what was written in a root, as Import reads it. While the root
// is mounted its files may change meanwhile: each is then as it was when it was
// reached, and what goes away before is left out.
func (s *Store) Export(ctx context.Context, id string, w io.Writer) error {
	return s.withDisk(ctx, id, func(_ record, disk string) error {
		if err := syncTree(disk); err != nil {
			return fmt.Errorf("export root %s: %w", id, err)
		}
		if err := exportTree(ctx, filepath.Join(disk, "upper"), w); err != nil {
			return fmt.Errorf("export root %s: %w", id, err)
		}
		return nil
	})
}

// Base identifies what lies below what was written in a root: its image's
// layers, whatever the image is called now.
func (s *Store) Base(ctx context.Context, id string) (string, error) {
	var base string
	err := s.locked(ctx, id, func(r record) error { base = r.Chain; return nil })
	return base, err
}

func exportTree(ctx context.Context, upper string, w io.Writer) error {
	e := exporter{ctx: ctx, root: upper, tw: tar.NewWriter(w), links: map[uint64]string{}}
	err := filepath.WalkDir(upper, func(path string, _ fs.DirEntry, err error) error {
		if err == nil {
			err = e.add(path)
		}
		if errors.Is(err, os.ErrNotExist) {
			return nil // it went away, or nothing was ever written
		}
		return err
	})
	if err != nil {
		return err
	}
	return e.tw.Close()
}

type exporter struct {
	ctx   context.Context
	root  string
	tw    *tar.Writer
	links map[uint64]string // inode with several names, to the first of them
}

func (e *exporter) add(path string) error {
	if err := e.ctx.Err(); err != nil {
		return err
	}
	name, err := filepath.Rel(e.root, path)
	if err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	hdr, err := exportHeader(name, path, st)
	if err != nil {
		return err
	}
	if hdr.Typeflag != tar.TypeDir && st.Nlink > 1 {
		if first, ok := e.links[st.Ino]; ok {
			return e.put(&tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: first, ModTime: mtime(st)})
		}
	}
	if hdr.Typeflag == tar.TypeReg {
		err = e.file(hdr, path)
	} else {
		err = e.put(hdr)
	}
	if err == nil && hdr.Typeflag != tar.TypeDir && st.Nlink > 1 {
		e.links[st.Ino] = name
	}
	return err
}

func exportHeader(name, path string, st unix.Stat_t) (*tar.Header, error) {
	hdr, err := header(name, path, st)
	if err != nil {
		return nil, err
	}
	if hdr == nil { // a socket
		hdr = &tar.Header{Typeflag: tar.TypeFifo, Name: name, Mode: int64(st.Mode & 0o7777), Uid: int(st.Uid), Gid: int(st.Gid), ModTime: mtime(st),
			PAXRecords: map[string]string{paxSocket: "1"}}
	}
	if hdr.Typeflag != tar.TypeDir {
		return hdr, nil
	}
	v, err := getXattr(path, xattrOpaque)
	if err != nil || v == nil {
		return hdr, err
	}
	setRecord(hdr, xattrPAX+xattrOpaque, string(v))
	return hdr, nil
}

func setRecord(hdr *tar.Header, key, value string) {
	if hdr.PAXRecords == nil {
		hdr.PAXRecords = map[string]string{}
	}
	hdr.PAXRecords[key] = value
}

func (e *exporter) put(hdr *tar.Header) error {
	hdr.Format = tar.FormatPAX
	if err := e.tw.WriteHeader(hdr); err != nil {
		return fmt.Errorf("entry %q: %w", hdr.Name, err)
	}
	return nil
}

func (e *exporter) file(hdr *tar.Header, path string) error {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NOATIME|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	parts, stored, err := dataOf(f, hdr.Size)
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	if stored < hdr.Size {
		setRecord(hdr, paxHoles, encodeParts(parts))
		setRecord(hdr, paxSize, strconv.FormatInt(hdr.Size, 10))
		hdr.Size = stored
	}
	if err := e.put(hdr); err != nil {
		return err
	}
	for _, p := range parts {
		n, err := io.Copy(e.tw, &meterReader{ctx: e.ctx, r: io.NewSectionReader(f, p.offset, p.length)})
		if err != nil {
			return fmt.Errorf("entry %q: %w", hdr.Name, err)
		}
		// A file that became shorter meanwhile is what it was announced as.
		if _, err := io.CopyN(e.tw, zeroes{}, p.length-n); err != nil {
			return fmt.Errorf("entry %q: %w", hdr.Name, err)
		}
	}
	return nil
}

type zeroes struct{}

func (zeroes) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// noParts is the list of a file that is one hole; tar has no empty records.
const noParts = "-"

// part is a piece of a file that has data.
type part struct{ offset, length int64 }

// maxParts bounds the list of a file's parts; beyond it, holes between the last
// ones are written out.
const maxParts = 4096

// dataOf finds the parts of a file of a size that have data.
func dataOf(f *os.File, size int64) (parts []part, stored int64, err error) {
	for off := int64(0); off < size; {
		data, err := unix.Seek(int(f.Fd()), off, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			break // no data from here on
		}
		if err != nil {
			return nil, 0, err
		}
		if data >= size {
			break
		}
		end, err := unix.Seek(int(f.Fd()), data, unix.SEEK_HOLE)
		if err != nil {
			return nil, 0, err
		}
		if end = min(end, size); len(parts) == maxParts-1 {
			end = size
		}
		parts = append(parts, part{data, end - data})
		stored += end - data
		off = end
	}
	return parts, stored, nil
}

func encodeParts(parts []part) string {
	if len(parts) == 0 {
		return noParts
	}
	var b strings.Builder
	for i, p := range parts {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "%d+%d", p.offset, p.length)
	}
	return b.String()
}

// decodeParts refuses lists that are not in order, overlap, or leave the file.
func decodeParts(s string, size int64) (parts []part, stored int64, err error) {
	bad := fault.New(fault.Unprocessable, "the list of a file's parts is damaged")
	if s == noParts {
		return nil, 0, nil
	}
	at := int64(0)
	for one := range strings.SplitSeq(s, ",") {
		from, n, found := strings.Cut(one, "+")
		offset, err1 := strconv.ParseInt(from, 10, 64)
		length, err2 := strconv.ParseInt(n, 10, 64)
		if !found || err1 != nil || err2 != nil || offset < at || length <= 0 || offset > size || length > size-offset || len(parts) == maxParts {
			return nil, 0, bad
		}
		parts = append(parts, part{offset, length})
		stored += length
		at = offset + length
	}
	return parts, stored, nil
}
