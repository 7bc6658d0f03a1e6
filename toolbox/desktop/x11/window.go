package x11

import (
	"context"
	"errors"
	"strings"
	"unicode/utf8"
)

// Window is one that the window manager manages. Its frame is not part of it.
type Window struct {
	ID                  ID
	Title               string
	X, Y, Width, Height int // of the screen's pixels
	Active              bool
}

// Atom returns the number of a name.
func (c *Conn) Atom(name string) (ID, error) {
	const internAtom = 16
	b, err := c.call(request(internAtom, 0, uint16(len(name)), uint16(0), name))
	if err != nil {
		return 0, err
	}
	return ID(le.Uint32(b[8:])), nil
}

// Property returns the first bytes of a window's property, at most max of them;
// none when it is not set.
func (c *Conn) Property(w ID, name string, max int) ([]byte, error) {
	atom, err := c.Atom(name)
	if err != nil {
		return nil, err
	}
	const getProperty = 20
	b, err := c.call(request(getProperty, 0, w, atom, uint32(0), uint32(0), uint32(pad(max)/4)))
	if err != nil {
		return nil, err
	}
	n := int64(le.Uint32(b[16:])) * int64(b[1]) / 8 // units of 8, 16 or 32 bits
	return b[32:][:min(n, int64(len(b)-32), int64(max))], nil
}

// ids reads a property that lists windows.
func (c *Conn) ids(name string) ([]ID, error) {
	const most = 4096
	b, err := c.Property(c.screen.Root, name, 4*most)
	if err != nil {
		return nil, err
	}
	ids := make([]ID, len(b)/4)
	for i := range ids {
		ids[i] = ID(le.Uint32(b[4*i:]))
	}
	return ids, nil
}

// Windows lists the windows in the order in which they were opened. One that is
// closed meanwhile is left out.
func (c *Conn) Windows() ([]Window, error) {
	ids, err := c.ids("_NET_CLIENT_LIST")
	if err != nil {
		return nil, err
	}
	var active ID
	if one, err := c.ids("_NET_ACTIVE_WINDOW"); err != nil {
		return nil, err
	} else if len(one) > 0 {
		active = one[0]
	}
	list := make([]Window, 0, len(ids))
	for _, id := range ids {
		w, err := c.window(id)
		var gone *Error
		switch {
		case errors.As(err, &gone):
			continue
		case err != nil:
			return nil, err
		}
		w.Active = id == active
		list = append(list, w)
	}
	return list, nil
}

func (c *Conn) window(id ID) (Window, error) {
	w := Window{ID: id}
	const getGeometry, translateCoordinates = 14, 40
	b, err := c.call(request(getGeometry, 0, id))
	if err != nil {
		return w, err
	}
	w.Width, w.Height = int(le.Uint16(b[16:])), int(le.Uint16(b[18:]))
	b, err = c.call(request(translateCoordinates, 0, id, c.screen.Root, int16(0), int16(0)))
	if err != nil {
		return w, err
	}
	w.X, w.Y = int(int16(le.Uint16(b[12:]))), int(int16(le.Uint16(b[14:])))
	const longest = 4 << 10
	title, err := c.Property(id, "_NET_WM_NAME", longest)
	if err == nil && len(title) == 0 {
		title, err = c.Property(id, "WM_NAME", longest)
	}
	w.Title = text(title)
	return w, err
}

// text makes valid UTF-8 of a title: old programs write Latin-1.
func text(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	runes := make([]rune, len(b))
	for i, c := range b {
		runes[i] = rune(c)
	}
	return strings.ToValidUTF8(string(runes), "\uFFFD")
}

// AwaitManager returns once a window manager has announced itself.
func (c *Conn) AwaitManager(ctx context.Context) error {
	const changeWindowAttributes, eventMask, propertyChange = 2, 1 << 11, 1 << 22
	changed := false
	c.property = func() { changed = true }
	if err := c.send(request(changeWindowAttributes, 0, c.screen.Root, uint32(eventMask), uint32(propertyChange))); err != nil {
		return err
	}
	for {
		changed = false
		b, err := c.Property(c.screen.Root, "_NET_SUPPORTING_WM_CHECK", 4)
		if err != nil {
			return err
		}
		if len(b) == 4 {
			return nil
		}
		for !changed {
			if _, err := c.next(); err != nil {
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				return err
			}
		}
	}
}
