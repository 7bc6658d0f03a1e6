package ready

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"daytona/toolbox/launch"
	"daytona/toolbox/reaper"
)

//go:embed template.py
var program string

// command is how a program text is run: it comes on standard input.
var command = []string{"python3", "-u", "-"}

// template is a Python process that has imported modules and can be copied.
type template struct {
	table   *reaper.Table
	child   *reaper.Child
	control *net.UnixConn
	path    string // of the interpreter
	env     launch.Vars
	asked   []string         // variables that the imports have read
	places  map[string]stamp // files and directories that the imports depend on

	forking sync.Mutex // one exchange on control at a time
	mu      sync.Mutex
	spare   *spare // waits for orders
	closed  bool
}

// spare is a copy of a template that waits for its orders.
type spare struct {
	child *reaper.Child
	conn  *net.UnixConn
}

// stamp tells whether a file has been changed or replaced. The zero value stands
// for one that is not there.
type stamp struct {
	inode   uint64
	changed syscall.Timespec
	size    int64
}

func stampOf(path string) stamp {
	info, err := os.Stat(path)
	if err != nil {
		return stamp{}
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return stamp{}
	}
	s := stamp{inode: stat.Ino, changed: stat.Ctim}
	if !info.IsDir() {
		s.size = info.Size()
	}
	return s
}

// How long a template may take to import, and to answer.
const (
	importing = 2 * time.Minute
	answering = 5 * time.Second
)

// errChanging means that a directory of modules has changed while they were
// imported, be it by byte code that was stored there.
var errChanging = errors.New("is being changed")

// startTemplate starts an interpreter that imports modules. It returns when that
// is ready.
func startTemplate(table *reaper.Table, env launch.Vars, dir, home string, modules []string) (*template, error) {
	path, err := launch.LookPath(command[0], env["PATH"], dir)
	if err != nil {
		return nil, err
	}
	t := &template{table: table, path: path, env: env, places: map[string]stamp{}}
	// What is not imported but read by imports.
	for _, file := range []string{
		path, "/etc/localtime", "/etc/ld.so.cache", "/etc/matplotlibrc",
		filepath.Join(dir, "matplotlibrc"), filepath.Join(home, ".config/matplotlib/matplotlibrc"),
		filepath.Join(filepath.Dir(filepath.Dir(path)), "pyvenv.cfg"),
	} {
		t.places[file] = stampOf(file)
	}
	began := time.Now()
	printed, err := t.start(dir, modules)
	if err != nil {
		return nil, err
	}
	up, err := receive(t.control, began.Add(importing))
	if err == nil && (len(up) != 4 || up[0] != "up") {
		err = errors.New("it says what makes no sense")
	}
	if err != nil {
		t.close()
		return nil, fmt.Errorf("ready interpreter: %w", err)
	}
	// A fresh import would print it too, and only the first time.
	if printed() {
		t.close()
		return nil, errors.New("ready interpreter: its imports print something")
	}
	t.asked = strings.Split(up[2], "\n")
	for _, place := range strings.Split(up[3], "\n") {
		s := stampOf(place)
		if time.Unix(s.changed.Unix()).After(began) {
			t.close()
			return nil, fmt.Errorf("ready interpreter: %s: %w", place, errChanging)
		}
		t.places[place] = s
	}
	return t, nil
}

// start starts the process. The function that it returns reports whether the
// process has printed something.
func (t *template) start(dir string, modules []string) (printed func() bool, err error) {
	var files []*os.File
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	stdin, err := launch.MemoryFile("stdin", nil)
	if err != nil {
		return nil, err
	}
	files = append(files, stdin)
	code, err := launch.MemoryFile("ready", archive("sitecustomize.py", program))
	if err != nil {
		return nil, err
	}
	files = append(files, code)
	reader, writer, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	files = append(files, writer)
	conn, theirs, err := socketPair()
	if err != nil {
		return nil, errors.Join(err, reader.Close())
	}
	files = append(files, theirs)
	env := launch.Vars{}
	for name, value := range t.env {
		env[name] = value
	}
	env["PYTHONPATH"] = strings.TrimSuffix("/proc/self/fd/3:"+t.env["PYTHONPATH"], ":")
	env["DAYTONA_READY_MODULES"] = strings.Join(modules, ",")
	t.child, err = t.table.Start(reaper.Command{
		Path: t.path, Args: command, Env: env.Pairs(), Dir: dir,
		Stdin: stdin, Stdout: writer, Stderr: writer, Extra: []*os.File{code, theirs},
	})
	if err != nil {
		return nil, errors.Join(err, reader.Close(), conn.Close())
	}
	t.control = conn
	var mu sync.Mutex
	any := false
	go func() {
		defer reader.Close()
		b := make([]byte, 512)
		for {
			n, err := reader.Read(b)
			if n > 0 {
				mu.Lock()
				any = true
				mu.Unlock()
			}
			if err != nil {
				return
			}
		}
	}()
	return func() bool {
		mu.Lock()
		defer mu.Unlock()
		return any
	}, nil
}

