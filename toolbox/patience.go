package toolbox

import (
	"io"
	"net/http"
	"time"
)

// patience is how long a client may pause in the middle of its body.
const patience = 2 * time.Minute

// patientBody ends the reading of a body whose sender has fallen silent, so
// that a hung client does not keep a half-written file for ever.
type patientBody struct {
	io.ReadCloser
	conn *http.ResponseController
}

func (b *patientBody) Read(p []byte) (int, error) {
	// Connections without deadlines (of tests) are read without.
	_ = b.conn.SetReadDeadline(time.Now().Add(patience))
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		// From here on reading only serves to notice that the client has
		// gone; a command may take longer than any pause.
		_ = b.conn.SetReadDeadline(time.Time{})
	}
	return n, err
}
