package watch

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"daytona/internal/fault"
	"daytona/toolbox/files"
)

// watcher turns what the kernel tells of single directories into changes of a
// tree.
type watcher struct {
	kernel    *os.File
	tree      *tree
	root      *node
	recursive bool
	only      string // name of the one entry of the root that counts; "" for all
	limit     int    // directories at most
	out       *queue

	moved *leaving // the first half of a move, until the second has come
	told  []*node  // those whose told is set
	round int      // of rescan
}

// leaving is an entry that was moved away, we don't know where to yet.
type leaving struct {
	cookie uint32
	from   *node
	name   string
	dir    bool
}

func now() time.Time { return time.Now().UTC() }

// watchPath begins to watch a path, and what is below it when recursive. A file
// is watched by way of its directory: programs replace files rather than write
// into them. The events go to out, beginning with Ready, once run is called.
func watchPath(path string, recursive bool, limit int, out *queue) (*watcher, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, problem(err, path)
	}
	w := &watcher{tree: newTree(), recursive: recursive, limit: limit, out: out}
	if !info.IsDir() {
		path, w.only = filepath.Split(path)
		path, w.recursive = filepath.Clean(path), false
	}
	if w.kernel, err = open(); err != nil {
		return nil, problem(err, path)
	}
	watch, err := add(w.kernel, path, 0)
	if err != nil {
		return nil, errors.Join(problem(err, path), w.close())
	}
	w.root = &node{watch: watch, path: path}
	w.tree.nodes[watch] = w.root
	if err := w.descend(w.root, begin); err != nil {
		return nil, errors.Join(err, w.close())
	}
	out.push(Event{Type: Ready, Path: w.root.at(w.only), IsDir: info.IsDir(), Time: now()})
	return w, nil
}

// close ends the watching; run returns.
func (w *watcher) close() error { return w.kernel.Close() }

// problem says what stands in the way of a watch.
func problem(err error, path string) error {
	switch {
	case errors.Is(err, syscall.ENOSPC):
		return limitFault("the kernel's limit of watches is reached (fs.inotify.max_user_watches)")
	case errors.Is(err, syscall.EMFILE):
		return limitFault("the kernel's limit of watchers is reached (fs.inotify.max_user_instances)")
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return fault.Wrap(err, fault.NotFound, "file not found: %s", path).WithCode("FILE_NOT_FOUND")
	case errors.Is(err, fs.ErrPermission):
		return fault.Wrap(err, fault.Forbidden, "permission denied: %s", path).WithCode("FILE_ACCESS_DENIED")
	case errors.Is(err, syscall.ENAMETOOLONG), errors.Is(err, syscall.ELOOP):
		return fault.Wrap(err, fault.Invalid, "not a path that can be watched: %s", path).WithCode("INVALID_FILE_PATH")
	}
	return fmt.Errorf("watch %s: %w", path, err)
}

func limitFault(format string, args ...any) error {
	return fault.New(fault.Unprocessable, "%s. Watch a smaller part, or without recursive", fmt.Sprintf(format, args...)).WithCode("WATCH_LIMIT")
}

// purpose says why a tree is walked.
type purpose int

const (
	begin  purpose = iota // a limit that is met is an error
	tell                  // what is found is told as created
	repair                // directories were lost or have moved
)

// descend watches the directories below one that is watched. A directory is
// watched before it is listed, so that nothing which is made meanwhile is
// missed. It returns an error only at the beginning; later on the client is told
// what is not watched.
func (w *watcher) descend(top *node, why purpose) error {
	if !w.recursive {
		return nil
	}
	for todo := []*node{top}; len(todo) > 0; {
		n := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		n.mark = w.round
		entries, err := os.ReadDir(n.full())
		if err != nil && len(entries) == 0 {
			if !errors.Is(err, fs.ErrNotExist) {
				w.unwatched(n.full(), err)
			}
			continue
		}
		for _, entry := range entries {
			if why == tell {
				w.tell(Created, n, entry.Name(), entry.IsDir())
				if n.told == nil {
					n.told = map[string]bool{}
					w.told = append(w.told, n)
				}
				n.told[entry.Name()] = true
			}
			if !entry.IsDir() { // links are not followed, so it comes to an end
				continue
			}
			child, err := w.enter(n, entry.Name())
			if err != nil {
				if why == begin {
					return err
				}
				w.unwatched(n.at(entry.Name()), err)
			}
			if child != nil {
				todo = append(todo, child)
			}
		}
	}
	return nil
}