// fits reports whether a command with this path and environment would start as
// the template has.
func (t *template) fits(path string, env launch.Vars) bool {
	return path == t.path && alike(env, t.env, t.asked)
}

// unchanged reports whether the imports would bring the same once more.
func (t *template) unchanged() bool {
	for place, was := range t.places {
		if stampOf(place) != was {
			return false
		}
	}
	return true
}

// fork makes a copy that waits for orders.
func (t *template) fork() (*spare, error) {
	t.forking.Lock()
	defer t.forking.Unlock()
	return t.forkLocked()
}

func (t *template) forkLocked() (*spare, error) {
	conn, theirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	deadline := time.Now().Add(answering)
	err = send(t.control, deadline, []string{"fork"}, theirs)
	theirs.Close()
	var reply []string
	if err == nil {
		reply, err = receive(t.control, deadline)
	}
	var child *reaper.Child
	if err == nil {
		var pid int
		if pid, err = strconv.Atoi(strings.Join(reply, "")); err == nil && pid <= 1 {
			err = errors.New("it cannot fork")
		}
		if err == nil {
			child, err = t.table.Register(pid)
		}
	}
	if err == nil {
		// Only the process itself can answer this, so it lives after it was
		// registered, and the number is its own.
		if _, err = conn.Write([]byte("?")); err == nil {
			err = errors.Join(conn.SetReadDeadline(deadline), readByte(conn))
		}
		if err != nil {
			child.Forget()
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("copy of the ready interpreter: %w", err), conn.Close())
	}
	return &spare{child, conn}, nil
}

// take returns the copy that waits, or nil.
func (t *template) take() *spare {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.spare
	t.spare = nil
	return s
}

// refill makes the copy that waits, unless there is one.
func (t *template) refill() error {
	t.forking.Lock()
	defer t.forking.Unlock()
	t.mu.Lock()
	enough := t.spare != nil || t.closed
	t.mu.Unlock()
	if enough {
		return nil
	}
	s, err := t.forkLocked()
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		s.discard()
		return nil
	}
	t.spare = s
	return nil
}

func readByte(r io.Reader) error {
	_, err := io.ReadFull(r, make([]byte, 1))
	return err
}

// errRefused is what run returns when the copy has ended without running
// anything.
var errRefused = errors.New("the copy does not take the order")

// run lets the copy become a command. When it fails, nothing has been run.
func (s *spare) run(ctx context.Context, c reaper.Command) error {
	texts := slices.Concat([]string{c.Dir, strconv.Itoa(len(c.Args))}, c.Args, c.Env)
	deadline := time.Now().Add(answering)
	err := send(s.conn, deadline, texts, append([]*os.File{c.Stdin, c.Stdout, c.Stderr}, c.Extra...)...)
	if err == nil {
		err = s.conn.SetReadDeadline(deadline)
	}
	stop := context.AfterFunc(ctx, func() { _ = s.conn.SetReadDeadline(time.Now()) })
	defer stop()
	if err == nil {
		err = readByte(s.conn)
	}
	if err == nil {
		_ = s.conn.Close() // nothing is lost with it
		return nil
	}
	s.discard()
	if errors.Is(err, io.EOF) {
		err = errRefused
	}
	return err
}

// discard ends a copy that was not used.
func (s *spare) discard() {
	_ = s.conn.Close()
	s.child.KillTree()
	<-s.child.Done()
}

// close ends the template and the copy that waits. What runs goes on.
func (t *template) close() {
	t.mu.Lock()
	t.closed = true
	s := t.spare
	t.spare = nil
	t.mu.Unlock()
	_ = t.control.Close()
	t.child.KillTree()
	if s != nil {
		s.discard()
	}
}
