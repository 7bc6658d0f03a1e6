package httpapi

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"
)

// eventsPath is where newer clients look for events, by Socket.IO over a
// WebSocket.
const eventsPath = basePath + "/socket.io"

// eventsTimeout bounds the whole conversation.
const eventsTimeout = 10 * time.Second

// refuseEvents tells a client in its own protocol that no events will come. It
// then polls, and lets go at once. After a plain 404 it would try again for
// minutes, and a Node program that is otherwise done would not end before that.
func (a *API) refuseEvents(w http.ResponseWriter, r *http.Request) {
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		a.fail(w, r, errNoRoute(r))
		return
	}
	// Nothing is said that depends on who is asking, so any origin may ask.
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
	if err != nil {
		return // Accept has answered
	}
	defer func() { _ = conn.CloseNow() }() // the client has gone, or is let go
	conn.SetReadLimit(4 << 10)
	ctx, cancel := context.WithTimeout(r.Context(), eventsTimeout)
	defer cancel()
	// Engine.IO: 0 opens a session, 4 is a message. Socket.IO in the message: 0
	// asks to connect, 4 refuses it.
	open := `0{"sid":"` + uuid.NewString() + `","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":4096}`
	if err := conn.Write(ctx, websocket.MessageText, []byte(open)); err != nil {
		return
	}
	for {
		_, message, err := conn.Read(ctx)
		if err != nil {
			return // the client closes when it has read the refusal
		}
		if strings.HasPrefix(string(message), "40") {
			refusal := `44{"message":"this server does not send events"}`
			if err := conn.Write(ctx, websocket.MessageText, []byte(refusal)); err != nil {
				return
			}
		}
	}
}
