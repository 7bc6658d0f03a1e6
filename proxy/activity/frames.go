package activity

import (
	"encoding/binary"
	"strings"
)

// noter returns what notes the data of one direction of an upgraded connection.
func noter(protocol string, m *Meter) func([]byte) {
	if strings.EqualFold(protocol, "websocket") {
		f := &frames{}
		return func(p []byte) {
			if f.data(p) {
				m.Note()
			}
		}
	}
	return func(p []byte) {
		if len(p) > 0 {
			m.Note()
		}
	}
}

// frames follows the frames of one direction of a WebSocket.
type frames struct {
	head [14]byte // of the frame that begins, as far as it has come
	have int
	left uint64 // bytes of the frame under way that are still to come
	text bool   // it belongs to a message
}

// data reports whether what has come belongs to a message, wholly or in part.
func (f *frames) data(p []byte) bool {
	found := false
	for len(p) > 0 {
		if f.left > 0 {
			n := min(f.left, uint64(len(p)))
			f.left -= n
			p = p[n:]
			found = found || f.text
			continue
		}
		f.head[f.have] = p[0]
		f.have++
		p = p[1:]
		size, length, ok := f.parse()
		if !ok || f.have < size {
			continue
		}
		f.text = f.head[0]&0x0f < 8 // 8 and more are control frames
		f.left, f.have = length, 0
		found = found || f.text
	}
	return found
}

// parse returns the size of the head and the length of what follows it, as soon
// as the head says.
func (f *frames) parse() (size int, length uint64, ok bool) {
	if f.have < 2 {
		return 0, 0, false
	}
	size = 2
	if f.head[1]&0x80 != 0 {
		size += 4 // the mask
	}
	switch short := f.head[1] & 0x7f; short {
	case 126:
		size += 2
		if f.have < 4 {
			return 0, 0, false
		}
		length = uint64(binary.BigEndian.Uint16(f.head[2:]))
	case 127:
		size += 8
		if f.have < 10 {
			return 0, 0, false
		}
		length = binary.BigEndian.Uint64(f.head[2:])
	default:
		length = uint64(short)
	}
	return size, length, true
}
