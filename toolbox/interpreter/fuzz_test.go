package interpreter

import (
	"bufio"
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

func FuzzParseRequest(f *testing.F) {
	for _, seed := range []string{
		`{"code":"1"}`, `{"code":"1","contextId":"x","timeout":0,"envs":{"A":"b"}}`, `{"code":"1","timeout":1e308}`,
		`{"code":1}`, `[]`, ``, `{"code":"\ud800"}`, `{"code":"1","envs":{"":""}}`, `{"code":"1","timeout":-0.5}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		req, err := parseRequest(b)
		if err != nil {
			if text := public(err); text == "" || text == "internal error" {
				t.Errorf("%q is refused without a reason: %v", b, err)
			}
			return
		}
		if req.Code == "" || req.limit() < 0 {
			t.Errorf("%q gives %+v", b, req)
		}
	})
}

func FuzzReadAnswers(f *testing.F) {
	for _, seed := range []string{
		"{\"type\":\"done\"}\n", "{\"type\":\"error\",\"name\":\"E\",\"value\":\"v\"}\n{\"type\":\"done\",\"interrupted\":true}\n",
		"{\"type\":\"chart\",\"value\":{}}\n", "{\"type\":\"display\",\"data\":null}\n", "{}\n", "\n", "x", strings.Repeat("y", 9000),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		const limit = 8 << 10
		lines := bufio.NewReaderSize(bytes.NewReader(b), 16)
		for {
			line, err := readLine(lines, limit)
			if len(line) > limit {
				t.Fatalf("a line of %d bytes", len(line))
			}
			if err != nil {
				return
			}
			a, err := parseAnswer(line)
			if err != nil {
				return
			}
			if _, err := json.Marshal(a.frame()); err != nil {
				t.Errorf("%q cannot be sent: %v", line, err)
			}
		}
	})
}

func FuzzWholeRunes(f *testing.F) {
	f.Add([]byte("a☃"), 2)
	f.Add([]byte{0xff, 0xe2, 0x98}, 1)
	f.Fuzz(func(t *testing.T, b []byte, at int) {
		if at < 0 || at > len(b) {
			return
		}
		whole, rest := wholeRunes(b[:at])
		if len(whole)+len(rest) != at || len(rest) >= utf8.UTFMax {
			t.Fatalf("%q: %q and %q", b[:at], whole, rest)
		}
		// Nothing valid is torn.
		if utf8.Valid(b) && !utf8.Valid(whole) {
			t.Errorf("%q is torn after %q", b, whole)
		}
	})
}
