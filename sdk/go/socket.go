package daytona

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/coder/websocket"
)

// maxMessage bounds what is accepted of a server in one message.
const maxMessage = 64 << 20

// dial opens a WebSocket at a route of the toolbox.
func (s *Sandbox) dial(ctx context.Context, target string, query url.Values, protocols ...string) (*websocket.Conn, error) {
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	conn, res, err := websocket.Dial(ctx, target, &websocket.DialOptions{
		HTTPClient: s.client.http, HTTPHeader: s.client.headers(), Subprotocols: protocols,
	})
	if err != nil {
		if res != nil && res.StatusCode >= 400 && res.Body != nil {
			if res.Request == nil {
				res.Request, _ = http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
			}
			return nil, errorOf(res)
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, &ConnectionError{Address: target, Err: err}
	}
	conn.SetReadLimit(maxMessage)
	return conn, nil
}

// closing returns the status and reason with which the other side closed.
func closing(err error) (websocket.StatusCode, string) {
	var closed websocket.CloseError
	if errors.As(err, &closed) {
		return closed.Code, closed.Reason
	}
	return -1, ""
}

func brokenOff(what string, err error) error {
	code, reason := closing(err)
	switch {
	case code > 0 && reason != "":
		return fmt.Errorf("daytona: %s broke off: %s", what, reason)
	case code > 0:
		return fmt.Errorf("daytona: %s broke off with code %d", what, code)
	}
	return fmt.Errorf("daytona: %s broke off: %w", what, err)
}
