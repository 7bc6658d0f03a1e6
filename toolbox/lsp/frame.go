package lsp

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Bounds of what a language server may send. The largest honest message is a
// list of completions with their documentation.
const (
	maxMessage     = 16 << 20 // bytes of one message's body
	maxHeaderLine  = 4 << 10  // bytes
	maxHeaderLines = 32
)

// A malformedError says that what came is no message of the protocol.
type malformedError struct{ text string }

func (e *malformedError) Error() string { return e.text }

func malformed(format string, args ...any) error {
	return &malformedError{fmt.Sprintf(format, args...)}
}

// readMessage reads one message: header lines, of which Content-Length is the
// only one that matters, an empty line, and the body. Other lines are passed
// over: what careless code prints between two messages does no harm. At the end
// of the stream between two messages it returns io.EOF. r's buffer must hold
// maxHeaderLine.
func readMessage(r *bufio.Reader) ([]byte, error) {
	length, stray := -1, ""
	for n := 0; ; n++ {
		line, err := r.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull) || len(line) > maxHeaderLine:
			return nil, malformed("a header line longer than %d bytes: %.80q…", maxHeaderLine, line)
		case errors.Is(err, io.EOF) && n == 0 && len(line) == 0:
			return nil, io.EOF
		case errors.Is(err, io.EOF):
			return nil, io.ErrUnexpectedEOF
		case err != nil:
			return nil, err
		case n == maxHeaderLines:
			return nil, malformed("more than %d header lines", maxHeaderLines)
		}
		text := strings.TrimRight(string(line), "\r\n")
		if text == "" {
			break
		}
		name, value, _ := strings.Cut(text, ":")
		if !strings.EqualFold(strings.TrimSpace(name), "Content-Length") {
			stray = text
			continue
		}
		size, err := strconv.ParseUint(strings.TrimSpace(value), 10, 63)
		if err != nil {
			return nil, malformed("not a length: %.80q", text)
		}
		if size > maxMessage {
			return nil, malformed("a message of %d bytes; the limit is %d", size, maxMessage)
		}
		length = int(size)
	}
	if length < 0 {
		return nil, malformed("a message without Content-Length, after %.80q", stray)
	}
	// The buffer grows with what comes, not with what is announced.
	var body bytes.Buffer
	if _, err := io.CopyN(&body, r, int64(length)); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	return body.Bytes(), nil
}

// frame returns a message with its header.
func frame(body []byte) []byte {
	header := "Content-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n"
	return append([]byte(header), body...)
}
