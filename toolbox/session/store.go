package session

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"daytona/internal/fault"
	"daytona/toolbox/launch"
)

// The files of a command.
const (
	scriptFile = "script"
	dataFile   = "output.log"
	indexFile  = "output.idx"
	exitFile   = "exit_code"
)

// keptRuns is how many sessions of earlier runs are kept.
const keptRuns = 100

// store is the directory of all logs.
type store struct {
	// dirs are where it may be, the best first: the second serves those who
	// have no home directory, or one that cannot be written.
	dirs []string

	mu   sync.Mutex // guards what follows
	dir  string     // of dirs, where root is
	root *os.Root
}

// open opens the directory, and makes it if need be.
func (s *store) open() (*os.Root, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.root != nil {
		// It may have been removed or replaced meanwhile; what is written
		// into a removed directory is lost.
		here, err1 := s.root.Stat(".")
		there, err2 := os.Stat(s.dir)
		if err1 == nil && err2 == nil && os.SameFile(here, there) {
			return s.root, nil
		}
		_ = s.root.Close()
		s.root = nil
	}
	var first error
	for _, dir := range s.dirs {
		root, err := openOwn(dir)
		if err == nil {
			s.root, s.dir = root, dir
			s.prune()
			return root, nil
		}
		if first == nil {
			first = err
		}
	}
	return nil, first
}

// openOwn opens a directory that belongs to this process's user.
func openOwn(dir string) (*os.Root, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return nil, err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !info.IsDir() || !ok || int(stat.Uid) != os.Geteuid() {
		return nil, &fs.PathError{Op: "open", Path: dir, Err: errors.New("not a directory of the sandbox's user")}
	}
	if unix.Access(dir, unix.W_OK|unix.X_OK) != nil {
		return nil, &fs.PathError{Op: "open", Path: dir, Err: syscall.EACCES}
	}
	return os.OpenRoot(dir)
}

func (s *store) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.root != nil {
		_ = s.root.Close()
		s.root = nil
	}
}

// prune removes the oldest sessions of earlier runs. It is called before the
// first session of this run is made.
func (s *store) prune() {
	dir, err := s.root.Open(".")
	if err != nil {
		return
	}
	defer dir.Close()
	entries, err := dir.ReadDir(-1)
	if err != nil || len(entries) <= keptRuns {
		return
	}
	changed := map[string]int64{}
	for _, entry := range entries {
		if info, err := entry.Info(); err == nil {
			changed[entry.Name()] = info.ModTime().UnixNano()
		}
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int {
		return int(min(1, max(-1, changed[b.Name()]-changed[a.Name()])))
	})
	for _, entry := range entries[keptRuns:] {
		_ = s.root.RemoveAll(entry.Name())
	}
}

// dirName turns a session's id, which may be any text, into the name of a
// directory. Different ids have different names.
func dirName(id string) string {
	const longest = 150
	var b strings.Builder
	for i, c := range []byte(id) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_', c == '-', c == '.' && i > 0:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	if b.Len() > longest {
		return fmt.Sprintf("%%h%x", sha256.Sum256([]byte(id)))
	}
	return b.String()
}

// begin makes the empty directory of a session. What an earlier run has left
// under the same name is removed.
func (s *store) begin(name string) error {
	root, err := s.open()
	if err != nil {
		return err
	}
	if err := root.RemoveAll(name); err != nil {
		return err
	}
	return root.Mkdir(name, 0o700)
}

// remove removes a session's directory.
func (s *store) remove(name string) error {
	root, err := s.open()
	if err != nil {
		return err
	}
	return root.RemoveAll(name)
}

// create makes the directory of a command with its text, and the files of its
// log. script is the path of the text for a shell. When it fails nothing is left.
func (s *store) create(name, id, text string) (script string, data, index *os.File, err error) {
	root, err := s.open()
	if err != nil {
		return "", nil, nil, err
	}
	dir := filepath.Join(name, id)
	defer func() {
		if err != nil {
			if data != nil {
				_ = data.Close()
			}
			_ = root.RemoveAll(dir)
			data, index = nil, nil
		}
	}()
	if err = root.MkdirAll(dir, 0o700); err != nil {
		return "", nil, nil, err
	}
	if err = root.WriteFile(filepath.Join(dir, scriptFile), []byte(text), 0o600); err != nil {
		return "", nil, nil, err
	}
	const flags = os.O_RDWR | os.O_CREATE | os.O_EXCL | unix.O_NOFOLLOW
	if data, err = root.OpenFile(filepath.Join(dir, dataFile), flags, 0o600); err != nil {
		return "", nil, nil, err
	}
	if index, err = root.OpenFile(filepath.Join(dir, indexFile), flags, 0o600); err != nil {
		return "", data, nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return filepath.Join(s.dir, dir, scriptFile), data, index, nil
}

// openFile opens a regular file of a command for reading. A symbolic link is
// not followed, and a pipe is not waited for.
func openFile(root *os.Root, path string) (*os.File, error) {
	info, err := root.Lstat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrInvalid}
	}
	f, err := root.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	// It may have been another one since.
	if opened, err := f.Stat(); err != nil || !opened.Mode().IsRegular() {
		return nil, errors.Join(&fs.PathError{Op: "open", Path: path, Err: fs.ErrInvalid}, f.Close())
	}
	return f, nil
}

