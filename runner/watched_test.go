package runner_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"daytona/runner"
)

// A toolbox that answers nobody, as one does that was sent SIGSTOP, must not
// hold its callers for ever; a command may take its time.
func TestSilentToolboxIsGivenUp(t *testing.T) {
	const silence = 20 * time.Millisecond
	held := make(chan struct{})
	defer close(held)
	for name, tt := range map[string]struct {
		pings func(http.ResponseWriter, *http.Request)
		want  int
		says  string
	}{
		"answers pings": {func(http.ResponseWriter, *http.Request) {}, http.StatusOK, "done"},
		"silent": {func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-held:
			case <-r.Context().Done():
			}
		}, http.StatusBadGateway, "not even a ping"},
	} {
		t.Run(name, func(t *testing.T) {
			pinged := make(chan struct{}, 64)
			mux := http.NewServeMux()
			mux.HandleFunc("GET /version", func(w http.ResponseWriter, r *http.Request) {
				select {
				case pinged <- struct{}{}:
				default:
				}
				tt.pings(w, r)
			})
			mux.HandleFunc("POST /process/execute", func(w http.ResponseWriter, r *http.Request) {
				for range 5 { // longer than any silence that is allowed
					select {
					case <-pinged:
					case <-r.Context().Done():
						return
					}
				}
				_, _ = w.Write([]byte("done"))
			})
			sink := httptest.NewServer(mux)
			defer sink.Close()
			rec := httptest.NewRecorder()
			req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/process/execute", http.NoBody)
			runner.ForwardWatched(silence, sink.Listener.Addr().String(), rec, req)
			if rec.Code != tt.want || !strings.Contains(rec.Body.String(), tt.says) {
				t.Errorf("answered %d %s", rec.Code, rec.Body)
			}
		})
	}
}
