package session

import (
	"io"
	"net/http"
	"unicode/utf8"

	"daytona/toolbox/wire"
)

// format is how a client expects logs.
type format int

const (
	combined format = iota // both streams in one, nothing else
	prefixed               // the same, with a prefix wherever the stream changes
	apart                  // JSON: both in one, and each for itself
)

var (
	prefixedSince = wire.Version{0, 27, 0}
	apartSince    = wire.Version{0, 167, 0}
)

// formatOf chooses the format by the client's version. A build that is no
// release counts as new, a client without a version as old.
func formatOf(d wire.Dialect, h http.Header) format {
	switch {
	case d.Named && !d.Known, d.Known && !d.Version.Before(apartSince):
		return apart
	case d.Known && !d.Version.Before(prefixedSince), h.Get("X-Daytona-Split-Output") == "true":
		return prefixed
	}
	return combined
}

// prefixes begin the bytes of each stream.
var prefixes = [...]string{stdout: "\x01\x01\x01", stderr: "\x02\x02\x02"}

// framer cuts output into frames: of one stream each, no longer than limit, and
// not within a character, since some clients decode each frame for itself. Up to
// three bytes of a character that is not complete are held back.
type framer struct {
	limit  int // bytes of a frame, at least 8
	prefix bool
	emit   func(frame []byte) error // must not keep the frame

	begun   bool
	current stream
	frame   []byte
	tail    []byte // incomplete character
}

// put adds output and emits frames.
func (f *framer) put(s stream, b []byte) error {
	if f.begun && s != f.current {
		if err := f.flush(); err != nil {
			return err
		}
	}
	f.frame = f.frame[:0]
	if f.prefix && (!f.begun || s != f.current) {
		f.frame = append(f.frame, prefixes[s]...)
	}
	f.begun, f.current = true, s
	if len(f.tail) > 0 {
		b = append(f.tail, b...)
		f.tail = nil
	}
	for len(b) > 0 {
		n := wholeRunes(b, f.limit-len(f.frame))
		if n == 0 {
			f.tail = append([]byte(nil), b...)
			break
		}
		f.frame = append(f.frame, b[:n]...)
		if err := f.emit(f.frame); err != nil {
			return err
		}
		f.frame, b = f.frame[:0], b[n:]
	}
	// A prefix without anything after it goes before what is held back.
	if len(f.frame) > 0 {
		return f.emit(f.frame)
	}
	return nil
}

// flush emits what is held back.
func (f *framer) flush() error {
	if len(f.tail) == 0 {
		return nil
	}
	tail := f.tail
	f.tail = nil
	return f.emit(tail)
}

// wholeRunes returns how many of at most limit bytes to take so that no
// character is cut. It is 0 if b is the beginning of one.
func wholeRunes(b []byte, limit int) int {
	n := min(len(b), limit)
	for back := 1; back < utf8.UTFMax && back <= n; back++ {
		if !utf8.RuneStart(b[n-back]) {
			continue
		}
		if !utf8.FullRune(b[n-back : n]) {
			return n - back
		}
		break
	}
	return n
}

// jsonString writes output as the inside of a JSON string. Bytes that are not
// UTF-8 become U+FFFD.
type jsonString struct {
	w    io.Writer
	tail []byte // incomplete character
	buf  []byte
}

func (j *jsonString) write(b []byte) error {
	if len(j.tail) > 0 {
		b = append(j.tail, b...)
		j.tail = nil
	}
	if n := wholeRunes(b, len(b)); n < len(b) {
		j.tail = append([]byte(nil), b[n:]...)
		b = b[:n]
	}
	j.buf = escape(j.buf[:0], b)
	_, err := j.w.Write(j.buf)
	return err
}

// end writes what is left of a character that was not completed.
func (j *jsonString) end() error {
	j.buf = escape(j.buf[:0], j.tail)
	j.tail = nil
	_, err := j.w.Write(j.buf)
	return err
}

// escape appends b to dst as the inside of a JSON string.
func escape(dst, b []byte) []byte {
	const hex = "0123456789abcdef"
	for len(b) > 0 {
		plain := 0
		for plain < len(b) && b[plain] >= ' ' && b[plain] < 0x7f && b[plain] != '"' && b[plain] != '\\' {
			plain++
		}
		if plain > 0 {
			dst, b = append(dst, b[:plain]...), b[plain:]
			continue
		}
		c := b[0]
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRune(b)
			dst, b = utf8.AppendRune(dst, r), b[n:]
			continue
		}
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
		b = b[1:]
	}
	return dst
}
