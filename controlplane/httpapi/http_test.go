package httpapi_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"

	"daytona/controlplane/controlplanetest"
	"daytona/controlplane/httpapi"
)

func TestUnknownRoutes(t *testing.T) {
	s := controlplanetest.New(t)
	for _, tt := range []struct{ method, path string }{
		{"GET", "/api/nothing"}, {"GET", "/api/sandbox/x/y/z"}, {"PATCH", "/api/sandbox"}, {"DELETE", "/api/config"},
		{"GET", "/api/volumes"}, {"GET", "/api/volumes"}, {"POST", "/api/users"}, {"GET", "/nothing"}, {"POST", "/metrics"},
		{"GET", "/api/sandbox/../config"}, {"GET", "/api/sandbox/%2e%2e/config"}, {"GET", "/toolbox"}, {"GET", "/toolbox/"}, {"GET", "/api/toolbox/x"},
		{"FROB", "/api/sandbox"}, {"GET", "/apifoo"}, {"GET", "/api/sandbox/%2F"},
	} {
		res := s.Do(t, request{Method: tt.method, Path: tt.path, Key: s.Key})
		if res.Status != 404 {
			t.Errorf("%s %s: %d %s", tt.method, tt.path, res.Status, res.Body)
			continue
		}
		checkError(t, res, tt.path)
	}
}

func TestHeaders(t *testing.T) {
	s := controlplanetest.New(t)
	res := s.Do(t, request{Path: "/api/config?x=1", Header: map[string]string{"X-Request-Id": "abc-1", "Origin": "https://app.example"}})
	for name, want := range map[string]string{
		"X-Request-Id": "abc-1", "X-Daytona-Api-Version": "test", "Access-Control-Allow-Origin": "https://app.example",
		"Access-Control-Allow-Credentials": "true", "Vary": "Origin", "Content-Type": "application/json; charset=utf-8",
	} {
		if got := res.Header.Get(name); got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
	for _, id := range []string{"", "a b", "<script>", strings.Repeat("x", 200)} {
		got := s.Do(t, request{Path: "/api/config", Header: map[string]string{"X-Request-Id": id}}).Header.Get("X-Request-Id")
		if len(got) != 36 {
			t.Errorf("for %q: %q", id, got)
		}
	}
	pre := s.Do(t, request{Method: "OPTIONS", Path: "/api/sandbox", Header: map[string]string{
		"Origin": "https://app.example", "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,x-daytona-source",
	}})
	if pre.Status != 204 || pre.Header.Get("Access-Control-Allow-Headers") != "authorization,x-daytona-source" ||
		pre.Header.Get("Access-Control-Allow-Methods") != "GET, HEAD, PUT, PATCH, POST, DELETE, OPTIONS" {
		t.Errorf("preflight: %d %v", pre.Status, pre.Header)
	}
	off := s.Do(t, request{Path: "/toolbox/x/y", Header: map[string]string{"Origin": "https://app.example", "X-Daytona-Disable-CORS": "true"}})
	if off.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("CORS was to be off")
	}
	head := s.Do(t, request{Method: "HEAD", Path: "/api/config"})
	if head.Status != 200 || len(head.Body) != 0 {
		t.Errorf("HEAD: %d %s", head.Status, head.Body)
	}
	if res := s.Do(t, request{Path: "/api/sandbox"}); res.Header.Get("WWW-Authenticate") == "" {
		t.Errorf("401 without WWW-Authenticate")
	}
}

// TestGarbage: whatever is sent, nothing is answered with a 500.
func TestGarbage(t *testing.T) {
	s := controlplanetest.New(t)
	id := create(t, s, nil)["id"].(string)
	random := rand.New(rand.NewPCG(1, 2))
	values := []string{`null`, `true`, `0`, `-1`, `1.5`, `1e999`, `123456789012345678901234567890`, `""`, `"x"`, `"\u0000"`, `"\ud800"`, `[]`, `[null]`, `[[]]`, `{}`,
		`{"":""}`, `{"a":null}`, `{"a":{"b":[]}}`, `"` + strings.Repeat("é", 5000) + `"`, `"../../etc/passwd"`, `"'; DROP TABLE sandboxes; --"`, `"<b>"`, `"10.0.0.0/8"`, `"2020-01-01"`}
	members := strings.Fields("name snapshot user env labels public class target cpu gpu memory disk networkBlockAll networkAllowList autoStopInterval autoArchiveInterval autoDeleteInterval volumes buildInfo gpuType secrets permissions expiresAt labels ttlMinutes")
	garbage := []string{"", "{", "}", "nul", "[", `"`, "\x00", "\xff\xfe", "[]", "1", `"x"`, "null", strings.Repeat("[", 20000), strings.Repeat(`{"a":`, 20000), `{"name":"a"}{"name":"b"}`}
	for range 120 {
		var b strings.Builder
		for i := range 1 + random.IntN(4) {
			if i > 0 {
				b.WriteByte(',')
			}
			fmt.Fprintf(&b, "%q:%s", members[random.IntN(len(members))], values[random.IntN(len(values))])
		}
		text := "{" + b.String() + "}"
		if random.IntN(5) == 0 { // damage it
			raw := []byte(text)
			raw[random.IntN(len(raw))] = byte(random.IntN(256))
			text = string(raw)
		}
		garbage = append(garbage, text)
	}
	for _, line := range httpapi.Lines() {
		if line.Method == http.MethodGet || line.Method == http.MethodDelete {
			continue
		}
		tries := garbage
		if !strings.HasSuffix(line.Path, "sandbox") && !strings.HasSuffix(line.Path, "api-keys") {
			tries = garbage[:40]
		}
		for _, text := range tries {
			res := s.Do(t, request{Method: line.Method, Path: fill(line.Path, id, "x"), Key: s.Key, Body: text})
			if res.Status >= 500 {
				t.Errorf("%s %s with %.200q: %d %s", line.Method, line.Path, text, res.Status, res.Body)
			}
		}
	}
	odd := []string{"%00", "%ff", "%E2%80%AE", strings.Repeat("x", 8000), "%2e%2e%2f", "a%2Fb%2F%2Fc", "'%22", "%F0%9F%90%9F", "-", "current", "paginated"}
	for _, line := range httpapi.Lines() {
		for _, segment := range odd {
			path := "/api" + line.Path
			for _, name := range []string{"{sandboxIdOrName}", "{isPublic}", "{interval}", "{port}", "{idOrName}", "{organizationId}", "{name}", "{userId}"} {
				path = strings.ReplaceAll(path, name, segment)
			}
			if res := s.Do(t, request{Method: line.Method, Path: path, Key: s.Key}); res.Status >= 500 {
				t.Errorf("%s %s: %d %s", line.Method, path, res.Status, res.Body)
			}
		}
	}
	if bytes.Contains([]byte(s.Log.String()), []byte("panic")) {
		t.Error("something panicked")
	}
}
