package desktop

import (
	"bytes"
	"encoding/base64"
	"image"
	"image/jpeg"
	"image/png"
	"math"
	"net/http"
	"net/url"
	"strconv"

	"daytona/internal/fault"
	"daytona/toolbox/desktop/x11"
	"daytona/toolbox/wire"
)

// Screenshot answers a picture of the whole screen.
func (s *Service) Screenshot(w http.ResponseWriter, r *http.Request) error {
	return s.picture(w, r, false, false)
}

// Region answers a picture of a part of the screen.
func (s *Service) Region(w http.ResponseWriter, r *http.Request) error {
	return s.picture(w, r, true, false)
}

// Compressed answers a picture of the whole screen in a smaller form.
func (s *Service) Compressed(w http.ResponseWriter, r *http.Request) error {
	return s.picture(w, r, false, true)
}

// CompressedRegion answers a picture of a part of the screen in a smaller form.
func (s *Service) CompressedRegion(w http.ResponseWriter, r *http.Request) error {
	return s.picture(w, r, true, true)
}

// position is a place on the screen.
type position struct {
	X int `json:"x"`
	Y int `json:"y"`
}

// shot is what a client wants a picture of, and how.
type shot struct {
	area    image.Rectangle // empty means the whole screen
	cursor  bool
	jpeg    bool
	quality int     // 1 to 100, of JPEG
	scale   float64 // 0.1 to 1
}

func (s *Service) picture(w http.ResponseWriter, r *http.Request, region, compressed bool) error {
	want, err := readShot(r.URL.Query(), region, compressed)
	if err != nil {
		return err
	}
	var img *image.RGBA
	var pointer image.Point
	err = s.onScreen(r.Context(), func(c *x11.Conn) (err error) {
		whole := image.Rect(0, 0, c.Screen().Width, c.Screen().Height)
		area := whole
		if region {
			area = want.area
			if !area.In(whole) {
				return fault.New(fault.Invalid, "the region of %dx%d at %d,%d is not within the screen of %dx%d",
					area.Dx(), area.Dy(), area.Min.X, area.Min.Y, whole.Dx(), whole.Dy())
			}
		}
		if img, err = c.Picture(area); err != nil {
			return err
		}
		if want.cursor {
			if pointer, err = c.Pointer(); err == nil {
				err = c.DrawCursor(img, area.Min)
			}
		}
		return err
	})
	if err != nil {
		return err
	}
	data, err := want.encode(img)
	if err != nil {
		return err
	}
	answer := struct {
		Screenshot     string    `json:"screenshot"`
		CursorPosition *position `json:"cursorPosition,omitempty"`
		SizeBytes      int       `json:"sizeBytes"`
	}{Screenshot: base64.StdEncoding.EncodeToString(data), SizeBytes: len(data)}
	if want.cursor {
		answer.CursorPosition = &position{pointer.X, pointer.Y}
	}
	return wire.JSON(w, http.StatusOK, answer)
}

// readShot reads the parameters of a picture. Its errors name the parameter.
func readShot(q url.Values, region, compressed bool) (shot, error) {
	want := shot{quality: 85, scale: 1}
	for _, name := range []string{"showCursor", "show_cursor"} {
		text := q.Get(name)
		if text == "" {
			continue
		}
		show, err := strconv.ParseBool(text)
		if err != nil {
			return want, fault.New(fault.Invalid, "%s must be true or false, not %q", name, text)
		}
		want.cursor = want.cursor || show
	}
	if region {
		var n [4]int
		for i, name := range []string{"x", "y", "width", "height"} {
			v, err := strconv.ParseInt(q.Get(name), 10, 16)
			if err != nil {
				return want, fault.New(fault.Invalid, "%s must be a whole number of pixels, not %q", name, q.Get(name))
			}
			n[i] = int(v)
		}
		if n[2] < 1 || n[3] < 1 {
			return want, fault.New(fault.Invalid, "width and height must be at least 1, not %d and %d", n[2], n[3])
		}
		want.area = image.Rect(n[0], n[1], n[0]+n[2], n[1]+n[3])
	}
	if !compressed {
		return want, nil
	}
	switch format := q.Get("format"); format {
	case "", "png":
	case "jpeg", "jpg":
		want.jpeg = true
	default:
		return want, fault.New(fault.Invalid, "format must be png or jpeg, not %q", format)
	}
	if text := q.Get("quality"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 100 {
			return want, fault.New(fault.Invalid, "quality must be a whole number from 1 to 100, not %q", text)
		}
		want.quality = n
	}
	if text := q.Get("scale"); text != "" {
		f, err := strconv.ParseFloat(text, 64)
		if err != nil || math.IsNaN(f) || f < 0.1 || f > 1 {
			return want, fault.New(fault.Invalid, "scale must be from 0.1 to 1, not %q", text)
		}
		want.scale = f
	}
	return want, nil
}

