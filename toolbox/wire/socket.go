package wire

import (
	"net/http"
	"slices"
	"strings"

	"github.com/coder/websocket"
)

// versionProtocol begins the sub-protocol by which a browser, which cannot set
// headers on a WebSocket, names its client's version.
const versionProtocol = "X-Daytona-SDK-Version~"

// Accept turns the request into a WebSocket. Of the sub-protocols that the
// client offers it selects the first that equals, or where it ends in "~"
// begins with, one of prefer; else the client's version; else the first one:
// clients that offer any refuse an answer that selects none.
//
// When it fails it has answered the request.
func Accept(w http.ResponseWriter, r *http.Request, prefer ...string) (*websocket.Conn, error) {
	options := websocket.AcceptOptions{
		// Who may call was decided by the token; the page that a browser
		// shows is none of ours.
		InsecureSkipVerify: true,
		CompressionMode:    websocket.CompressionDisabled,
	}
	if selected := selectProtocol(offered(r.Header), prefer); selected != "" {
		options.Subprotocols = []string{selected}
	}
	return websocket.Accept(w, r, &options)
}

// IsUpgrade reports whether the request asks for a WebSocket.
func IsUpgrade(r *http.Request) bool {
	return strings.EqualFold(r.Header.Get("Upgrade"), "websocket")
}

// Protocol returns what follows prefix in the first sub-protocol offered by the
// client that begins with it, and whether there is one.
func Protocol(r *http.Request, prefix string) (string, bool) {
	for _, p := range offered(r.Header) {
		if rest, ok := strings.CutPrefix(p, prefix); ok {
			return rest, true
		}
	}
	return "", false
}

func offered(h http.Header) []string {
	var all []string
	for _, line := range h.Values("Sec-Websocket-Protocol") {
		for p := range strings.SplitSeq(line, ",") {
			if p = strings.TrimSpace(p); p != "" {
				all = append(all, p)
			}
		}
	}
	return all
}

func selectProtocol(offered, prefer []string) string {
	for _, want := range append(slices.Clone(prefer), versionProtocol) {
		for _, p := range offered {
			if p == want || strings.HasSuffix(want, "~") && strings.HasPrefix(p, want) {
				return p
			}
		}
	}
	if len(offered) > 0 {
		return offered[0]
	}
	return ""
}