// read opens a command's log.
func (s *store) read(name, id string) (*reader, error) {
	root, err := s.open()
	if err != nil {
		return nil, err
	}
	data, err := openFile(root, filepath.Join(name, id, dataFile))
	if err != nil {
		return nil, err
	}
	index, err := openFile(root, filepath.Join(name, id, indexFile))
	if err != nil {
		return nil, errors.Join(err, data.Close())
	}
	return newReader(data, index), nil
}

// text returns a command's text.
func (s *store) text(name, id string) (string, error) {
	content, err := s.readFile(filepath.Join(name, id, scriptFile), maxCommand+1)
	return strings.TrimSuffix(string(content), "\n"), err
}

func (s *store) readFile(path string, limit int64) ([]byte, error) {
	root, err := s.open()
	if err != nil {
		return nil, err
	}
	f, err := openFile(root, path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, limit))
}

// writeEnd records how a command has ended.
func (s *store) writeEnd(name, id string, e launch.Ending) error {
	root, err := s.open()
	if err != nil {
		return err
	}
	dir := filepath.Join(name, id)
	content := fmt.Appendf(nil, "%d\n%s\n%s\n", e.ExitCode, e.Cause, e.Signal)
	// In one step, since half a number is another number.
	if err := root.WriteFile(filepath.Join(dir, exitFile+".new"), content, 0o600); err != nil {
		return err
	}
	return root.Rename(filepath.Join(dir, exitFile+".new"), filepath.Join(dir, exitFile))
}

// parseEnd reads what writeEnd wrote.
func parseEnd(content []byte) (launch.Ending, bool) {
	lines := strings.Split(string(bytes.TrimSpace(content)), "\n")
	code, err := strconv.ParseInt(lines[0], 10, 32)
	if err != nil {
		return launch.Ending{}, false
	}
	e := launch.Ending{ExitCode: int(code), Cause: launch.CauseExit}
	if len(lines) > 1 && slices.Contains(launch.Causes, lines[1]) {
		e.Cause = lines[1]
	}
	if len(lines) > 2 && e.Cause == launch.CauseSignal {
		if unix.SignalNum(lines[2]) != 0 {
			e.Signal = lines[2]
		}
	}
	return e, true
}

// past reads a session of an earlier run. It is not found when there is none.
func (s *store) past(name string) ([]pastCommand, error) {
	root, err := s.open()
	if err != nil {
		return nil, err
	}
	dir, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	const most = 2 * keptCommands
	entries, err := dir.ReadDir(most)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	var all []pastCommand
	for _, entry := range entries {
		if !entry.IsDir() || !isID(entry.Name()) {
			continue
		}
		text, err := s.readFile(filepath.Join(name, entry.Name(), scriptFile), shownText)
		if err != nil {
			continue
		}
		c := pastCommand{id: entry.Name(), text: shorten(strings.TrimSuffix(string(text), "\n"))}
		// A command without an end was running when the sandbox stopped.
		c.end = launch.Ending{ExitCode: 128 + int(syscall.SIGKILL), Cause: launch.CauseStopped}
		if content, err := s.readFile(filepath.Join(name, c.id, exitFile), 256); err == nil {
			if e, ok := parseEnd(content); ok {
				c.end = e
			}
		}
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b pastCommand) int { return strings.Compare(a.id, b.id) })
	return all, nil
}

// pastCommand is a command of an earlier run.
type pastCommand struct {
	id, text string
	end      launch.Ending
}

// isFull reports whether there was no room for something.
func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// storeFault says what is wrong with the store.
func storeFault(err error) error {
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
		return fault.Wrap(err, fault.Unprocessable, "unprocessable entity: cannot store the session: neither the home directory nor /tmp can be written")
	}
	return err
}