func (want shot) encode(img *image.RGBA) ([]byte, error) {
	if want.scale < 1 {
		size := img.Bounds().Size()
		img = shrink(img, max(1, int(math.Round(float64(size.X)*want.scale))), max(1, int(math.Round(float64(size.Y)*want.scale))))
	}
	var buf bytes.Buffer
	var err error
	if want.jpeg {
		err = jpeg.Encode(&buf, img, &jpeg.Options{Quality: want.quality})
	} else {
		err = (&png.Encoder{CompressionLevel: png.BestSpeed}).Encode(&buf, img)
	}
	return buf.Bytes(), err
}

// shrink makes a picture smaller: each pixel is the mean of those that it covers.
func shrink(src *image.RGBA, width, height int) *image.RGBA {
	dst := image.NewRGBA(image.Rect(0, 0, width, height))
	w, h := src.Rect.Dx(), src.Rect.Dy()
	for y := range height {
		y0, y1 := y*h/height, max((y+1)*h/height, y*h/height+1)
		for x := range width {
			x0, x1 := x*w/width, max((x+1)*w/width, x*w/width+1)
			var r, g, b, n int
			for sy := y0; sy < y1; sy++ {
				for p := src.Pix[sy*src.Stride+4*x0 : sy*src.Stride+4*x1]; len(p) >= 4; p = p[4:] {
					r, g, b, n = r+int(p[0]), g+int(p[1]), b+int(p[2]), n+1
				}
			}
			o := dst.Pix[y*dst.Stride+4*x:]
			o[0], o[1], o[2], o[3] = byte(r/n), byte(g/n), byte(b/n), 0xff
		}
	}
	return dst
}

// DisplayInfo answers the size of the screen.
func (s *Service) DisplayInfo(w http.ResponseWriter, r *http.Request) error {
	var screen x11.Screen
	if err := s.onScreen(r.Context(), func(c *x11.Conn) error { screen = c.Screen(); return nil }); err != nil {
		return err
	}
	return wire.JSON(w, http.StatusOK, map[string]any{"displays": []window{
		{Width: screen.Width, Height: screen.Height, Active: true},
	}})
}

// window is a window, or a display, on the wire.
type window struct {
	ID     int     `json:"id"`
	Title  *string `json:"title,omitempty"`
	X      int     `json:"x"`
	Y      int     `json:"y"`
	Width  int     `json:"width"`
	Height int     `json:"height"`
	Active bool    `json:"isActive"`
}

// Windows answers the open windows.
func (s *Service) Windows(w http.ResponseWriter, r *http.Request) error {
	list := []window{}
	err := s.onScreen(r.Context(), func(c *x11.Conn) error {
		all, err := c.Windows()
		for _, one := range all {
			list = append(list, window{int(one.ID), &one.Title, one.X, one.Y, one.Width, one.Height, one.Active})
		}
		return err
	})
	if err != nil {
		return err
	}
	return wire.JSON(w, http.StatusOK, map[string]any{"windows": list, "count": len(list)})
}

func decimal(n int) string { return strconv.Itoa(n) }
