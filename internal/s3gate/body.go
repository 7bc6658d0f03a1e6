package s3gate

import (
	"bytes"
	"crypto/md5"  // #nosec G501 -- a checksum that clients send
	"crypto/sha1" // #nosec G505 -- a checksum that clients send
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"daytona/internal/patience"
)

// idle is how long a client may leave an upload without a byte.
const idle = 2 * time.Minute

// checksums are those that clients may send, by the end of their header's name.
var checksums = map[string]func() hash.Hash{
	"crc32":     func() hash.Hash { return crc32.NewIEEE() },
	"crc32c":    func() hash.Hash { return crc32.New(castagnoli) },
	"crc64nvme": func() hash.Hash { return crc64.New(nvme) },
	"sha1":      sha1.New,
	"sha256":    sha256.New,
}

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	nvme       = crc64.MakeTable(0x9a6c9329ac4bc9b5)
)

const checksumPrefix = "X-Amz-Checksum-"

// check compares what was read with what was promised.
type check struct {
	sum  hash.Hash
	want func() []byte // asked for after the last byte; nil when nothing was promised after all
	err  error
}

// body is the content of an upload. It gives away its last bytes only when the
// whole is as promised: a store that got them all would keep the object, also
// when it is told a moment later that something is wrong.
type body struct {
	src    io.Reader
	left   int64
	checks []check
	end    func() error // reads what follows the content
	done   bool
	err    error
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	if b.done {
		return 0, b.err
	}
	n := 0
	if b.left > 0 {
		var err error
		if int64(len(p)) > b.left {
			p = p[:b.left]
		}
		n, err = b.src.Read(p)
		b.left -= int64(n)
		for _, c := range b.checks {
			c.sum.Write(p[:n])
		}
		if b.left > 0 {
			if errors.Is(err, io.EOF) {
				err = errChunk
			}
			return n, err
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return n, err
		}
	}
	b.done, b.err = true, b.verify()
	if !errors.Is(b.err, io.EOF) {
		n = 0
	}
	return n, b.err
}

// verify returns io.EOF when everything is as promised.
func (b *body) verify() error {
	if err := b.end(); err != nil {
		return err
	}
	for _, c := range b.checks {
		if want := c.want(); want != nil && !bytes.Equal(want, c.sum.Sum(nil)) {
			return c.err
		}
	}
	return io.EOF
}

// bodyOf returns the content of a request, and its length.
func bodyOf(w http.ResponseWriter, r *http.Request, s signed, limit int64) (io.Reader, int64, error) {
	source := patience.Body(w, r, idle)
	b := &body{src: source, left: r.ContentLength, end: func() error { return nil }}
	trailers := http.Header{}
	switch payload := s.payload; {
	case payload == unsignedPayload:
	case strings.HasPrefix(payload, "STREAMING-"):
		chunks, err := newChunks(source, s, trailers)
		if err != nil {
			return nil, 0, err
		}
		size, err := strconv.ParseInt(r.Header.Get("X-Amz-Decoded-Content-Length"), 10, 64)
		if err != nil || size < 0 {
			return nil, 0, errNoLength
		}
		b.src, b.left, b.end = chunks, size, chunks.end
	default:
		want, err := hex.DecodeString(payload)
		if err != nil || len(want) != sha256.Size {
			return nil, 0, errMalformed
		}
		b.checks = append(b.checks, check{sha256.New(), func() []byte { return want }, errHash})
	}
	if b.left < 0 {
		return nil, 0, errNoLength
	}
	if b.left > limit {
		return nil, 0, errTooLarge
	}
	if text := r.Header.Get("Content-Md5"); text != "" {
		want, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return nil, 0, errDigest
		}
		b.checks = append(b.checks, check{md5.New(), func() []byte { return want }, errDigest}) // #nosec G401 -- a checksum
	}
	for name, sum := range checksums {
		header := checksumPrefix + name
		text, announced := r.Header.Get(header), strings.EqualFold(r.Header.Get("X-Amz-Trailer"), header)
		if text == "" && !announced {
			continue
		}
		b.checks = append(b.checks, check{sum(), func() []byte {
			if announced {
				text = trailers.Get(header)
			}
			want, err := base64.StdEncoding.DecodeString(text)
			if err != nil || len(want) == 0 {
				return []byte("missing") // equals no sum
			}
			return want
		}, errDigest})
	}
	size := b.left
	if size == 0 { // nobody reads a body that is empty
		if _, err := b.Read(nil); !errors.Is(err, io.EOF) {
			return nil, 0, err
		}
	}
	return b, size, nil
}
