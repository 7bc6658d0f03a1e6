package session

import (
	"errors"
	"io/fs"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Bounds of one command's log.
const (
	spillLimit   = 64 << 10 // bytes kept in memory when the disk has no room
	reserve      = 64 << 20 // bytes that logs leave free on the disk,
	reservePart  = 20       // but no more than this part of it
	checkReserve = 4 << 20  // bytes written between two looks at the room
)

// output is what a command prints: a file with its index, and what did not fit
// on the disk.
type output struct {
	mu      sync.Mutex // guards what follows
	data    *os.File   // nil when closed or never opened
	index   *os.File
	size    int64 // bytes in data that may be read
	records int64 // records in index that are about them
	last    stream
	checked int64 // size at which the room on the disk was last looked at

	full    string  // why data takes no more; "" when it does
	spill   []chunk // what came after that, up to spillLimit bytes
	spilled int
	lost    int64 // bytes that were dropped

	sources int           // who may still append
	over    bool          // the command has ended; sources may still append
	changed chan struct{} // closed at the next change; nil when nobody waits
	bytes   int64         // all that ever came
}

// chunk is a piece of output in memory.
type chunk struct {
	stream stream
	bytes  []byte
}

// append stores what a command has printed. It never fails and never waits for
// a reader.
func (o *output) append(s stream, b []byte) {
	if len(b) == 0 {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.bytes += int64(len(b))
	rest := b
	if o.full == "" {
		n, err := o.writeLocked(s, b)
		if err != nil {
			o.full = reason(err)
		}
		rest = b[n:]
	}
	if room := min(len(rest), spillLimit-o.spilled); room > 0 && o.lost == 0 {
		o.spill = append(o.spill, chunk{s, append([]byte(nil), rest[:room]...)})
		o.spilled += room
		rest = rest[room:]
	}
	o.lost += int64(len(rest))
	o.wakeLocked()
}

func (o *output) writeLocked(s stream, b []byte) (int, error) {
	if o.data == nil {
		return 0, fs.ErrClosed
	}
	if o.size-o.checked >= checkReserve {
		o.checked = o.size
		if err := checkRoom(o.data); err != nil {
			return 0, err
		}
	}
	if o.last != s || o.records == 0 {
		if _, err := o.index.WriteAt(record(o.size, s), o.records*recordSize); err != nil {
			return 0, err
		}
		o.last = s
		o.records++
	}
	n, err := o.data.WriteAt(b, o.size)
	o.size += int64(n)
	return n, err
}

var errReserve = errors.New("the disk is almost full")

// checkRoom fails when the file system of f has less than the reserve left.
func checkRoom(f *os.File) error {
	var s unix.Statfs_t
	err := unix.Fstatfs(int(f.Fd()), &s)
	block := uint64(s.Bsize)
	// A file system that does not tell has room.
	if err == nil && s.Bavail*block < min(reserve, s.Blocks*block/reservePart) {
		return errReserve
	}
	return nil
}

// reason says why output cannot be stored.
func reason(err error) string {
	switch {
	case errors.Is(err, errReserve), errors.Is(err, fs.ErrClosed):
		return err.Error()
	case errors.Is(err, syscall.ENOSPC):
		return "no space left on the disk"
	case errors.Is(err, syscall.EDQUOT):
		return "the disk quota is used up"
	}
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err.Error()
	}
	return err.Error()
}

func (o *output) wakeLocked() {
	if o.changed != nil {
		close(o.changed)
		o.changed = nil
	}
}

// begin counts another source.
func (o *output) begin() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sources++
}

// end says that a source will not append again. After the last one the files
// are closed.
func (o *output) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sources--
	o.closeLocked()
	o.wakeLocked()
}

// finish says that the command is over.
func (o *output) finish() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.over = true
	o.closeLocked()
	o.wakeLocked()
}

func (o *output) closeLocked() {
	if !o.over || o.sources > 0 || o.data == nil {
		return
	}
	err := errors.Join(o.data.Close(), o.index.Close())
	if err != nil && o.full == "" {
		o.full = reason(err)
	}
	o.data, o.index = nil, nil
}

// extent is how much there is to read at a moment.
type extent struct {
	size, records int64
	spill         []chunk // never changed, only added to
	lost          int64
	full          string
	over          bool // the command has ended
	sources       int
	changed       <-chan struct{} // closed at the next change
}

// extent returns what there is now. If wait is set, its changed is set too.
func (o *output) extent(wait bool) extent {
	o.mu.Lock()
	defer o.mu.Unlock()
	if wait && o.changed == nil {
		o.changed = make(chan struct{})
	}
	return extent{o.size, o.records, o.spill, o.lost, o.full, o.over, o.sources, o.changed}
}
