package x11

import (
	"fmt"
	"image"
)

// Pointer returns where the pointer is.
func (c *Conn) Pointer() (image.Point, error) {
	p, _, err := c.pointer()
	return p, err
}

// pointer also returns which modifiers and buttons are held.
func (c *Conn) pointer() (image.Point, uint16, error) {
	const queryPointer = 38
	b, err := c.call(request(queryPointer, 0, c.screen.Root))
	if err != nil {
		return image.Point{}, 0, err
	}
	return image.Pt(int(int16(le.Uint16(b[16:]))), int(int16(le.Uint16(b[18:])))), le.Uint16(b[24:]), nil
}

// CapsLock says whether letters are capital now.
func (c *Conn) CapsLock() (bool, error) {
	const lockMask = 1 << 1
	_, mask, err := c.pointer()
	return mask&lockMask != 0, err
}

// What an input event is, as XTEST numbers it.
const (
	keyPress = iota + 2
	keyRelease
	buttonPress
	buttonRelease
	motion
)

func (c *Conn) fake(kind, detail byte, at image.Point) error {
	const fakeInput = 2
	return c.send(request(c.xtest, fakeInput, kind, detail, uint16(0), uint32(0), c.screen.Root,
		uint32(0), uint32(0), int16(at.X), int16(at.Y), uint32(0), uint32(0)))
}

// Move moves the pointer.
func (c *Conn) Move(to image.Point) error { return c.fake(motion, 0, to) }

// Button presses or releases a button: 1 is the left, 2 the middle, 3 the right
// one; 4 to 7 turn the wheel up, down, left and right.
func (c *Conn) Button(n byte, down bool) error {
	kind := byte(buttonRelease)
	if down {
		kind = buttonPress
	}
	return c.fake(kind, n, image.Point{})
}

// Key presses or releases a key by its code.
func (c *Conn) Key(code byte, down bool) error {
	kind := byte(keyRelease)
	if down {
		kind = keyPress
	}
	return c.fake(kind, code, image.Point{})
}

// Keymap says what each key means: alone, and with Shift.
type Keymap struct {
	First byte
	Plain []Keysym // by code, from First on
	Shift []Keysym
}

// Keysym is the meaning of a key.
type Keysym uint32

// Keymap returns the keyboard's map.
func (c *Conn) Keymap() (*Keymap, error) {
	const getKeyboardMapping = 101
	n := int(c.maxKey) - int(c.minKey) + 1
	b, err := c.call(request(getKeyboardMapping, 0, c.minKey, byte(n)))
	if err != nil {
		return nil, err
	}
	per := int(b[1])
	if per < 1 || 4*per*n > len(b)-32 {
		return nil, fmt.Errorf("the X server sent %d bytes for a keyboard of %d keys", len(b)-32, n)
	}
	m := &Keymap{First: c.minKey, Plain: make([]Keysym, n), Shift: make([]Keysym, n)}
	for i := range n {
		m.Plain[i] = Keysym(le.Uint32(b[32+4*per*i:]))
		if per > 1 {
			m.Shift[i] = Keysym(le.Uint32(b[32+4*per*i+4:]))
		}
	}
	return m, nil
}

// Assign gives a key the same meaning alone and with Shift.
func (c *Conn) Assign(code byte, sym Keysym) error {
	const changeKeyboardMapping = 100
	return c.send(request(changeKeyboardMapping, 1, code, byte(2), uint16(0), uint32(sym), uint32(sym)))
}

// Find returns the key that means sym, and whether with Shift.
func (m *Keymap) Find(sym Keysym) (code byte, shift, ok bool) {
	for i, s := range m.Plain {
		if s == sym {
			return m.First + byte(i), false, true
		}
	}
	for i, s := range m.Shift {
		if s == sym {
			return m.First + byte(i), true, true
		}
	}
	return 0, false, false
}

// Spare lists the keys that mean nothing.
func (m *Keymap) Spare() []byte {
	var spare []byte
	for i := range m.Plain {
		if m.Plain[i] == 0 && m.Shift[i] == 0 {
			spare = append(spare, m.First+byte(i))
		}
	}
	return spare
}

// KeysymOf returns the meaning "types this character".
func KeysymOf(r rune) Keysym {
	switch {
	case r == '\n', r == '\r':
		return 0xff0d // Return
	case r == '\t':
		return 0xff09 // Tab
	case r >= 0x20 && r <= 0x7e, r >= 0xa0 && r <= 0xff:
		return Keysym(r) // Latin-1 is numbered alike
	}
	return 0x01000000 | Keysym(r)
}
