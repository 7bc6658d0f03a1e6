package desktop

import (
	"bytes"
	"os"
	"sync"

	"daytona/internal/fault"
)

// maxLog is how long a process's log may become; then it begins anew.
const maxLog = 1 << 20

// logFile takes what a process prints.
type logFile struct {
	path   string
	prefix string // of the line that onLine waits for
	onLine func() // called once, when such a line has been printed; may be nil

	mu   sync.Mutex // writers of an earlier and a later process may overlap
	size int64
	part []byte
}

// copyFrom writes to the log what comes from r, until its end.
func (l *logFile) copyFrom(r *os.File) {
	defer r.Close()
	buf := make([]byte, 8<<10)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			l.write(buf[:n])
		}
		if err != nil {
			return
		}
	}
}

// write appends to the log. A full disk costs lines of the log, not the desktop.
func (l *logFile) write(b []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.watch(b)
	flags := os.O_WRONLY | os.O_CREATE | os.O_APPEND
	if l.size+int64(len(b)) > maxLog {
		flags |= os.O_TRUNC
		l.size = 0
	}
	f, err := os.OpenFile(l.path, flags, 0o600)
	if err != nil {
		return
	}
	defer f.Close()
	n, _ := f.Write(b)
	l.size += int64(n)
}

// watch looks for the line that says that the process is ready.
func (l *logFile) watch(b []byte) {
	if l.onLine == nil {
		return
	}
	l.part = append(l.part, b...)
	for {
		line, rest, whole := bytes.Cut(l.part, []byte("\n"))
		if bytes.HasPrefix(line, []byte(l.prefix)) && whole {
			l.onLine()
			l.onLine, l.part = nil, nil
			return
		}
		if !whole {
			break
		}
		l.part = rest
	}
	if len(l.part) > 4<<10 {
		l.part = nil
	}
}

// readLog returns a log, or nothing when nothing has been written to it.
func readLog(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		return "", fault.Wrap(err, fault.Internal, "the log cannot be read: %s", path)
	}
	return string(bytes.ToValidUTF8(b[:min(len(b), 2*maxLog)], []byte("\uFFFD"))), nil
}

// fresh empties a log.
func (l *logFile) fresh() error {
	if err := os.WriteFile(l.path, nil, 0o600); err != nil {
		return fault.Wrap(err, fault.Unprocessable, "the desktop's log cannot be written: %s: is the disk full?", l.path)
	}
	return nil
}
