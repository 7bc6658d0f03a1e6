// Package x11 speaks as much of the X11 protocol as computer use needs: pictures
// of the screen, the pointer, the keyboard, and what the window manager says of
// its windows.
//
// A connection is made for one piece of work and closed after it: it has no
// goroutine, keeps nothing between requests, and needs no care when the server
// is restarted. Whoever answers on the socket is a program of the sandbox, so
// nothing in an answer is believed: lengths are bounded before memory is taken.
//
// A general library for X11 adds 440 KB to the toolbox of every sandbox; this
// adds a tenth of that.
package x11

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

var le = binary.LittleEndian

// maxReply bounds an answer that is kept in memory as a whole. Pictures are read
// elsewhere, by the number of bytes that they must have.
const maxReply = 4 << 20

// ID is a window, an atom or another thing that the server has given a number.
type ID uint32

// Conn is a connection to a display. It serves one caller at a time.
type Conn struct {
	conn     net.Conn
	r        *bufio.Reader
	seq      uint16
	stop     func() bool
	fatal    error  // what broke the connection
	rejected error  // the first error answer since the last Sync
	property func() // called when a property of a watched window changes

	screen Screen
	xtest  byte
	minKey byte
	maxKey byte
}

// Screen is what the server draws on.
type Screen struct {
	Root          ID
	Width, Height int
}

// Dial connects to a display of this machine. The connection is closed when ctx
// ends.
func Dial(ctx context.Context, display int) (*Conn, error) {
	path := fmt.Sprintf("/tmp/.X11-unix/X%d", display)
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		conn, err = d.DialContext(ctx, "unix", "@"+path)
	}
	if err != nil {
		return nil, fmt.Errorf("X display :%d: %w", display, err)
	}
	c, err := open(ctx, conn)
	if err != nil {
		return nil, fmt.Errorf("X display :%d: %w", display, errors.Join(err, conn.Close()))
	}
	return c, nil
}

// patience is how long the server may take for one piece of work.
const patience = 30 * time.Second

func open(ctx context.Context, conn net.Conn) (*Conn, error) {
	c := &Conn{conn: conn, r: newReader(conn)}
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	c.stop = context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	err := c.setup()
	if err == nil {
		c.xtest, err = c.extension("XTEST")
	}
	if err != nil {
		c.stop()
		return nil, err
	}
	return c, nil
}

// Close ends the connection.
func (c *Conn) Close() error {
	c.stop()
	return c.conn.Close()
}

// Screen returns the screen.
func (c *Conn) Screen() Screen { return c.screen }

// Extend gives the server its whole patience again, for work of many steps.
func (c *Conn) Extend() { _ = c.conn.SetDeadline(time.Now().Add(patience)) }

// setup introduces the client and reads what the server says of itself.
func (c *Conn) setup() error {
	hello := []byte{'l', 0, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0} // little endian, version 11.0, no authorization
	if _, err := c.conn.Write(hello); err != nil {
		return err
	}
	var head [8]byte
	if _, err := io.ReadFull(c.r, head[:]); err != nil {
		return err
	}
	rest := make([]byte, 4*int(le.Uint16(head[6:]))) // at most 256 KiB
	if _, err := io.ReadFull(c.r, rest); err != nil {
		return err
	}
	if head[0] != 1 {
		reason := rest
		if n := int(head[1]); head[0] == 0 && n <= len(rest) {
			reason = rest[:n]
		}
		return fmt.Errorf("the server refuses: %s", strings.TrimSpace(string(reason[:min(len(reason), 200)])))
	}
	return c.parseSetup(rest)
}

var errSetup = errors.New("the server's introduction cannot be understood")

// parseSetup reads the part of the introduction that follows its first 8 bytes.
func (c *Conn) parseSetup(b []byte) error {
	if len(b) < 32 {
		return errSetup
	}
	vendor, formats, screens := int(le.Uint16(b[16:])), int(b[21]), int(b[20])
	bigEndian := b[22] != 0
	c.minKey, c.maxKey = b[26], b[27]
	at := 32 + pad(vendor)
	four := false
	for range formats {
		if at+8 > len(b) {
			return errSetup
		}
		if b[at] == 24 {
			four = b[at+1] == 32
		}
		at += 8
	}
	if screens < 1 || at+40 > len(b) || c.minKey < 8 || c.maxKey < c.minKey {
		return errSetup
	}
	s := b[at:]
	c.screen = Screen{Root: ID(le.Uint32(s)), Width: int(le.Uint16(s[20:])), Height: int(le.Uint16(s[22:]))}
	if depth := s[38]; depth != 24 || !four || bigEndian {
		return fmt.Errorf("the screen's depth of %d bits is not supported: start the X server with a depth of 24", depth)
	}
	return nil
}

