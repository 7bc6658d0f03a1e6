package files

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"path/filepath"
	"strings"

	"daytona/internal/fault"
	"daytona/toolbox/wire"
)

// What one search returns at most. An answer that was cut carries the header
// X-Daytona-Truncated: true.
const (
	maxMatches  = 10_000
	maxNames    = 100_000
	maxContent  = 8 << 20  // bytes of all matching lines together
	maxLine     = 64 << 10 // bytes of one line that are looked at
	sniffLength = 512      // a NUL this early makes a file binary
)

var errEnough = errors.New("enough found")

// relative returns how a found path is shown: as walked from what the client
// gave, so relative when that was relative.
func relative(given, root, path string) string {
	if filepath.IsAbs(given) || strings.HasPrefix(given, "~") {
		return path
	}
	rest, err := filepath.Rel(root, path)
	if err != nil {
		return path
	}
	return filepath.Join(given, rest)
}

// match is a line that contains the text looked for.
type match struct {
	File    string `json:"file"`
	Line    int    `json:"line"` // from 1
	Content string `json:"content"`
}

// Find answers GET /files/find: every line below path, or in it, that contains
// pattern as it is written. Binary and special files are passed over.
func (s *Service) Find(w http.ResponseWriter, r *http.Request) error {
	root, pattern, err := s.searchParams(r)
	if err != nil {
		return err
	}
	given := r.URL.Query().Get("path")
	found, size := []match{}, 0
	buf := bufio.NewReaderSize(nil, maxLine)
	err = walk(r.Context(), root, func(path string, entry fs.DirEntry) error {
		if !entry.Type().IsRegular() {
			return nil
		}
		f, _, err := openRegular(path)
		if err != nil {
			return nil // gone, or not ours to read
		}
		defer f.Close()
		buf.Reset(f)
		shown := relative(given, root, path)
		return eachLine(buf, func(line int, content []byte) error {
			if err := r.Context().Err(); err != nil {
				return err
			}
			if !bytes.Contains(content, []byte(pattern)) {
				return nil
			}
			if size += len(content); len(found) >= maxMatches || size > maxContent {
				return errEnough
			}
			found = append(found, match{shown, line, strings.ToValidUTF8(string(content), "\uFFFD")})
			return nil
		})
	})
	if err := enough(w, err, root); err != nil {
		return err
	}
	return wire.JSON(w, http.StatusOK, found)
}

// eachLine calls visit with each line of a text, numbered from 1, without its
// end and cut at the reader's buffer size. A binary file has no lines.
func eachLine(r *bufio.Reader, visit func(int, []byte) error) error {
	if head, _ := r.Peek(sniffLength); bytes.IndexByte(head, 0) >= 0 {
		return nil
	}
	for number := 1; ; number++ {
		line, err := r.ReadSlice('\n')
		content := bytes.TrimRight(line, "\r\n")
		if len(line) > 0 {
			if visitErr := visit(number, content); visitErr != nil {
				return visitErr
			}
		}
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = r.ReadSlice('\n')
		}
		if err != nil {
			return nil //nolint:nilerr // the end, or a file that cannot be read on
		}
	}
}

// Search answers GET /files/search: every path below path whose last part
// matches the glob pattern.
func (s *Service) Search(w http.ResponseWriter, r *http.Request) error {
	root, pattern, err := s.searchParams(r)
	if err != nil {
		return err
	}
	if _, err := filepath.Match(pattern, ""); err != nil {
		return fault.Wrap(err, fault.Invalid, "pattern is not a valid glob: %s", pattern)
	}
	given := r.URL.Query().Get("path")
	found := []string{}
	err = walk(r.Context(), root, func(path string, entry fs.DirEntry) error {
		if ok, _ := filepath.Match(pattern, entry.Name()); !ok {
			return nil
		}
		if len(found) >= maxNames {
			return errEnough
		}
		found = append(found, relative(given, root, path))
		return nil
	})
	if err := enough(w, err, root); err != nil {
		return err
	}
	return wire.JSON(w, http.StatusOK, struct {
		Files []string `json:"files"`
	}{found})
}

func (s *Service) searchParams(r *http.Request) (root, pattern string, err error) {
	if root, err = s.pathParam(r, "path"); err != nil {
		return "", "", err
	}
	if pattern = r.URL.Query().Get("pattern"); pattern == "" {
		return "", "", fault.New(fault.Invalid, "pattern is required")
	}
	return root, pattern, nil
}

func enough(w http.ResponseWriter, err error, root string) error {
	if errors.Is(err, errEnough) {
		w.Header().Set("X-Daytona-Truncated", "true")
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return nil
	}
	return problem(err, root)
}

// replaced is what became of one file.
type replaced struct {
	File    string `json:"file"`
	Success bool   `json:"success"`
	Error   string `json:"error,omitempty"`
}

// maxReplace bounds the files that a replacement is made in: one is held in
// memory as a whole.
const maxReplace = 64 << 20

// Replace answers POST /files/replace: in each file, every occurrence of
// pattern as it is written becomes newValue. Each file stands for itself.
func (s *Service) Replace(w http.ResponseWriter, r *http.Request) error {
	var req struct {
		Files    []string `json:"files"`
		Pattern  string   `json:"pattern"`
		NewValue *string  `json:"newValue"`
	}
	if err := wire.Decode(r, &req); err != nil {
		return err
	}
	switch {
	case len(req.Files) == 0:
		return fault.New(fault.Invalid, "files is required")
	case req.Pattern == "":
		return fault.New(fault.Invalid, "pattern is required")
	case req.NewValue == nil:
		return fault.New(fault.Invalid, "newValue is required")
	}
	results := make([]replaced, 0, len(req.Files))
	for _, file := range req.Files {
		if err := r.Context().Err(); err != nil {
			return err
		}
		result := replaced{File: file, Success: true}
		if err := s.replaceIn(file, req.Pattern, *req.NewValue); err != nil {
			result.Success, result.Error = false, publicText(err)
		}
		results = append(results, result)
	}
	return wire.JSON(w, http.StatusOK, results)
}

func (s *Service) replaceIn(file, pattern, value string) error {
	if err := checkPath("file", file); err != nil {
		return err
	}
	path := s.Resolve(file)
	f, info, err := openRegular(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if info.Size() > maxReplace {
		return fault.New(fault.Unprocessable, "file is larger than %d MiB: %s", maxReplace>>20, path).WithCode(codeFileTooLarge)
	}
	content, err := io.ReadAll(io.LimitReader(f, maxReplace+1))
	if err != nil {
		return problem(err, path)
	}
	if !bytes.Contains(content, []byte(pattern)) {
		return nil
	}
	_, err = write(path, bytes.NewReader(bytes.ReplaceAll(content, []byte(pattern), []byte(value))), 0o755)
	return problem(err, path)
}
