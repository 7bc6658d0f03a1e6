package s3gate

import (
	"bufio"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// chunks reads a body of the encoding "aws-chunked":
//
//	<size in hex>[;chunk-signature=<hex>]\r\n<data>\r\n … 0[;chunk-signature=…]\r\n[trailers]\r\n
type chunks struct {
	r        *bufio.Reader
	sign     *signer // nil: chunks have no signatures
	trailer  bool
	trailers http.Header

	left int64     // of the present chunk
	want string    // signature of the present chunk
	sum  hash.Hash // of the present chunk
	last bool      // the chunk of size 0 was seen
	err  error
}

const (
	chunkLine   = "AWS4-HMAC-SHA256-PAYLOAD"
	trailerLine = "AWS4-HMAC-SHA256-TRAILER"
	maxLine     = 4096 // bytes of a line between chunks, by the size of the reader
	maxTrailers = 16
	maxChunk    = 1 << 30
)

func newChunks(r io.Reader, s signed, trailers http.Header) (*chunks, error) {
	c := &chunks{r: bufio.NewReaderSize(r, maxLine), trailers: trailers}
	switch s.payload {
	case "STREAMING-UNSIGNED-PAYLOAD-TRAILER":
		c.trailer = true
	case "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER":
		c.trailer, c.sign = true, &s.chunks
	case "STREAMING-AWS4-HMAC-SHA256-PAYLOAD":
		c.sign = &s.chunks
	default:
		return nil, errNotImplemented
	}
	return c, nil
}

// Read implements io.Reader.
func (c *chunks) Read(p []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	n, err := c.read(p)
	c.err = err
	return n, err
}

func (c *chunks) read(p []byte) (int, error) {
	for c.left == 0 {
		if c.last {
			return 0, io.EOF
		}
		if err := c.next(); err != nil {
			return 0, err
		}
	}
	if int64(len(p)) > c.left {
		p = p[:c.left]
	}
	n, err := c.r.Read(p)
	c.left -= int64(n)
	if c.sum != nil {
		c.sum.Write(p[:n])
	}
	if err != nil {
		return n, short(err)
	}
	if c.left == 0 {
		if line, err := c.line(); err != nil || line != "" {
			return n, errors.Join(errChunk, err)
		}
		return n, c.checkChunk()
	}
	return n, nil
}

// next reads the line before a chunk, and what follows the last one.
func (c *chunks) next() error {
	line, err := c.line()
	if err != nil {
		return err
	}
	size, extension, _ := strings.Cut(line, ";")
	n, err := strconv.ParseInt(size, 16, 64)
	if err != nil || n < 0 || n > maxChunk || strings.HasPrefix(size, "+") {
		return errChunk
	}
	c.left = n
	if c.sign != nil {
		want, ok := strings.CutPrefix(extension, "chunk-signature=")
		if !ok {
			return errSignature
		}
		c.want, c.sum = want, sha256.New()
	}
	if n > 0 {
		return nil
	}
	c.last = true
	if err := c.checkChunk(); err != nil {
		return err
	}
	return c.finish()
}

func (c *chunks) checkChunk() error {
	if c.sign == nil {
		return nil
	}
	got := c.sign.sign(chunkLine, hash256(nil), hex.EncodeToString(c.sum.Sum(nil)))
	if !hmac.Equal([]byte(got), []byte(c.want)) {
		return errSignature
	}
	return nil
}

// finish reads the trailers and the empty line.
func (c *chunks) finish() error {
	canonical, given := "", ""
	for range maxTrailers {
		line, err := c.line()
		if errors.Is(err, io.ErrUnexpectedEOF) && !c.trailer {
			return nil // some clients leave out the last line
		}
		if err != nil {
			return err
		}
		if line == "" {
			if c.trailer && canonical != "" && given == "" && c.sign != nil {
				continue // the signature of the trailers comes in a block of its own
			}
			return c.checkTrailers(canonical, given)
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok || !c.trailer {
			return errChunk
		}
		name, value = strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(value)
		if name == "x-amz-trailer-signature" {
			given = value
			continue
		}
		canonical += name + ":" + value + "\n"
		c.trailers.Set(name, value)
	}
	return errChunk
}

func (c *chunks) checkTrailers(canonical, given string) error {
	if c.sign == nil || !c.trailer {
		return nil
	}
	if !hmac.Equal([]byte(c.sign.sign(trailerLine, hash256([]byte(canonical)))), []byte(given)) {
		return errSignature
	}
	return nil
}

// end reads to the end, at which no content may be left.
func (c *chunks) end() error {
	var more [1]byte
	n, err := c.Read(more[:])
	if n > 0 {
		return errChunk
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// line reads a line without its end.
func (c *chunks) line() (string, error) {
	line, err := c.r.ReadSlice('\n')
	if errors.Is(err, io.EOF) && len(line) > 0 || errors.Is(err, bufio.ErrBufferFull) {
		return "", errChunk
	}
	if err != nil {
		return "", short(err)
	}
	return strings.TrimRight(string(line), "\r\n"), nil
}

func short(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func hash256(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