// pad rounds a number of bytes up to whole units.
func pad(n int) int { return (n + 3) &^ 3 }

// request makes a request: opcode, its data byte, and its body, which is padded.
func request(op, data byte, body ...any) []byte {
	b := []byte{op, data, 0, 0}
	for _, v := range body {
		switch v := v.(type) {
		case []byte:
			b = append(b, v...)
		case string:
			b = append(b, v...)
		case byte:
			b = append(b, v)
		case uint16:
			b = le.AppendUint16(b, v)
		case int16:
			b = le.AppendUint16(b, uint16(v))
		case uint32:
			b = le.AppendUint32(b, v)
		case ID:
			b = le.AppendUint32(b, uint32(v))
		default:
			panic(fmt.Sprintf("x11: %T in a request", v))
		}
	}
	b = append(b, make([]byte, pad(len(b))-len(b))...)
	le.PutUint16(b[2:], uint16(len(b)/4))
	return b
}

// send sends a request that has no answer. What the server objects to is found
// by Sync.
func (c *Conn) send(req []byte) error {
	if c.fatal != nil {
		return c.fatal
	}
	c.seq++
	if _, err := c.conn.Write(req); err != nil {
		c.fatal = err
	}
	return c.fatal
}

// call sends a request and returns the whole answer, of 32 bytes at least.
func (c *Conn) call(req []byte) ([]byte, error) {
	head, more, err := c.ask(req)
	if err != nil {
		return nil, err
	}
	if more > maxReply {
		c.fatal = fmt.Errorf("the X server's answer of %d bytes is too long", more)
		return nil, c.fatal
	}
	b := make([]byte, 32+more)
	copy(b, head[:])
	if _, err := io.ReadFull(c.r, b[32:]); err != nil {
		c.fatal = err
		return nil, err
	}
	return b, nil
}

// ask sends a request and returns the head of its answer and how many bytes
// follow it, which the caller must read.
func (c *Conn) ask(req []byte) (head [32]byte, more int64, err error) {
	if err := c.send(req); err != nil {
		return head, 0, err
	}
	for {
		head, err = c.next()
		if err != nil {
			return head, 0, err
		}
		switch {
		case head[0] == 1:
			if le.Uint16(head[2:]) != c.seq {
				c.fatal = errors.New("the X server answered another request")
				return head, 0, c.fatal
			}
			return head, 4 * int64(le.Uint32(head[4:])), nil
		case head[0] == 0 && le.Uint16(head[2:]) == c.seq:
			return head, 0, protocolError(head)
		case head[0] == 0 && c.rejected == nil:
			c.rejected = protocolError(head)
		}
	}
}

// next reads the 32 bytes that begin an answer, an error or an event; what else
// belongs to an event is skipped.
func (c *Conn) next() (head [32]byte, err error) {
	if c.fatal != nil {
		return head, c.fatal
	}
	if _, err := io.ReadFull(c.r, head[:]); err != nil {
		c.fatal = err
		return head, err
	}
	const generic, propertyNotify = 35, 28
	switch head[0] &^ 0x80 {
	case generic:
		if _, err := io.CopyN(io.Discard, c.r, 4*int64(le.Uint32(head[4:]))); err != nil {
			c.fatal = err
		}
	case propertyNotify:
		if c.property != nil {
			c.property()
		}
	}
	return head, c.fatal
}

// Error is what the server objects to.
type Error struct {
	Code, Opcode byte
	Value        uint32
}

func (e *Error) Error() string {
	return fmt.Sprintf("X error %d for request %d, value %#x", e.Code, e.Opcode, e.Value)
}

func protocolError(head [32]byte) error {
	return &Error{Code: head[1], Opcode: head[10], Value: le.Uint32(head[4:])}
}

// Sync returns once the server has done everything that it was sent, with the
// first of its objections.
func (c *Conn) Sync() error {
	const getInputFocus = 43
	if _, err := c.call(request(getInputFocus, 0)); err != nil {
		return err
	}
	err := c.rejected
	c.rejected = nil
	return err
}

// extension returns the opcode of an extension.
func (c *Conn) extension(name string) (byte, error) {
	const queryExtension = 98
	b, err := c.call(request(queryExtension, 0, uint16(len(name)), uint16(0), name))
	if err != nil {
		return 0, err
	}
	if b[8] == 0 {
		return 0, fmt.Errorf("the X server lacks the extension %s", name)
	}
	return b[9], nil
}

func newReader(r io.Reader) *bufio.Reader { return bufio.NewReaderSize(r, 16<<10) }
