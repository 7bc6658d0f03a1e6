package x11

import (
	"bytes"
	"image"
	"io"
	"net"
	"testing"
)

// setupBytes is what an X server of one screen of 1024x768 says after the first
// 8 bytes of its introduction.
func setupBytes() []byte {
	b := make([]byte, 32)
	le.PutUint16(b[16:], 3) // vendor "abc"
	b[20], b[21] = 1, 1     // one screen, one format
	b[26], b[27] = 8, 255
	b = append(b, 'a', 'b', 'c', 0)
	b = append(b, 24, 32, 32, 0, 0, 0, 0, 0)
	s := make([]byte, 40)
	le.PutUint32(s, 77)
	le.PutUint16(s[20:], 1024)
	le.PutUint16(s[22:], 768)
	s[38] = 24
	return append(b, s...)
}

func TestParseSetup(t *testing.T) {
	c := &Conn{}
	if err := c.parseSetup(setupBytes()); err != nil {
		t.Fatal(err)
	}
	if want := (Screen{Root: 77, Width: 1024, Height: 768}); c.screen != want || c.minKey != 8 || c.maxKey != 255 {
		t.Errorf("got %+v, keys %d to %d", c.screen, c.minKey, c.maxKey)
	}
	shallow := setupBytes()
	shallow[len(shallow)-2] = 16
	if err := c.parseSetup(shallow); err == nil {
		t.Error("a screen of 16 bits was taken")
	}
}

func FuzzParseSetup(f *testing.F) {
	f.Add(setupBytes())
	f.Add([]byte{})
	f.Fuzz(func(_ *testing.T, b []byte) {
		_ = (&Conn{}).parseSetup(b)
	})
}

// scripted is a server that says what it was told to, whatever it is asked.
func scripted(t testing.TB, says []byte) *Conn {
	ours, theirs := net.Pipe()
	go func() { _, _ = io.Copy(io.Discard, theirs) }()
	go func() {
		_, _ = theirs.Write(says)
		_ = theirs.Close()
	}()
	t.Cleanup(func() { _ = ours.Close() })
	c := &Conn{conn: ours, stop: func() bool { return true }, minKey: 8, maxKey: 255, screen: Screen{Root: 77, Width: 8, Height: 8}}
	c.r = newReader(ours)
	return c
}

// FuzzAnswers: whatever the program behind the socket says, nothing panics and
// no memory is taken for what it only announces.
func FuzzAnswers(f *testing.F) {
	reply := func(more int, edit func([]byte)) []byte {
		b := make([]byte, 32+4*more)
		b[0], b[1] = 1, 24
		le.PutUint16(b[2:], 1)
		le.PutUint32(b[4:], uint32(more))
		edit(b)
		return b
	}
	f.Add(reply(64, func([]byte) {}))
	f.Add(reply(0, func(b []byte) { le.PutUint32(b[4:], 1<<31) }))
	f.Add(append(reply(0, func(b []byte) { b[0] = 28 }), reply(2, func(b []byte) { le.PutUint32(b[16:], 1<<30); b[1] = 32 })...))
	f.Add(reply(0, func(b []byte) { b[0] = 0 }))
	f.Add(reply(8, func(b []byte) { b[0] = 35 }))
	f.Fuzz(func(t *testing.T, says []byte) {
		for _, ask := range []func(*Conn) error{
			func(c *Conn) error { _, err := c.Windows(); return err },
			func(c *Conn) error { _, err := c.Picture(image.Rect(0, 0, 8, 8)); return err },
			func(c *Conn) error { return c.DrawCursor(image.NewRGBA(image.Rect(0, 0, 8, 8)), image.Point{}) },
			func(c *Conn) error { _, err := c.Keymap(); return err },
			func(c *Conn) error { _, err := c.Pointer(); return err },
			func(c *Conn) error { return c.AwaitManager(t.Context()) },
		} {
			c := scripted(t, says)
			_ = ask(c)
			_ = c.conn.Close()
		}
	})
}

func TestPicture(t *testing.T) {
	says := make([]byte, 32+8*8*4)
	says[0], says[1] = 1, 24
	le.PutUint16(says[2:], 1)
	le.PutUint32(says[4:], 8*8)
	copy(says[32:], []byte{1, 2, 3, 0}) // blue, green, red
	img, err := scripted(t, says).Picture(image.Rect(0, 0, 8, 8))
	if err != nil {
		t.Fatal(err)
	}
	if got := img.Pix[:4]; !bytes.Equal(got, []byte{3, 2, 1, 255}) {
		t.Errorf("first pixel %v", got)
	}
}

func TestKeymap(t *testing.T) {
	m := &Keymap{First: 8, Plain: []Keysym{0, 'a', ';', 0}, Shift: []Keysym{0, 'A', ':', 0}}
	for sym, want := range map[Keysym]struct {
		code      byte
		shift, ok bool
	}{'a': {9, false, true}, 'A': {9, true, true}, ':': {10, true, true}, 'x': {}} {
		if code, shift, ok := m.Find(sym); code != want.code || shift != want.shift || ok != want.ok {
			t.Errorf("Find(%c) = %d, %t, %t", rune(sym), code, shift, ok)
		}
	}
	if spare := m.Spare(); !bytes.Equal(spare, []byte{8, 11}) {
		t.Errorf("spare keys %v", spare)
	}
}

func TestKeysymOf(t *testing.T) {
	for r, want := range map[rune]Keysym{'a': 'a', '~': '~', 'ü': 0xfc, '\n': 0xff0d, '€': 0x010020ac, '漢': 0x01006f22, '😀': 0x0101f600} {
		if got := KeysymOf(r); got != want {
			t.Errorf("KeysymOf(%q) = %#x, want %#x", r, got, want)
		}
	}
}

func TestText(t *testing.T) {
	for in, want := range map[string]string{"plain": "plain", "caf\xe9": "café", "日本": "日本"} {
		if got := text([]byte(in)); got != want {
			t.Errorf("text(%q) = %q", in, got)
		}
	}
}
