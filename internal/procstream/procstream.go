// Package procstream is how a process is run over one connection: what it reads
// and prints, the size of its terminal, signals, and how it ended.
//
// A message is a kind (1 byte), the length of what follows (4 bytes, big endian)
// and that. Whoever wants the process sends Start first.
package procstream

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"sync"
)

// Protocol is the name by which a connection is upgraded to this.
const Protocol = "daytona-process"

// Kind says what a message is.
type Kind byte

// The kinds.
const (
	KindStart  Kind = 's' // Start, as JSON
	KindInput  Kind = 'i' // bytes for the process; none is the end of its input
	KindResize Kind = 'r' // Size, as JSON
	KindSignal Kind = 'g' // name of a signal, without SIG
	KindOutput Kind = 'o' // bytes that the process printed
	KindError  Kind = 'e' // the same, to its standard error
	KindExit   Kind = 'x' // Exit, as JSON; the last message
	KindFailed Kind = 'f' // why there is no process, for people; the last message
)

// Start asks for a process.
type Start struct {
	Command string            `json:"command,omitempty"` // for the user's shell; "" is the shell itself
	SFTP    bool              `json:"sftp,omitempty"`    // serve files in the place of a command
	TTY     *Size             `json:"tty,omitempty"`     // run it in a terminal of this size
	Env     map[string]string `json:"env,omitempty"`
}

// Size is a terminal's size in characters.
type Size struct {
	Cols int `json:"cols"`
	Rows int `json:"rows"`
}

// Exit is how a process ended.
type Exit struct {
	Code   int    `json:"code"`
	Signal string `json:"signal,omitempty"` // that ended it, without SIG
}

// MaxMessage bounds what a message may hold.
const MaxMessage = 64 << 10

// Writer sends messages. Its methods may be called at the same time.
type Writer struct {
	mu sync.Mutex
	w  io.Writer
}

// NewWriter returns a Writer.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// Send sends one message of at most MaxMessage bytes.
func (w *Writer) Send(kind Kind, data []byte) error {
	if len(data) > MaxMessage {
		return fmt.Errorf("message of %d bytes", len(data))
	}
	buf := make([]byte, 5+len(data))
	buf[0] = byte(kind)
	binary.BigEndian.PutUint32(buf[1:], uint32(len(data)))
	copy(buf[5:], data)
	w.mu.Lock()
	defer w.mu.Unlock()
	_, err := w.w.Write(buf)
	return err
}

// SendJSON sends a value.
func (w *Writer) SendJSON(kind Kind, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return w.Send(kind, data)
}

// Stream returns a writer whose bytes become messages of a kind.
func (w *Writer) Stream(kind Kind) io.Writer { return stream{w, kind} }

type stream struct {
	w    *Writer
	kind Kind
}

func (s stream) Write(p []byte) (int, error) {
	for done := 0; done < len(p); {
		n := min(len(p)-done, 32<<10)
		if err := s.w.Send(s.kind, p[done:done+n]); err != nil {
			return done, err
		}
		done += n
	}
	return len(p), nil
}

// Reader receives messages.
type Reader struct {
	r    io.Reader
	head [5]byte
	buf  []byte
}

// NewReader returns a Reader.
func NewReader(r io.Reader) *Reader { return &Reader{r: r} }

// Next returns the next message, whose data is good until the call after.
func (r *Reader) Next() (Kind, []byte, error) {
	if _, err := io.ReadFull(r.r, r.head[:]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(r.head[1:])
	if n > MaxMessage {
		return 0, nil, fmt.Errorf("message of %d bytes", n)
	}
	if cap(r.buf) < int(n) {
		r.buf = make([]byte, n)
	}
	data := r.buf[:n]
	_, err := io.ReadFull(r.r, data)
	return Kind(r.head[0]), data, err
}
