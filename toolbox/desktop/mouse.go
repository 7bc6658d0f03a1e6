package desktop

import (
	"context"
	"image"
	"net/http"
	"time"

	"daytona/internal/fault"
	"daytona/toolbox/desktop/x11"
	"daytona/toolbox/wire"
)

// buttons by name.
var buttons = map[string]byte{"": 1, "left": 1, "middle": 2, "right": 3}

func button(name string) (byte, error) {
	if b, ok := buttons[name]; ok {
		return b, nil
	}
	return 0, fault.New(fault.Invalid, "button must be left, middle or right, not %q", name)
}

// target is where a request wants the pointer.
type target struct {
	X *int `json:"x"`
	Y *int `json:"y"`
}

// point returns the place; ok is false when the request names none.
func (t target) point() (p image.Point, ok bool, err error) {
	if (t.X == nil) != (t.Y == nil) {
		return p, false, fault.New(fault.Invalid, "x and y are required together")
	}
	if t.X == nil {
		return p, false, nil
	}
	return image.Pt(*t.X, *t.Y), true, nil
}

// onto checks that a place is on the screen.
func onto(c *x11.Conn, p image.Point) error {
	size := c.Screen()
	if !p.In(image.Rect(0, 0, size.Width, size.Height)) {
		return fault.New(fault.Invalid, "%d,%d is not on the screen of %dx%d", p.X, p.Y, size.Width, size.Height)
	}
	return nil
}

// with does something with the input devices, alone, and answers with where the
// pointer is then.
func (s *Service) with(ctx context.Context, do func(*x11.Conn) error) (position, error) {
	var at image.Point
	release, err := hold(ctx, s.input)
	if err != nil {
		return position{}, err
	}
	defer release()
	err = s.onScreen(ctx, func(c *x11.Conn) error {
		if err := do(c); err != nil {
			return err
		}
		if err := c.Sync(); err != nil {
			return err
		}
		var err error
		at, err = c.Pointer()
		return err
	})
	return position{at.X, at.Y}, err
}

// MousePosition answers where the pointer is.
func (s *Service) MousePosition(w http.ResponseWriter, r *http.Request) error {
	var at image.Point
	err := s.onScreen(r.Context(), func(c *x11.Conn) (err error) { at, err = c.Pointer(); return err })
	if err != nil {
		return err
	}
	return wire.JSON(w, http.StatusOK, position{at.X, at.Y})
}

// MouseMove moves the pointer.
func (s *Service) MouseMove(w http.ResponseWriter, r *http.Request) error {
	var in target
	if err := wire.Decode(r, &in); err != nil {
		return err
	}
	p, ok, err := in.point()
	if err == nil && !ok {
		err = fault.New(fault.Invalid, "x and y are required")
	}
	if err != nil {
		return err
	}
	return s.point(w, r, func(c *x11.Conn) error { return moveTo(c, p, true) })
}

// point answers with where the pointer is after do.
func (s *Service) point(w http.ResponseWriter, r *http.Request, do func(*x11.Conn) error) error {
	at, err := s.with(r.Context(), do)
	if err != nil {
		return err
	}
	return wire.JSON(w, http.StatusOK, at)
}

func moveTo(c *x11.Conn, p image.Point, wanted bool) error {
	if !wanted {
		return nil
	}
	if err := onto(c, p); err != nil {
		return err
	}
	return c.Move(p)
}

// MouseClick moves the pointer, if the request says where to, and clicks.
func (s *Service) MouseClick(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		target
		Button string `json:"button,omitempty"`
		Double bool   `json:"double,omitempty"`
	}
	p, moves, b, err := readPress(r, &in, &in.target, &in.Button)
	if err != nil {
		return err
	}
	times := 1
	if in.Double {
		times = 2
	}
	return s.point(w, r, func(c *x11.Conn) error {
		if err := moveTo(c, p, moves); err != nil {
			return err
		}
		return click(c, b, times)
	})
}

func click(c *x11.Conn, b byte, times int) error {
	for range times {
		for _, down := range []bool{true, false} {
			if err := c.Button(b, down); err != nil {
				return err
			}
		}
	}
	return nil
}

