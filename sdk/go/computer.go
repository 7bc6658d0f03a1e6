package daytona

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"daytona/api"
)

// Computer looks at a sandbox's screen and moves its mouse and keyboard. The
// sandbox needs a snapshot with a desktop; begin with Start.
type Computer struct{ sandbox *Sandbox }

func (c *Computer) url(names ...string) string {
	return c.sandbox.toolbox(append([]string{"computeruse"}, names...)...)
}

func (c *Computer) post(ctx context.Context, in any, names ...string) error {
	return c.sandbox.client.post(ctx, c.url(names...), in, nil)
}

// Start starts the desktop and returns when it works.
func (c *Computer) Start(ctx context.Context) error { return c.post(ctx, nil, "start") }

// Stop ends it.
func (c *Computer) Stop(ctx context.Context) error { return c.post(ctx, nil, "stop") }

// Status returns active, partial, inactive or error.
func (c *Computer) Status(ctx context.Context) (string, error) {
	out, err := getAs[struct {
		Status string `json:"status"`
	}](ctx, c.sandbox.client, c.url("status"), nil)
	return out.Status, err
}

// Screenshot says what picture to take. Everything may be left out.
type Screenshot struct {
	X, Y, Width, Height int     // a part of the screen; all 0: the whole
	Cursor              bool    // show it
	Format              string  // png or jpeg
	Quality             int     // of jpeg, 1 to 100
	Scale               float64 // 0.1 to 1
}

// Screenshot takes a picture of the screen.
func (c *Computer) Screenshot(ctx context.Context, s Screenshot) ([]byte, error) {
	names, query := []string{"screenshot"}, url.Values{}
	if s.Width > 0 {
		names = append(names, "region")
		for name, value := range map[string]int{"x": s.X, "y": s.Y, "width": s.Width, "height": s.Height} {
			query.Set(name, strconv.Itoa(value))
		}
	}
	if s.Format != "" || s.Quality != 0 || s.Scale != 0 {
		names = append(names, "compressed")
		if s.Format != "" {
			query.Set("format", s.Format)
		}
		if s.Quality != 0 {
			query.Set("quality", strconv.Itoa(s.Quality))
		}
		if s.Scale != 0 {
			query.Set("scale", strconv.FormatFloat(s.Scale, 'g', -1, 64))
		}
	}
	if s.Cursor {
		query.Set("showCursor", "true")
	}
	out, err := getAs[struct {
		Screenshot []byte `json:"screenshot"`
	}](ctx, c.sandbox.client, c.url(names...), query)
	return out.Screenshot, err
}

// Point is a place on the screen.
type Point struct {
	X int `json:"x"`
	Y int `json:"y"`
}

// Cursor returns where the mouse is.
func (c *Computer) Cursor(ctx context.Context) (Point, error) {
	return getAs[Point](ctx, c.sandbox.client, c.url("mouse", "position"), nil)
}

// MoveMouse moves the mouse.
func (c *Computer) MoveMouse(ctx context.Context, to Point) error {
	return c.post(ctx, to, "mouse", "move")
}

// Click clicks with a button: left, right or middle; "" is left.
func (c *Computer) Click(ctx context.Context, at Point, button string, double bool) error {
	return c.post(ctx, struct {
		Point
		Button string `json:"button,omitempty"`
		Double bool   `json:"double,omitempty"`
	}{at, button, double}, "mouse", "click")
}

// Drag moves from one place to another with a button pressed.
func (c *Computer) Drag(ctx context.Context, from, to Point, button string) error {
	return c.post(ctx, struct {
		StartX int    `json:"startX"`
		StartY int    `json:"startY"`
		EndX   int    `json:"endX"`
		EndY   int    `json:"endY"`
		Button string `json:"button,omitempty"`
	}{from.X, from.Y, to.X, to.Y, button}, "mouse", "drag")
}

// Scroll turns the wheel up or down at a place.
func (c *Computer) Scroll(ctx context.Context, at Point, direction string, amount int) error {
	return c.post(ctx, struct {
		Point
		Direction string `json:"direction"`
		Amount    int    `json:"amount"`
	}{at, direction, amount}, "mouse", "scroll")
}

// Type types a text.
func (c *Computer) Type(ctx context.Context, text string) error {
	return c.post(ctx, map[string]string{"text": text}, "keyboard", "type")
}

// Press presses a key, with modifiers such as ctrl, alt, shift and cmd.
func (c *Computer) Press(ctx context.Context, key string, modifiers ...string) error {
	return c.post(ctx, map[string]any{"key": key, "modifiers": modifiers}, "keyboard", "key")
}

// Hotkey presses keys together, such as "ctrl+c".
func (c *Computer) Hotkey(ctx context.Context, keys string) error {
	return c.post(ctx, map[string]string{"keys": keys}, "keyboard", "hotkey")
}

// Window is a window or a display.
type Window struct {
	ID     int    `json:"id"`
	Title  string `json:"title"`
	X      int    `json:"x"`
	Y      int    `json:"y"`
	Width  int    `json:"width"`
	Height int    `json:"height"`
	Active bool   `json:"isActive"`
}

// Windows lists the windows.
func (c *Computer) Windows(ctx context.Context) ([]Window, error) {
	out, err := getAs[struct {
		Windows []Window `json:"windows"`
	}](ctx, c.sandbox.client, c.url("display", "windows"), nil)
	return out.Windows, err
}

// Displays lists the displays.
func (c *Computer) Displays(ctx context.Context) ([]Window, error) {
	out, err := getAs[struct {
		Displays []Window `json:"displays"`
	}](ctx, c.sandbox.client, c.url("display", "info"), nil)
	return out.Displays, err
}

// Recording is a film of the screen.
type Recording struct {
	ID        string   `json:"id"`
	FileName  string   `json:"fileName"`
	FilePath  string   `json:"filePath"`
	StartTime api.Time `json:"startTime"`
	Status    string   `json:"status"` // recording, completed or failed
	Seconds   float64  `json:"durationSeconds"`
	Size      int64    `json:"sizeBytes"`
}

// StartRecording begins a film.
func (c *Computer) StartRecording(ctx context.Context, label string) (Recording, error) {
	return postAs[Recording](ctx, c.sandbox.client, c.url("recordings", "start"), map[string]string{"label": label})
}

// StopRecording ends it.
func (c *Computer) StopRecording(ctx context.Context, id string) (Recording, error) {
	return postAs[Recording](ctx, c.sandbox.client, c.url("recordings", "stop"), map[string]string{"id": id})
}

// Recordings lists the films.
func (c *Computer) Recordings(ctx context.Context) ([]Recording, error) {
	out, err := getAs[struct {
		Recordings []Recording `json:"recordings"`
	}](ctx, c.sandbox.client, c.url("recordings"), nil)
	return out.Recordings, err
}

// DownloadRecording copies a film, in MP4, to a writer.
func (c *Computer) DownloadRecording(ctx context.Context, id string, to io.Writer) error {
	res, err := c.sandbox.client.send(ctx, request{method: http.MethodGet, url: c.url("recordings", id, "download"), again: true})
	if err != nil {
		return err
	}
	defer res.Body.Close()
	_, err = io.Copy(to, res.Body)
	return err
}

// DeleteRecording removes a film.
func (c *Computer) DeleteRecording(ctx context.Context, id string) error {
	return c.sandbox.client.call(ctx, request{method: http.MethodDelete, url: c.url("recordings", id)})
}
