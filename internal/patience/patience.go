// Package patience bounds how long a server waits for the next bytes of a body.
package patience

import (
	"io"
	"net/http"
	"time"
)

// Body returns the body of a request, of which every read fails when nothing
// comes for as long as idle. Uploads may take as long as they take, as long as
// they go on.
func Body(w http.ResponseWriter, r *http.Request, idle time.Duration) io.ReadCloser {
	return &body{ReadCloser: r.Body, control: http.NewResponseController(w), idle: idle}
}

type body struct {
	io.ReadCloser
	control *http.ResponseController
	idle    time.Duration
}

func (b *body) Read(p []byte) (int, error) {
	_ = b.control.SetReadDeadline(time.Now().Add(b.idle)) // not every connection has one
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		_ = b.control.SetReadDeadline(time.Time{})
	}
	return n, err
}
