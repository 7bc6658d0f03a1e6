package proxy_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestRecordings: the dashboard on port 33333, over what the toolbox keeps.
func TestRecordings(t *testing.T) {
	w := newWorld(t, nil)
	kept := map[string]string{"00000000000000aa": "aa_session.mp4", "00000000000000bb": "bb_<b>.mp4"}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /computeruse/recordings", func(rw http.ResponseWriter, _ *http.Request) {
		list := []map[string]any{}
		for id, file := range kept {
			list = append(list, map[string]any{"id": id, "fileName": file, "filePath": "/x/" + file, "startTime": "2026-01-02T03:04:05Z", "status": "completed", "durationSeconds": 2.4})
		}
		_ = json.NewEncoder(rw).Encode(map[string]any{"recordings": list})
	})
	mux.HandleFunc("GET /computeruse/recordings/{id}/download", func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "text/html") // it says what it likes
		rw.Header().Set("Set-Cookie", "a=b")
		http.ServeContent(rw, r, "", time.Time{}, strings.NewReader("0123456789"))
	})
	mux.HandleFunc("DELETE /computeruse/recordings/{id}", func(rw http.ResponseWriter, r *http.Request) {
		if kept[r.PathValue("id")] == "" {
			rw.WriteHeader(404)
			fmt.Fprint(rw, `{"error":"recording not found"}`)
			return
		}
		delete(kept, r.PathValue("id"))
		rw.WriteHeader(204)
	})
	w.Runner.Toolbox = mux
	b := w.box(map[string]any{"public": true})
	host, auth := b.host(33333), "Authorization: Bearer "+w.Key

	if got := w.get(host, "/api/recordings"); got.status != 401 {
		t.Errorf("of a public sandbox, without credentials: %d", got.status)
	}
	w.get(host, "/", auth).has(t, 200, "aa_session.mp4", "bb_&lt;b&gt;.mp4", "2 s", `src="/videos/aa_session.mp4"`)
	w.get(host, "/api/recordings", auth).has(t, 200, `"recordings":[`, `"fileName":"aa_session.mp4"`)
	film := w.get(host, "/videos/aa_session.mp4", auth, "Range: bytes=2-4")
	film.has(t, 206, "234")
	if ct, cr := film.header.Get("Content-Type"), film.header.Get("Content-Range"); ct != "video/mp4" || cr != "bytes 2-4/10" || film.header.Get("Set-Cookie") != "" {
		t.Errorf("film: %v", film.header)
	}
	w.get(host, "/videos/..%2f..%2fetc%2fpasswd", auth).has(t, 404)
	w.get(host, "/videos/none.mp4", auth).has(t, 404, "none.mp4")
	w.get(host, "/elsewhere", auth).has(t, 404)
	w.send("DELETE", host, "/api/recordings", "{}", auth).has(t, 400, "ids")
	w.send("DELETE", host, "/api/recordings", `{"ids":["00000000000000aa","0000000000000000"]}`, auth).
		has(t, 200, `"deleted":["00000000000000aa"]`, `"0000000000000000":"recording not found"`)
	gone := w.send("POST", host, "/", "id=00000000000000bb", auth, "Content-Type: application/x-www-form-urlencoded")
	if gone.status != 303 || gone.header.Get("Location") != "/" || len(kept) != 0 {
		t.Errorf("form: %d %v, left %v", gone.status, gone.header, kept)
	}
	w.get(host, "/", auth).has(t, 200, "Nothing has been recorded")
}
