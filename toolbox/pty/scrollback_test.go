package pty

import (
	"strings"
	"testing"
)

func TestScrollback(t *testing.T) {
	var none scrollback
	none.add([]byte("text"))
	if len(none.last()) != 0 {
		t.Errorf("nothing was asked for: %q", none.last())
	}
	s := scrollback{limit: 20}
	s.add([]byte("first line\n"))
	s.add([]byte("next\n"))
	if got := string(s.last()); got != "first line\nnext\n" {
		t.Errorf("all of it fits: %q", got)
	}
	s.add([]byte("a third\n"))
	if got := string(s.last()); got != "next\na third\n" {
		t.Errorf("not from the start of a line: %q", got)
	}
	s.add([]byte(strings.Repeat("x", 100)))
	if got := string(s.last()); got != strings.Repeat("x", 20) {
		t.Errorf("a long line: %q", got)
	}
	if cap(s.kept) > 200 {
		t.Errorf("%d bytes are held for 20", cap(s.kept))
	}
}
