package process

import (
	"bytes"
	"testing"
)

// On a busy machine a command may have ended long before anything of it was
// read. What it wrote is told all the same, also where a process that it left
// behind holds the pipe.
func TestCaptureIsWholeWithoutAReader(t *testing.T) {
	c, err := newCapture(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	defer c.abandon() // until then this is the process that was left behind
	want := bytes.Repeat([]byte("0123456789abcdef"), 4<<10-1)
	if _, err := c.writer.Write(want); err != nil {
		t.Fatal(err)
	}
	if got := c.finish(); !bytes.Equal(got, want) {
		t.Errorf("%d bytes, want %d", len(got), len(want))
	}
}

func TestCaptureDropsWhatIsTooMuch(t *testing.T) {
	c, err := newCapture(10)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.writer.WriteString("0123456789abcdef"); err != nil {
		t.Fatal(err)
	}
	c.start()
	if got, want := string(c.finish()), "0123456789\n[output truncated: the first 10 bytes are shown, 6 more were dropped]\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	<-c.eof
}
