package git

import (
	"bufio"
	"errors"
	"io"
)

// records reads texts that each end with a NUL byte.
type records struct {
	r *bufio.Reader
}

func newRecords(r io.Reader) records { return records{bufio.NewReaderSize(r, 32<<10)} }

// maxRecord is how much of one record is kept, in bytes; the rest is dropped.
const maxRecord = 1 << 20

// next returns the next record, and io.EOF after the last. A text that breaks
// off is io.ErrUnexpectedEOF.
func (rs records) next() (string, error) {
	var text []byte
	for begun := false; ; begun = true {
		part, err := rs.r.ReadSlice(0)
		if err == nil {
			part = part[:len(part)-1]
		}
		text = append(text, part[:min(len(part), maxRecord-len(text))]...)
		switch {
		case err == nil:
			return string(text), nil
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF) && (begun || len(part) > 0):
			return "", io.ErrUnexpectedEOF
		default:
			return "", err
		}
	}
}
