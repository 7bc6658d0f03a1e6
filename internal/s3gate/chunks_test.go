package s3gate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func newSigner() signer {
	return signer{key: signingKey("secret", "20261123", "us-east-1"), date: "20261123T000000Z", scope: "20261123/us-east-1/s3/aws4_request", signature: "seed"}
}

// encoded is a body as clients send it.
func encoded(payload string, trailer string, pieces ...string) string {
	s := newSigner()
	isSigned := strings.Contains(payload, "AWS4")
	var b strings.Builder
	for _, piece := range append(pieces, "") {
		fmt.Fprintf(&b, "%x", len(piece))
		if isSigned {
			fmt.Fprintf(&b, ";chunk-signature=%s", s.sign(chunkLine, hash256(nil), hash256([]byte(piece))))
		}
		b.WriteString("\r\n")
		if piece != "" {
			b.WriteString(piece + "\r\n")
		}
	}
	if trailer != "" {
		b.WriteString(trailer + "\r\n")
		if isSigned {
			fmt.Fprintf(&b, "x-amz-trailer-signature:%s\r\n", s.sign(trailerLine, hash256([]byte(trailer+"\n"))))
		}
	}
	b.WriteString("\r\n")
	return b.String()
}

func read(payload, raw string, size int, headers map[string]string) (string, error) {
	r := httptest.NewRequestWithContext(context.Background(), http.MethodPut, "/", strings.NewReader(raw))
	r.Header.Set("X-Amz-Decoded-Content-Length", fmt.Sprint(size))
	for k, v := range headers {
		r.Header.Set(k, v)
	}
	body, n, err := bodyOf(httptest.NewRecorder(), r, signed{payload: payload, chunks: newSigner()}, 1<<20)
	if err != nil {
		return "", err
	}
	data := make([]byte, n)
	got, err := io.ReadFull(body, data)
	if err == nil || errors.Is(err, io.EOF) && n == 0 {
		_, err = body.Read(make([]byte, 1))
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return string(data[:got]), err
}

func TestChunks(t *testing.T) {
	const (
		plain   = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
		chunked = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
		both    = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
		right   = "x-amz-checksum-crc32:DUoRhQ==" // of "hello world"
		wrong   = "x-amz-checksum-crc32:DUoRhA=="
	)
	announced := map[string]string{"X-Amz-Trailer": "x-amz-checksum-crc32"}
	for _, tt := range []struct {
		name, payload, raw string
		size               int
		headers            map[string]string
		bad                bool
	}{
		{"unsigned", plain, encoded(plain, "", "hello ", "world"), 11, nil, false},
		{"checksum behind", plain, encoded(plain, right, "hello ", "world"), 11, announced, false},
		{"wrong checksum behind", plain, encoded(plain, wrong, "hello ", "world"), 11, announced, true},
		{"no checksum behind", plain, encoded(plain, "", "hello ", "world"), 11, announced, true},
		{"signed", chunked, encoded(chunked, "", "hello ", "world"), 11, nil, false},
		{"signed, checksum behind", both, encoded(both, right, "hello ", "world"), 11, announced, false},
		{"changed content", chunked, strings.Replace(encoded(chunked, "", "hello ", "world"), "world", "w0rld", 1), 11, nil, true},
		{"changed trailer", both, strings.Replace(encoded(both, wrong, "hello ", "world"), wrong, right, 1), 11, announced, true},
		{"cut off", chunked, encoded(chunked, "", "hello ", "world")[:150], 11, nil, true},
		{"cut at the end", plain, "5\r\nhello\r\n", 5, nil, true},
		{"more than announced", plain, encoded(plain, "", "hello ", "world"), 6, nil, true},
		{"less than announced", plain, encoded(plain, "", "hello "), 11, nil, true},
		{"no signature", chunked, encoded(plain, "", "hello world"), 11, nil, true},
		{"negative", plain, "-5\r\nhello\r\n0\r\n\r\n", 5, nil, true},
		{"huge", plain, "ffffffffffff\r\nhello\r\n0\r\n\r\n", 5, nil, true},
		{"long line", plain, strings.Repeat("0", 10000) + "5\r\nhello\r\n0\r\n\r\n", 5, nil, true},
		{"empty", plain, encoded(plain, ""), 0, nil, false},
	} {
		text, err := read(tt.payload, tt.raw, tt.size, tt.headers)
		if (err != nil) != tt.bad {
			t.Errorf("%s: %q, %v", tt.name, text, err)
		}
		if !tt.bad && text != strings.Repeat("hello world", tt.size/11) {
			t.Errorf("%s: %q", tt.name, text)
		}
	}
}

func FuzzChunks(f *testing.F) {
	for _, payload := range []string{"STREAMING-UNSIGNED-PAYLOAD-TRAILER", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"} {
		f.Add(payload, encoded(payload, "", "hello ", "world"), 11)
	}
	f.Fuzz(func(t *testing.T, payload, raw string, size int) {
		text, err := read(payload, raw, size, nil)
		if err == nil && len(text) != size {
			t.Errorf("%d bytes, want %d", len(text), size)
		}
		if err == nil && strings.HasPrefix(payload, "STREAMING-AWS4") && !strings.Contains(raw, "chunk-signature") {
			t.Error("a body without signatures was taken")
		}
	})
}

func FuzzVerify(f *testing.F) {
	f.Add("AWS4-HMAC-SHA256 Credential=AK/20261123/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=00", "X-Amz-Algorithm=x&a=b")
	f.Fuzz(func(t *testing.T, header, query string) {
		r := httptest.NewRequestWithContext(context.Background(), http.MethodGet, "/b/k", nil)
		r.URL.RawQuery = query
		r.Header.Set("Authorization", header)
		r.Header.Set(headerDate, "20261123T000000Z")
		r.Header.Set(headerContent, unsignedPayload)
		if _, err := NewIssuer([]byte("k")).verify(r, time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)); err == nil {
			t.Error("verified")
		}
	})
}

func TestEscape(t *testing.T) {
	if got := escape("a b/ä+~", true); got != "a%20b/%C3%A4%2B~" {
		t.Error(got)
	}
}
