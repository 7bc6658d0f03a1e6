package git

import (
	"bytes"
	"encoding/json"
	"net/http"
)

// chunk is how much of an answer is gathered before it is sent, in bytes.
const chunk = 64 << 10

// answer is a JSON answer that is sent while it is made, so that its size does
// not matter. An answer smaller than a chunk can still turn into an error.
type answer struct {
	w    http.ResponseWriter
	buf  bytes.Buffer
	more bool // the open array has an element
	sent bool
}

// text adds JSON as it stands.
func (a *answer) text(json string) error {
	a.buf.WriteString(json)
	if a.buf.Len() < chunk {
		return nil
	}
	return a.flush()
}

// element adds an element to the open array.
func (a *answer) element(v any) error {
	if a.more {
		a.buf.WriteByte(',')
	}
	a.more = true
	enc := json.NewEncoder(&a.buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err
	}
	return a.text("")
}

func (a *answer) flush() error {
	if !a.sent {
		a.sent = true
		a.w.Header().Set("Content-Type", "application/json")
		a.w.WriteHeader(http.StatusOK)
	}
	_, err := a.w.Write(a.buf.Bytes())
	a.buf.Reset()
	return err
}

// end sends what is left. With an error it returns that when nothing has been
// sent, and else breaks the answer off, which must not look like a whole one.
func (a *answer) end(err error) error {
	if err != nil {
		if a.sent {
			panic(http.ErrAbortHandler)
		}
		return err
	}
	_ = a.flush() // the client has gone when this fails
	return nil
}
