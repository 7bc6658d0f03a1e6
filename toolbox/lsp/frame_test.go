package lsp

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestReadMessage(t *testing.T) {
	for name, tt := range map[string]struct {
		in, want string // want begins with "!" when it is part of an error
	}{
		"one":                {"Content-Length: 2\r\n\r\n{}rest", "{}"},
		"lower case, spaces": {"content-length :  2 \r\n\r\n{}", "{}"},
		"bare newlines":      {"Content-Length: 2\n\n{}", "{}"},
		"other headers":      {"Content-Type: x; charset=utf-8\r\nContent-Length: 2\r\nX: y\r\n\r\n{}", "{}"},
		"stray lines":        {"hello\nworld: 1\nContent-Length: 2\r\n\r\n{}", "{}"},
		"empty body":         {"Content-Length: 0\r\n\r\n", ""},
		"no length":          {"Content-Type: x\r\n\r\n{}", "!without Content-Length"},
		"negative":           {"Content-Length: -1\r\n\r\n{}", "!not a length"},
		"words":              {"Content-Length: two\r\n\r\n{}", "!not a length"},
		"too large":          {"Content-Length: 16777217\r\n\r\n{}", "!the limit is"},
		"overflow":           {"Content-Length: 99999999999999999999\r\n\r\n{}", "!not a length"},
		"long line":          {strings.Repeat("x", 10000) + "\r\n\r\n", "!longer than"},
		"many lines":         {strings.Repeat("x: y\r\n", 100), "!more than 32"},
		"half a header":      {"Content-Len", "!unexpected EOF"},
		"half a body":        {"Content-Length: 10\r\n\r\n{}", "!unexpected EOF"},
		"end":                {"", "!EOF"},
	} {
		got, err := readMessage(bufio.NewReaderSize(strings.NewReader(tt.in), maxHeaderLine))
		if want, ok := strings.CutPrefix(tt.want, "!"); ok {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q, %v; want %q", name, got, err, want)
			}
		} else if err != nil || string(got) != tt.want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func FuzzReadMessage(f *testing.F) {
	f.Add([]byte("Content-Length: 2\r\n\r\n{}Content-Length: 3\r\n\r\n[1]"))
	f.Add([]byte("x\n\nContent-Length: 99999999\r\n\r\n"))
	f.Add([]byte("Content-Length: 2\r\nContent-Length: 1\r\n\r\n{}"))
	f.Fuzz(func(t *testing.T, in []byte) {
		r := bufio.NewReaderSize(bytes.NewReader(in), maxHeaderLine)
		read := 0
		for {
			body, err := readMessage(r)
			if err != nil {
				_, garbled := errors.AsType[*malformedError](err)
				if !garbled && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Fatalf("unexpected error %v", err)
				}
				break
			}
			if read += len(body); read > len(in) {
				t.Fatal("more was read than there is")
			}
		}
		// What is written can be read.
		got, err := readMessage(bufio.NewReaderSize(bytes.NewReader(frame(in)), maxHeaderLine))
		if err != nil || !bytes.Equal(got, in) {
			t.Fatalf("%q came back as %q, %v", in, got, err)
		}
	})
}

// FuzzDispatch sees that no message makes the reader fail in another way than
// by an error.
func FuzzDispatch(f *testing.F) {
	for _, seed := range []string{
		`{"jsonrpc":"2.0","id":1,"result":null}`, `{"id":"x","result":1}`, `{"id":null,"method":"m"}`,
		`{"id":7,"method":"workspace/configuration","params":{"items":[{},{}]}}`,
		`{"id":7,"method":"workspace/configuration","params":{"items":3}}`,
		`{"method":"textDocument/publishDiagnostics","params":{"uri":"file:///a","version":3,"diagnostics":[{"code":{}}]}}`,
		`[]`, `{"id":1,"error":{"code":1,"message":"x"}}`, `null`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		s := &server{published: map[string]*published{"/a": {version: 3}}, changed: make(chan struct{})}
		c := &conn{out: make(chan []byte, 1), serve: s.serve, notice: s.notice,
			closed: make(chan struct{}), pending: map[int64]chan<- response{1: make(chan response, 1)}}
		if err := c.dispatch(body); err != nil {
			if _, garbled := errors.AsType[*malformedError](err); !garbled {
				t.Fatal(err)
			}
		}
	})
}
