package rootfs

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"daytona/internal/fault"
)

func TestSilentRegistryIsGivenUp(t *testing.T) {
	stuck := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/body" {
			_, _ = w.Write([]byte("half"))
			w.(http.Flusher).Flush()
		}
		if r.URL.Path != "/fine" {
			<-stuck
		}
	}))
	defer srv.Close()
	defer close(stuck)
	client := &http.Client{Transport: impatient{http.DefaultTransport, 200 * time.Millisecond}}
	for path, ok := range map[string]bool{"/head": false, "/body": false, "/fine": true} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := client.Do(req)
		if err == nil {
			_, err = io.ReadAll(res.Body)
			res.Body.Close()
		}
		if ok && err != nil || !ok && !fault.Is(err, fault.Unavailable) {
			t.Errorf("%s: %v", path, err)
		}
	}
}
