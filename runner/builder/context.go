package builder

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"daytona/api/runnerapi"
	"daytona/internal/fault"
)

const dockerfileName = "Dockerfile"

// maxContextEntries bounds the number of files in a build's context.
const maxContextEntries = 500_000

// prepareContext makes the two directories that a build reads: "dockerfile" with
// the Dockerfile alone, and "context" with the files of its archives.
func (b *Builder) prepareContext(ctx context.Context, work string, spec *runnerapi.Build) error {
	for _, d := range []string{"context", "dockerfile"} {
		if err := os.MkdirAll(filepath.Join(work, d), 0o700); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(work, "dockerfile", dockerfileName), []byte(spec.Dockerfile), 0o600); err != nil {
		return fault.Wrap(err, fault.Unavailable, "the runner cannot write the build's files")
	}
	root, err := os.OpenRoot(filepath.Join(work, "context"))
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }() // a handle alone
	left := &allowance{bytes: b.cfg.ContextBytes, entries: maxContextEntries, room: b.cfg.Store.Room}
	for i, c := range spec.Contexts {
		if err := fetchContext(ctx, root, c, left); err != nil {
			if _, ok := errors.AsType[*fault.Error](err); ok || ctx.Err() != nil {
				return err
			}
			return fault.Wrap(err, fault.Unprocessable, "the build's context %d of %d cannot be unpacked", i+1, len(spec.Contexts))
		}
	}
	return nil
}

// allowance is what a build's context may still take.
type allowance struct {
	bytes   int64
	entries int
	room    func(int64) error
}

func (a *allowance) take(bytes int64) error {
	a.entries--
	a.bytes -= bytes
	if a.entries < 0 || a.bytes < 0 || bytes < 0 {
		return fault.New(fault.Unprocessable, "the build's context is too large for this runner")
	}
	return a.room(bytes)
}

// contextPatience is how long a fetch of a context may take.
const contextPatience = 30 * time.Minute

func fetchContext(ctx context.Context, root *os.Root, c runnerapi.BuildContext, left *allowance) error {
	ctx, cancel := context.WithTimeout(ctx, contextPatience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.URL, nil)
	if err != nil {
		return fault.New(fault.Invalid, "the address of a build's context is not valid") // it may hold credentials
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, "the build's context cannot be fetched")
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fault.New(fault.Unavailable, "the build's context cannot be fetched: the storage answers %s", res.Status)
	}
	return unpack(root, c.Path, res.Body, left)
}

// unpack writes the entries of a tar archive, which may be compressed by gzip,
// below dir in root. Modes, symbolic links and times are kept, owners are not.
// An entry that would lie elsewhere is Unprocessable.
func unpack(root *os.Root, dir string, r io.Reader, left *allowance) error {
	br := bufio.NewReader(r)
	if magic, err := br.Peek(2); err == nil && magic[0] == 0x1f && magic[1] == 0x8b {
		z, err := gzip.NewReader(br)
		if err != nil {
			return err
		}
		defer func() { _ = z.Close() }() // it was only read
		br = bufio.NewReader(z)
	}
	if dir != "" && dir != "." {
		dir = path.Clean(strings.TrimLeft(dir, "/"))
		if !filepath.IsLocal(dir) {
			return outside(dir)
		}
		if err := root.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	tr := tar.NewReader(br)
	var times []tar.Header // of directories, set when all is in them
	for {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("archive: %w", err)
		}
		name := path.Clean(h.Name)
		if name == "." || h.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		if !filepath.IsLocal(name) {
			return outside(h.Name)
		}
		if err := left.take(h.Size); err != nil {
			return err
		}
		name = path.Join(dir, name)
		if err := unpackEntry(root, name, dir, h, tr); err != nil {
			return refuseEscape(h.Name, err)
		}
		if h.Typeflag == tar.TypeDir {
			h.Name = name
			times = append(times, *h)
		}
	}
	for i := len(times) - 1; i >= 0; i-- {
		// The mode last: a directory need not be writable for its owner.
		h := times[i]
		if err := errors.Join(root.Chmod(h.Name, h.FileInfo().Mode()), root.Chtimes(h.Name, h.ModTime, h.ModTime)); err != nil {
			return refuseEscape(h.Name, err)
		}
	}
	return nil
}

func outside(name string) error {
	return fault.New(fault.Unprocessable, "the build's context is refused: its entry %q lies outside of it", name)
}

// refuseEscape tells an entry that leads out by a link from other trouble.
func refuseEscape(name string, err error) error {
	if err != nil && strings.Contains(err.Error(), "path escapes") {
		return outside(name)
	}
	return err
}

func unpackEntry(root *os.Root, name, dir string, h *tar.Header, r io.Reader) error {
	if parent := path.Dir(name); parent != "." {
		if err := root.MkdirAll(parent, 0o755); err != nil {
			return err
		}
	}
	if h.Typeflag != tar.TypeDir {
		if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	switch h.Typeflag {
	case tar.TypeDir:
		if err := root.Mkdir(name, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		return nil
	case tar.TypeReg:
		f, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, r)
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
		return errors.Join(root.Chmod(name, h.FileInfo().Mode()), root.Chtimes(name, h.ModTime, h.ModTime))
	case tar.TypeSymlink:
		// Where it points is for the image to say: nothing here follows it.
		return root.Symlink(h.Linkname, name)
	case tar.TypeLink:
		target := path.Clean(h.Linkname)
		if !filepath.IsLocal(target) {
			return outside(h.Linkname)
		}
		return root.Link(path.Join(dir, target), name)
	}
	return fault.New(fault.Unprocessable, "the build's context is refused: its entry %q is neither a file nor a directory nor a link", h.Name)
}
