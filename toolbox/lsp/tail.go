package lsp

import (
	"os"
	"strings"
	"sync"
)

// tailSize is how much of what a server says on its standard error is kept.
const tailSize = 2 << 10

// tail reads a server's standard error, so that the server does not block, and
// keeps the end of it, for messages about the server's end.
type tail struct {
	eof chan struct{} // closed when there is nothing more to come

	mu  sync.Mutex // guards buf
	buf []byte
}

// follow reads f until its end and closes it.
func follow(f *os.File) *tail {
	t := &tail{eof: make(chan struct{})}
	go func() {
		defer close(t.eof)
		defer f.Close()
		chunk := make([]byte, 2<<10)
		for {
			n, err := f.Read(chunk)
			t.keep(chunk[:n])
			if err != nil {
				return
			}
		}
	}()
	return t
}

func (t *tail) keep(b []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, b...)
	if extra := len(t.buf) - tailSize; extra > 0 {
		t.buf = append(t.buf[:0], t.buf[extra:]...)
	}
}

// text returns what was kept, beginning with a whole line if there is one.
func (t *tail) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := strings.ToValidUTF8(string(t.buf), "\uFFFD")
	if len(t.buf) == tailSize {
		if _, rest, ok := strings.Cut(s, "\n"); ok && strings.TrimSpace(rest) != "" {
			s = rest
		}
	}
	return strings.TrimSpace(s)
}
