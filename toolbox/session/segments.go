package session

import (
	"encoding/binary"
	"io"
)

// A stream is one of the two that a command prints to.
type stream byte

const (
	stdout stream = 0
	stderr stream = 1
)

// recordSize is the size of one record of the index.
const recordSize = 8

// record encodes one record: from offset on, bytes are of stream s.
func record(offset int64, s stream) []byte {
	return binary.BigEndian.AppendUint64(nil, uint64(offset)<<1|uint64(s))
}

// parseRecord is the reverse of record.
func parseRecord(b []byte) (offset int64, s stream) {
	n := binary.BigEndian.Uint64(b)
	return int64(n >> 1), stream(n & 1)
}

// segments walks through an index. It makes sense of any content: bytes before
// the first record are standard output, and a record that goes backwards counts
// from where the walk has come to.
type segments struct {
	index io.ReaderAt
	read  int64  // records taken from index
	ahead []byte // records read from index and not taken
	buf   []byte

	offset  int64 // where the walk is
	current stream
	next    int64 // where nextStream begins; valid if pending
	after   stream
	pending bool
}

// piece returns the stream of the bytes from the walk's offset on, and how many
// of them there are up to size, where records is how many records there are for
// that size. It is 0 only at size. The walk stays where it is: see advance.
func (s *segments) piece(size, records int64) (stream, int64, error) {
	for {
		if !s.pending {
			ok, err := s.load(records)
			if err != nil {
				return 0, 0, err
			}
			if !ok {
				return s.current, max(0, size-s.offset), nil
			}
		}
		if s.next > s.offset {
			return s.current, max(0, min(s.next, size)-s.offset), nil
		}
		s.current, s.pending = s.after, false
	}
}

// advance moves the walk on.
func (s *segments) advance(n int64) { s.offset += n }

// load takes the next record, of those there are.
func (s *segments) load(records int64) (bool, error) {
	if len(s.ahead) < recordSize {
		const batch = 256
		want := min(records-s.read, batch)
		if want <= 0 {
			return false, nil
		}
		if int64(len(s.buf)) < want*recordSize {
			s.buf = make([]byte, want*recordSize)
		}
		n, err := s.index.ReadAt(s.buf[:want*recordSize], s.read*recordSize)
		if err != nil && err != io.EOF {
			return false, err
		}
		s.ahead = s.buf[:n-n%recordSize]
		if len(s.ahead) == 0 {
			return false, nil // somebody has cut the index off
		}
	}
	s.next, s.after = parseRecord(s.ahead)
	s.pending = true
	s.ahead = s.ahead[recordSize:]
	s.read++
	return true, nil
}
