package session

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// reader reads a log from its start. It has files of its own, so that it goes
// on while the log is removed.
type reader struct {
	data  *os.File
	index *os.File
	walk  segments
	chunk int // chunks of the spill that have been read
	part  int // bytes of the next one that have been read
	told  int64
}

func newReader(data, index *os.File) *reader {
	return &reader{data: data, index: index, walk: segments{index: index}}
}

// emptyReader reads a log that has no files.
func emptyReader() *reader { return &reader{} }

// done closes the files that were only read, where it no longer matters how.
func (r *reader) done() { _ = r.close() }

func (r *reader) close() error {
	if r.data == nil {
		return nil
	}
	return errors.Join(r.data.Close(), r.index.Close())
}

// errCut means that somebody has shortened a log.
var errCut = errors.New("the log has been cut off by somebody else")

// read reads the next bytes of what there is, all of one stream. It returns
// io.EOF when there is no more at present.
func (r *reader) read(buf []byte, e extent) (stream, []byte, error) {
	if r.data != nil {
		s, n, err := r.walk.piece(e.size, e.records)
		if err != nil {
			return 0, nil, err
		}
		if n > 0 {
			got, err := r.data.ReadAt(buf[:min(n, int64(len(buf)))], r.walk.offset)
			if got == 0 {
				if err == io.EOF {
					err = errCut
				}
				return 0, nil, err
			}
			r.walk.advance(int64(got))
			return s, buf[:got], nil
		}
	}
	if r.chunk < len(e.spill) {
		c := e.spill[r.chunk]
		n := copy(buf, c.bytes[r.part:])
		r.part += n
		if r.part == len(c.bytes) {
			r.chunk, r.part = r.chunk+1, 0
		}
		return c.stream, buf[:n], nil
	}
	return 0, nil, io.EOF
}

// notice returns what the reader of a log that is not whole must be told once
// they have all there is.
func (r *reader) notice(e extent) []byte {
	if e.lost == 0 || r.told == e.lost {
		return nil
	}
	r.told = e.lost
	return fmt.Appendf(nil, "\n[output lost: %s; %d bytes were dropped]\n", e.full, e.lost)
}

// more reports whether read would return anything.
func (r *reader) more(e extent) bool {
	return r.data != nil && r.walk.offset < e.size || r.chunk < len(e.spill)
}
