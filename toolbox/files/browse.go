package files

import (
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"

	"daytona/internal/fault"
	"daytona/toolbox/wire"
)

// Info answers GET /files/info: one file, links followed.
func (s *Service) Info(w http.ResponseWriter, r *http.Request) error {
	path, err := s.pathParam(r, "path")
	if err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return problem(err, path)
	}
	return wire.JSON(w, http.StatusOK, describe(info, wire.DialectOf(r)))
}

// maxDepth bounds how deep a listing goes.
const maxDepth = 64

// List answers GET /files: the entries of a directory, by name. With depth, the
// entries below it down to that many levels, each with its path; links to
// directories are shown but not entered.
func (s *Service) List(w http.ResponseWriter, r *http.Request) error {
	query := r.URL.Query()
	given := query.Get("path")
	if given == "" {
		given = "."
	}
	if err := checkPath("path", given); err != nil {
		return err
	}
	depth := 1
	if text := query.Get("depth"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return fault.New(fault.Invalid, "depth must be a whole number of at least 1, not %q", text)
		}
		depth = min(n, maxDepth)
	}
	root := s.Resolve(given)
	entries, err := os.ReadDir(root)
	if err != nil {
		return problem(err, root)
	}
	dialect := wire.DialectOf(r)
	found := make([]Info, 0, len(entries))
	var add func(dir string, entries []fs.DirEntry, level int) error
	add = func(dir string, entries []fs.DirEntry, level int) error {
		for _, entry := range entries {
			if err := r.Context().Err(); err != nil {
				return err
			}
			path := filepath.Join(dir, entry.Name())
			info, err := os.Stat(path)
			if err != nil {
				continue // gone meanwhile, or a link to nowhere
			}
			shown := describe(info, dialect)
			if depth > 1 {
				shown.Path = path
			}
			found = append(found, shown)
			if !entry.IsDir() || level >= depth {
				continue
			}
			if below, err := os.ReadDir(path); err == nil {
				if err := add(path, below, level+1); err != nil {
					return err
				}
			}
		}
		return nil
	}
	if err := add(root, entries, 1); err != nil {
		return err
	}
	return wire.JSON(w, http.StatusOK, found)
}
