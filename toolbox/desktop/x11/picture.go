package x11

import (
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"io"
)

// Picture returns what the screen shows in a rectangle, which must lie within
// the screen.
func (c *Conn) Picture(area image.Rectangle) (*image.RGBA, error) {
	if area.Empty() || !area.In(image.Rect(0, 0, c.screen.Width, c.screen.Height)) {
		return nil, fmt.Errorf("%v is not within the screen", area)
	}
	const getImage, zPixmap = 73, 2
	head, more, err := c.ask(request(getImage, zPixmap, c.screen.Root,
		int16(area.Min.X), int16(area.Min.Y), uint16(area.Dx()), uint16(area.Dy()), ^uint32(0)))
	if err != nil {
		return nil, err
	}
	img := image.NewRGBA(image.Rect(0, 0, area.Dx(), area.Dy()))
	if int64(len(img.Pix)) != more || head[1] != 24 {
		c.fatal = fmt.Errorf("the X server sent %d bytes for a picture of %d", more, len(img.Pix))
		return nil, c.fatal
	}
	if _, err := io.ReadFull(c.r, img.Pix); err != nil {
		c.fatal = err
		return nil, err
	}
	for p := img.Pix; len(p) >= 4; p = p[4:] { // blue, green, red, unused
		p[0], p[2], p[3] = p[2], p[0], 0xff
	}
	return img, nil
}

// DrawCursor draws the pointer into a picture of the screen that begins at at.
func (c *Conn) DrawCursor(img *image.RGBA, at image.Point) error {
	op, err := c.extension("XFIXES")
	if err != nil {
		return err
	}
	const queryVersion, getCursorImage = 0, 4
	if _, err := c.call(request(op, queryVersion, uint32(4), uint32(0))); err != nil {
		return err
	}
	b, err := c.call(request(op, getCursorImage))
	if err != nil {
		return err
	}
	width, height := int(le.Uint16(b[12:])), int(le.Uint16(b[14:]))
	if 4*width*height > len(b)-32 {
		return fmt.Errorf("the X server sent %d bytes for a cursor of %dx%d", len(b)-32, width, height)
	}
	cursor := image.NewRGBA(image.Rect(0, 0, width, height))
	for i := range width * height {
		p := le.Uint32(b[32+4*i:]) // alpha, red, green, blue; multiplied by alpha
		cursor.SetRGBA(i%max(width, 1), i/max(width, 1), color.RGBA{R: byte(p >> 16), G: byte(p >> 8), B: byte(p), A: byte(p >> 24)})
	}
	tip := image.Pt(int(int16(le.Uint16(b[8:]))), int(int16(le.Uint16(b[10:]))))
	hot := image.Pt(int(le.Uint16(b[16:])), int(le.Uint16(b[18:])))
	corner := tip.Sub(hot).Sub(at)
	draw.Draw(img, cursor.Bounds().Add(corner), cursor, image.Point{}, draw.Over)
	return nil
}