// enter watches one more directory. It returns nil where there is nothing to
// watch, and an error when a limit was met.
func (w *watcher) enter(parent *node, name string) (*node, error) {
	path := parent.at(name)
	if files.MadeUp(path) {
		return nil, nil
	}
	watch, err := add(w.kernel, path, unix.IN_DONT_FOLLOW)
	switch {
	case err == nil:
	case errors.Is(err, syscall.ENOSPC):
		return nil, problem(err, path)
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return nil, nil // gone meanwhile
	default:
		w.unwatched(path, err)
		return nil, nil
	}
	known := w.tree.nodes[watch]
	if known == nil && len(w.tree.nodes) >= w.limit {
		return nil, errors.Join(limitFault("there are more than %d directories", w.limit), drop(w.kernel, watch))
	}
	n := w.tree.put(watch, parent, name)
	if n == known && (n.parent != parent || n.name != name) {
		return nil, nil
	}
	return n, nil
}

func (w *watcher) unwatched(path string, err error) {
	text := "changes in it cannot be seen"
	if f, ok := errors.AsType[*fault.Error](err); ok {
		text = f.Text
	} else if errno, ok := errors.AsType[syscall.Errno](err); ok {
		text = errno.Error()
	}
	w.out.push(Event{Type: Unwatched, Path: path, IsDir: true, Time: now(), Message: text})
}

// moveWait is how long the second half of a move is waited for. The kernel puts
// both into its queue together, but a reader may see the first one alone.
const moveWait = 20 * time.Millisecond

// run tells changes until the root is gone or close is called.
func (w *watcher) run() error {
	defer w.out.close()
	buf := make([]byte, 64<<10)
	for {
		var patience time.Time
		if w.moved != nil {
			patience = time.Now().Add(moveWait)
		}
		n := 0
		err := w.kernel.SetReadDeadline(patience)
		if err == nil {
			n, err = w.kernel.Read(buf)
		}
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			w.settle()
			continue
		case errors.Is(err, os.ErrClosed):
			return nil
		case err != nil:
			return fmt.Errorf("read changes: %w", err)
		}
		for _, notice := range parse(buf[:n]) {
			if w.take(notice) {
				return nil
			}
		}
		if more, err := waiting(w.kernel); err == nil && !more {
			// What scans have told has been announced by now.
			w.forgetTold()
		}
	}
}

func (w *watcher) forgetTold() {
	for _, n := range w.told {
		n.told = nil
	}
	w.told = nil
}

// settle tells of an entry that was moved away for good.
func (w *watcher) settle() {
	if w.moved == nil {
		return
	}
	m := w.moved
	w.moved = nil
	w.tell(Deleted, m.from, m.name, m.dir)
	if n := w.tree.children[place{m.from, m.name}]; m.dir && n != nil {
		w.abandon(n)
	}
}

// abandon ends the watches of a directory that is elsewhere now.
func (w *watcher) abandon(n *node) {
	for _, watch := range w.tree.remove(n) {
		_ = drop(w.kernel, watch) // ended by itself when it fails
	}
}

func (w *watcher) tell(what Type, n *node, name string, dir bool) {
	if w.only != "" && name != w.only {
		return
	}
	w.out.push(Event{Type: what, Path: n.at(name), IsDir: dir, Time: now()})
}