// readPress decodes a request into in, of which t and name are parts.
func readPress(r *http.Request, in any, t *target, name *string) (p image.Point, moves bool, b byte, err error) {
	if err = wire.Decode(r, in); err != nil {
		return
	}
	if p, moves, err = t.point(); err != nil {
		return
	}
	b, err = button(*name)
	return
}

// MouseDown presses a button and leaves it pressed.
func (s *Service) MouseDown(w http.ResponseWriter, r *http.Request) error { return s.press(w, r, true) }

// MouseUp releases a button.
func (s *Service) MouseUp(w http.ResponseWriter, r *http.Request) error { return s.press(w, r, false) }

func (s *Service) press(w http.ResponseWriter, r *http.Request, down bool) error {
	var in struct {
		target
		Button string `json:"button,omitempty"`
	}
	p, moves, b, err := readPress(r, &in, &in.target, &in.Button)
	if err != nil {
		return err
	}
	return s.point(w, r, func(c *x11.Conn) error {
		if err := moveTo(c, p, moves); err != nil {
			return err
		}
		return c.Button(b, down)
	})
}

// How a drag moves: programs take a jump for a click somewhere else.
const (
	dragSteps = 10
	dragPause = 10 * time.Millisecond
)

// MouseDrag presses a button at one place and releases it at another.
func (s *Service) MouseDrag(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		StartX *int   `json:"startX"`
		StartY *int   `json:"startY"`
		EndX   *int   `json:"endX"`
		EndY   *int   `json:"endY"`
		Button string `json:"button,omitempty"`
	}
	if err := wire.Decode(r, &in); err != nil {
		return err
	}
	if in.StartX == nil || in.StartY == nil || in.EndX == nil || in.EndY == nil {
		return fault.New(fault.Invalid, "startX, startY, endX and endY are required")
	}
	b, err := button(in.Button)
	if err != nil {
		return err
	}
	from, to := image.Pt(*in.StartX, *in.StartY), image.Pt(*in.EndX, *in.EndY)
	return s.point(w, r, func(c *x11.Conn) error {
		if err := onto(c, to); err != nil {
			return err
		}
		if err := moveTo(c, from, true); err != nil {
			return err
		}
		if err := c.Button(b, true); err != nil {
			return err
		}
		for i := 1; i <= dragSteps; i++ {
			// The button is released whatever happens to the request.
			if pause(r.Context(), dragPause) != nil {
				break
			}
			if err := c.Move(from.Add(to.Sub(from).Mul(i).Div(dragSteps))); err != nil {
				return err
			}
			if err := c.Sync(); err != nil { // the steps must not become one
				return err
			}
		}
		return c.Button(b, false)
	})
}

// pause waits, or returns why the request is over.
func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return context.Cause(ctx)
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// wheel is the button by which a direction is scrolled.
var wheel = map[string]byte{"up": 4, "down": 5, "left": 6, "right": 7}

// maxScroll bounds the notches of one request.
const maxScroll = 1000

// MouseScroll turns the wheel.
func (s *Service) MouseScroll(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		target
		Direction string   `json:"direction"`
		Amount    *int     `json:"amount,omitempty"`
		Modifiers []string `json:"modifiers,omitempty"`
	}
	if err := wire.Decode(r, &in); err != nil {
		return err
	}
	p, moves, err := in.point()
	if err != nil {
		return err
	}
	b, ok := wheel[in.Direction]
	if !ok {
		return fault.New(fault.Invalid, "direction must be up, down, left or right, not %q", in.Direction)
	}
	amount := 1
	if wire.DialectOf(r).Old() {
		amount = 3
	}
	if in.Amount != nil {
		amount = *in.Amount
	}
	if amount < 0 || amount > maxScroll {
		return fault.New(fault.Invalid, "amount must be from 0 to %d, not %d", maxScroll, amount)
	}
	held, err := modifiers(in.Modifiers)
	if err != nil {
		return err
	}
	_, err = s.with(r.Context(), func(c *x11.Conn) error {
		if err := moveTo(c, p, moves); err != nil {
			return err
		}
		k, err := s.keyboard(c)
		if err != nil {
			return err
		}
		return k.holding(held, func() error { return click(c, b, amount) })
	})
	if err != nil {
		return err
	}
	return wire.JSON(w, http.StatusOK, map[string]bool{"success": true})
}
