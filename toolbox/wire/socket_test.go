package wire_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/coder/websocket"

	"daytona/toolbox/wire"
)

func TestAcceptSelectsOneProtocol(t *testing.T) {
	for name, tt := range map[string]struct {
		offered, prefer []string
		want            string
	}{
		"none offered":    {nil, []string{"a"}, ""},
		"preferred":       {[]string{"b", "a"}, []string{"a"}, "a"},
		"preferred start": {[]string{"x~1", "e~abc"}, []string{"e~"}, "e~abc"},
		"version":         {[]string{"z", "X-Daytona-SDK-Version~0.27.1"}, []string{"a"}, "X-Daytona-SDK-Version~0.27.1"},
		"unknown":         {[]string{"z", "y"}, nil, "z"},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				c, err := wire.Accept(w, r, tt.prefer...)
				if err != nil {
					t.Error(err)
					return
				}
				_ = c.Close(websocket.StatusNormalClosure, "")
			}))
			defer server.Close()
			c, _, err := websocket.Dial(t.Context(), server.URL, &websocket.DialOptions{Subprotocols: tt.offered}) //nolint:bodyclose // there is none after a handshake
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = c.CloseNow() }()
			if got := c.Subprotocol(); got != tt.want {
				t.Errorf("selected %q, want %q", got, tt.want)
			}
		})
	}
}