// take handles one event of the kernel. It reports whether the root is gone.
func (w *watcher) take(e notice) (over bool) {
	if e.mask&unix.IN_Q_OVERFLOW != 0 {
		w.rescan()
		return false
	}
	second := e.mask&unix.IN_MOVED_TO != 0 && w.moved != nil && w.moved.cookie == e.cookie
	if !second {
		w.settle()
	}
	n := w.tree.nodes[e.watch]
	if n == nil {
		return false // of a watch that was given up
	}
	dir := e.mask&unix.IN_ISDIR != 0
	switch {
	case e.mask&(unix.IN_DELETE_SELF|unix.IN_UNMOUNT|unix.IN_IGNORED) != 0 || e.mask&unix.IN_MOVE_SELF != 0 && n == w.root:
		if n == w.root {
			if w.only == "" {
				w.tell(Deleted, n, "", true)
			}
			return true
		}
		if e.mask&unix.IN_IGNORED != 0 {
			w.tree.forget(n) // what was below it has gone before it
		}
	case e.name == "":
		// Of the directory itself; its parent tells as well, if it is watched.
		if n == w.root && e.mask&unix.IN_ATTRIB != 0 && w.only == "" {
			w.tell(Modified, n, "", true)
		}
	case e.mask&unix.IN_CREATE != 0:
		if n.told[e.name] {
			delete(n.told, e.name)
			break
		}
		w.tell(Created, n, e.name, dir)
		w.arrived(n, e.name, dir)
	case second:
		w.renamed(n, e.name, dir)
	case e.mask&unix.IN_MOVED_TO != 0:
		delete(n.told, e.name)
		w.tell(MovedIn, n, e.name, dir)
		w.arrived(n, e.name, dir)
	case e.mask&unix.IN_MOVED_FROM != 0:
		delete(n.told, e.name)
		w.moved = &leaving{e.cookie, n, e.name, dir}
	case e.mask&unix.IN_DELETE != 0:
		delete(n.told, e.name)
		w.tell(Deleted, n, e.name, dir)
	case e.mask&(unix.IN_MODIFY|unix.IN_ATTRIB) != 0:
		w.tell(Modified, n, e.name, dir)
	}
	return false
}

// arrived watches a directory that is new to the tree and tells what it holds.
func (w *watcher) arrived(parent *node, name string, dir bool) {
	if !dir || !w.recursive {
		return
	}
	if old := w.tree.children[place{parent, name}]; old != nil {
		// Either the same directory, found by an earlier scan, or one that was
		// here before; the kernel's number for it tells.
		defer func() {
			if now := w.tree.children[place{parent, name}]; now != old && w.tree.nodes[old.watch] == old {
				w.abandon(old)
			}
		}()
	}
	n, err := w.enter(parent, name)
	if err != nil {
		w.unwatched(parent.at(name), err)
	}
	if n != nil {
		_ = w.descend(n, tell) // an error only at the beginning
	}
}

// renamed tells of a move within what is watched.
func (w *watcher) renamed(to *node, name string, dir bool) {
	m := w.moved
	w.moved = nil
	delete(to.told, name)
	switch {
	case w.only == "":
		w.out.push(Event{Type: Renamed, Path: to.at(name), OldPath: m.from.at(m.name), IsDir: dir, Time: now()})
	case name == w.only:
		w.tell(MovedIn, to, name, dir)
	default:
		w.tell(Deleted, m.from, m.name, dir)
	}
	if n := w.tree.children[place{m.from, m.name}]; dir && n != nil {
		if old := w.tree.children[place{to, name}]; old != nil && old != n {
			w.abandon(old) // an empty directory that was replaced
		}
		w.tree.move(n, to, name)
		return
	}
	w.arrived(to, name, dir)
}

// rescan finds the directories that came, went or moved while the kernel lost
// count, and then tells the client to look for itself.
func (w *watcher) rescan() {
	w.moved = nil
	w.forgetTold()
	w.round++
	w.root.mark = w.round
	_ = w.descend(w.root, repair) // an error only at the beginning
	for watch, n := range w.tree.nodes {
		if n.mark != w.round {
			w.tree.forget(n)
			_ = drop(w.kernel, watch) // ended by itself when it fails
		}
	}
	w.out.push(Event{Type: Overflow, Time: now()})
}
