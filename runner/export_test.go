package runner

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"time"
)

// Expected says which ids should have a container and a network, which a root,
// and which a record. It is for tests that look at the world from outside.
func (r *Runner) Expected() (live, rooted, known []string) {
	for _, sb := range r.all() {
		rec := sb.record()
		known = append(known, sb.id)
		if rec.Phase == phaseRunning {
			live = append(live, sb.id)
		}
		if rec.Phase != phaseFailed {
			rooted = append(rooted, sb.id)
		}
	}
	return live, rooted, known
}

// Settled says that no operation is under way.
func (r *Runner) Settled() bool {
	for _, sb := range r.all() {
		sb.mu.Lock()
		busy := sb.op != nil
		sb.mu.Unlock()
		if busy {
			return false
		}
	}
	return true
}

// ForwardTo is ServeToolbox for a toolbox at a TCP address.
// ForwardWatched is ForwardTo with pings after a silence of d.
func ForwardWatched(d time.Duration, address string, w http.ResponseWriter, req *http.Request) {
	r := testRunner()
	r.probes = probes{after: d, limit: d, times: 3}
	r.forward(w, req, "id", testLink(address, "token"))
}

func ForwardTo(address, token string, w http.ResponseWriter, req *http.Request) {
	testRunner().forward(w, req, "id", testLink(address, token))
}

func testRunner() *Runner {
	return &Runner{log: slog.New(slog.DiscardHandler), probes: defaultProbes, sandboxes: map[string]*sandbox{}}
}

func testLink(address, token string) *link {
	return &link{token: token, transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", address)
		},
	}}
}

func testLog(t testing.TB) *slog.Logger { return slog.New(slog.DiscardHandler) }
