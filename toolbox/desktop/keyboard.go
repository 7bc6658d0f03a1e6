package desktop

import (
	"context"
	"net/http"
	"slices"
	"time"
	"unicode"

	"daytona/internal/fault"
	"daytona/toolbox/desktop/x11"
	"daytona/toolbox/wire"
)

// lent are the keys that mean nothing on the keyboard, and what they were given
// to type: characters that no key has.
type lent struct {
	codes []byte // all of them, those used longest ago first; nil until looked up
}

// keyboard presses keys by their meaning.
type keyboard struct {
	conn *x11.Conn
	keys *x11.Keymap
	lent *lent
}

// keyboard returns the display's keyboard, for who holds the input.
func (s *Service) keyboard(c *x11.Conn) (*keyboard, error) {
	keys, err := c.Keymap()
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lent.codes == nil {
		s.lent.codes = keys.Spare()
	}
	return &keyboard{conn: c, keys: keys, lent: s.lent}, nil
}

const shiftSym = x11.Keysym(0xffe1)

// settle is how long programs are given to read what they were sent before a key
// that they may not have looked up yet changes its meaning.
const settle = 200 * time.Millisecond

// need makes sure that there is a key for each of the meanings, of which there
// may be as many as keys without one.
func (k *keyboard) need(syms []x11.Keysym) error {
	var kept []byte
	var missing []x11.Keysym
	for _, sym := range syms {
		if code, _, ok := k.keys.Find(sym); ok {
			kept = append(kept, code)
		} else if !slices.Contains(missing, sym) {
			missing = append(missing, sym)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	waited := false
	for _, sym := range missing {
		i := slices.IndexFunc(k.lent.codes, func(code byte) bool { return !slices.Contains(kept, code) })
		if i < 0 {
			return fault.New(fault.Unprocessable, "the keyboard has no key left for another character")
		}
		code := k.lent.codes[i]
		if k.keys.Plain[code-k.keys.First] != 0 && !waited {
			waited = true
			time.Sleep(settle)
		}
		if err := k.conn.Assign(code, sym); err != nil {
			return err
		}
		k.keys.Plain[code-k.keys.First], k.keys.Shift[code-k.keys.First] = sym, sym
		k.lent.codes = append(slices.Delete(k.lent.codes, i, i+1), code)
		kept = append(kept, code)
	}
	return k.conn.Sync()
}

// press presses or releases the key of a meaning.
func (k *keyboard) press(sym x11.Keysym, down bool) error {
	code, shift, ok := k.keys.Find(sym)
	if !ok {
		return fault.New(fault.Unprocessable, "the keyboard has no key for %#x", uint32(sym))
	}
	if shift {
		if err := k.press(shiftSym, down); err != nil {
			return err
		}
	}
	return k.conn.Key(code, down)
}

// tap presses and releases a key.
func (k *keyboard) tap(sym x11.Keysym) error {
	code, shift, ok := k.keys.Find(sym)
	if !ok {
		return fault.New(fault.Unprocessable, "the keyboard has no key for %#x", uint32(sym))
	}
	stroke := func() error {
		if err := k.conn.Key(code, true); err != nil {
			return err
		}
		return k.conn.Key(code, false)
	}
	if shift {
		return k.holding([]x11.Keysym{shiftSym}, stroke)
	}
	return stroke()
}

// holding does something while keys are held, which are released whatever comes.
func (k *keyboard) holding(held []x11.Keysym, do func() error) (err error) {
	if err := k.need(held); err != nil {
		return err
	}
	for i, sym := range held {
		if err := k.press(sym, true); err != nil {
			return err
		}
		defer func() {
			if e := k.press(held[i], false); e != nil && err == nil {
				err = e
			}
		}()
	}
	return do()
}

const (
	maxText   = 100_000         // characters of one request
	maxTyping = 4 * time.Minute // that a delay between them may take
	batch     = 32              // characters for which keys are looked up together
)

// Type types a text.
func (s *Service) Type(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Text  *string  `json:"text"`
		Delay *float64 `json:"delay,omitempty"` // milliseconds between two characters
	}
	if err := wire.Decode(r, &in); err != nil {
		return err
	}
	if in.Text == nil {
		return fault.New(fault.Invalid, "text is required")
	}
	syms, err := typed(*in.Text, wire.DialectOf(r).Old())
	if err != nil {
		return err
	}
	var delay time.Duration
	if in.Delay != nil {
		if *in.Delay < 0 || *in.Delay*float64(max(len(syms), 1)) > float64(maxTyping.Milliseconds()) {
			return fault.New(fault.Invalid, "delay must be 0 or more milliseconds, and the text typed within %s", maxTyping)
		}
		delay = time.Duration(*in.Delay * float64(time.Millisecond))
	}
	_, err = s.with(r.Context(), func(c *x11.Conn) error { return s.typeText(r.Context(), c, syms, delay) })
	if err != nil {
		return err
	}
	return wire.JSON(w, http.StatusOK, struct{}{})
}

// typed returns the keys that type a text. What the old clients could type as a
// tab, the new ones must press as a key.
func typed(text string, tabs bool) ([]x11.Keysym, error) {
	var syms []x11.Keysym
	runes := []rune(text)
	if len(runes) > maxText {
		return nil, fault.New(fault.Invalid, "text has %d characters; at most %d are typed at once", len(runes), maxText)
	}
	for i, r := range runes {
		switch {
		case r == '\r' && i+1 < len(runes) && runes[i+1] == '\n':
			continue
		case r == '\t' && !tabs:
			return nil, fault.New(fault.Invalid, "text contains a tab: press the key tab instead")
		case r == '\n', r == '\r', r == '\t':
		case unicode.IsControl(r), r == unicode.ReplacementChar:
			return nil, fault.New(fault.Invalid, "text contains the character %U, which no key types", r)
		}
		syms = append(syms, x11.KeysymOf(r))
	}
	return syms, nil
}

func (s *Service) typeText(ctx context.Context, c *x11.Conn, syms []x11.Keysym, delay time.Duration) error {
	k, err := s.keyboard(c)
	if err != nil {
		return err
	}
	if capital, err := c.CapsLock(); err != nil {
		return err
	} else if capital {
		const capsLock = 0xffe5
		if err := k.tap(capsLock); err != nil {
			return err
		}
	}
	for part := range slices.Chunk(syms, max(1, min(batch, len(k.lent.codes)))) {
		if err := k.need(part); err != nil {
			return err
		}
		for _, sym := range part {
			if err := k.tap(sym); err != nil {
				return err
			}
			if err := pause(ctx, delay); err != nil {
				return err
			}
		}
		// The server is not sent more than it takes.
		c.Extend()
		if err := c.Sync(); err != nil {
			return err
		}
	}
	return nil
}

// Key presses a key together with modifiers.
func (s *Service) Key(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Key       string   `json:"key"`
		Modifiers []string `json:"modifiers,omitempty"`
	}
	if err := wire.Decode(r, &in); err != nil {
		return err
	}
	if in.Key == "" {
		return fault.New(fault.Invalid, "key is required")
	}
	sym, err := keysym(in.Key)
	if err != nil {
		return err
	}
	held, err := modifiers(in.Modifiers)
	if err != nil {
		return err
	}
	return s.stroke(w, r, append(held, sym))
}

