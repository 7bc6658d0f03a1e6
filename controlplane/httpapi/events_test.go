package httpapi_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"daytona/controlplane/controlplanetest"
)

// TestEventsAreRefusedInTheirOwnWords: a client that wants events is told that
// there are none, as Socket.IO says it, and a plain request gets a 404.
func TestEventsAreRefusedInTheirOwnWords(t *testing.T) {
	s := controlplanetest.New(t)
	if res := s.Do(t, request{Path: "/api/socket.io/?EIO=4&transport=polling"}); res.Status != 404 {
		t.Errorf("polling: status %d, want 404", res.Status)
	}

	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	conn, res, err := websocket.Dial(ctx, s.URL+"/api/socket.io/?EIO=4&transport=websocket", nil)
	if err != nil {
		t.Fatal(err)
	}
	if res.Body != nil {
		defer res.Body.Close()
	}
	defer func() { _ = conn.CloseNow() }() // closed properly below
	expect := func(prefix string) {
		t.Helper()
		_, message, err := conn.Read(ctx)
		if err != nil || !strings.HasPrefix(string(message), prefix) {
			t.Fatalf("got %q, %v, want %s...", message, err, prefix)
		}
	}
	expect(`0{"sid":`)
	if err := conn.Write(ctx, websocket.MessageText, []byte(`40{"token":"any"}`)); err != nil {
		t.Fatal(err)
	}
	expect(`44{"message":`)
	if err := conn.Close(websocket.StatusNormalClosure, ""); err != nil {
		t.Errorf("closing: %v", err)
	}
}