// Hotkey presses keys together: the last while the others are held.
func (s *Service) Hotkey(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Keys string `json:"keys"`
	}
	if err := wire.Decode(r, &in); err != nil {
		return err
	}
	syms, err := parseHotkey(in.Keys)
	if err != nil {
		return err
	}
	return s.stroke(w, r, syms)
}

func (s *Service) stroke(w http.ResponseWriter, r *http.Request, syms []x11.Keysym) error {
	last := len(syms) - 1
	return s.keys(w, r, syms, func(k *keyboard) error {
		return k.holding(syms[:last], func() error { return k.tap(syms[last]) })
	})
}

// KeyDown presses a key and leaves it pressed.
func (s *Service) KeyDown(w http.ResponseWriter, r *http.Request) error { return s.half(w, r, true) }

// KeyUp releases a key.
func (s *Service) KeyUp(w http.ResponseWriter, r *http.Request) error { return s.half(w, r, false) }

func (s *Service) half(w http.ResponseWriter, r *http.Request, down bool) error {
	var in struct {
		Key string `json:"key"`
	}
	if err := wire.Decode(r, &in); err != nil {
		return err
	}
	if in.Key == "" {
		return fault.New(fault.Invalid, "key is required")
	}
	sym, err := keysym(in.Key)
	if err != nil {
		return err
	}
	return s.keys(w, r, []x11.Keysym{sym}, func(k *keyboard) error { return k.press(sym, down) })
}

// keys does something with the keyboard, on which the meanings have keys.
func (s *Service) keys(w http.ResponseWriter, r *http.Request, syms []x11.Keysym, do func(*keyboard) error) error {
	_, err := s.with(r.Context(), func(c *x11.Conn) error {
		k, err := s.keyboard(c)
		if err != nil {
			return err
		}
		if err := k.need(syms); err != nil {
			return err
		}
		return do(k)
	})
	if err != nil {
		return err
	}
	return wire.JSON(w, http.StatusOK, struct{}{})
}
