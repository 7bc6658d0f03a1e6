package daytona

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"daytona/api"
)

func testClient(t *testing.T, handler http.HandlerFunc) *Client {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	c, err := New(WithAPIKey("key"), WithAPIURL(server.URL+"/api"), WithEnvironment(func(string) (string, bool) { return "", false }, ""))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestWhatIsTriedAgain(t *testing.T) {
	for _, tt := range []struct {
		name     string
		status   int
		call     func(ctx context.Context, c *Client) error
		attempts int32
	}{
		{"reading, overloaded", 503, func(ctx context.Context, c *Client) error { _, err := c.Get(ctx, "x"); return err }, 4},
		{"reading, not there", 404, func(ctx context.Context, c *Client) error { _, err := c.Get(ctx, "x"); return err }, 1},
		{"creating, overloaded", 503, func(ctx context.Context, c *Client) error { _, err := c.Create(ctx, CreateParams{}); return err }, 4},
		{"a command, overloaded", 503, func(ctx context.Context, c *Client) error {
			_, err := c.sandbox(api.Sandbox{DocsEraSandbox: api.DocsEraSandbox{ID: "x"}, ToolboxProxyURL: strings.TrimSuffix(c.apiURL, "/api") + "/toolbox"}).Process.Run(ctx, "true")
			return err
		}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var attempts atomic.Int32
			keys := map[string]bool{}
			c := testClient(t, func(w http.ResponseWriter, r *http.Request) {
				attempts.Add(1)
				keys[r.Header.Get("Idempotency-Key")] = true
				w.Header().Set("Retry-After", "0")
				w.WriteHeader(tt.status)
				_, _ = io.WriteString(w, `{"statusCode":503,"message":"busy"}`)
			})
			if err := tt.call(t.Context(), c); err == nil {
				t.Fatal("no error")
			}
			if got := attempts.Load(); got != tt.attempts {
				t.Errorf("%d requests, want %d", got, tt.attempts)
			}
			if len(keys) != 1 {
				t.Errorf("the repetitions carry different keys: %v", keys)
			}
		})
	}
}

func TestACommandWhoseConnectionBreaksIsNotSentAgain(t *testing.T) {
	var attempts atomic.Int32
	c := testClient(t, func(w http.ResponseWriter, r *http.Request) {
		attempts.Add(1)
		conn, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			_ = conn.Close()
		}
	})
	err := c.post(t.Context(), c.path("x"), map[string]int{}, nil)
	if !errors.Is(err, ErrUnavailable) || attempts.Load() != 1 {
		t.Errorf("%d requests, error %v", attempts.Load(), err)
	}
}

func TestErrors(t *testing.T) {
	for _, tt := range []struct {
		status int
		body   string
		is     error
		text   string
	}{
		{400, `{"message":["a","b"],"error":"Bad Request"}`, ErrInvalid, "a; b"},
		{401, `{"message":"who?","error":"Unauthorized"}`, ErrUnauthorized, "who?"},
		{403, `{"message":"no"}`, ErrForbidden, "no"},
		{404, `{"message":"gone fishing","code":"NOT_FOUND"}`, ErrNotFound, "gone fishing"},
		{408, `{}`, ErrTimeout, "408"},
		{409, `{"error":"taken"}`, ErrConflict, "taken"},
		{410, `{"message":"over"}`, ErrGone, "over"},
		{422, `{"message":"install git"}`, ErrUnprocessable, "install git"},
		{429, `{"message":"slow"}`, ErrRateLimited, "slow"},
		{500, `<html>`, ErrServer, "<html>"},
	} {
		c := testClient(t, func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(tt.status)
			_, _ = io.WriteString(w, tt.body)
		})
		c.retries = 0
		_, err := c.Get(t.Context(), "x")
		if !errors.Is(err, tt.is) || !strings.Contains(err.Error(), tt.text) {
			t.Errorf("%d %s: %v", tt.status, tt.body, err)
		}
	}
}

func TestListReadsOn(t *testing.T) {
	c := testClient(t, func(w http.ResponseWriter, r *http.Request) {
		page := api.ListSandboxesResponse{Items: []api.SandboxListItem{{ID: "a"}, {ID: "b"}}, NextCursor: new("next")}
		if r.URL.Query().Get("cursor") == "next" {
			page = api.ListSandboxesResponse{Items: []api.SandboxListItem{{ID: "c"}}}
		}
		_ = json.NewEncoder(w).Encode(page)
	})
	var ids []string
	for item, err := range c.List(t.Context(), Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, item.ID)
	}
	if !slices.Equal(ids, []string{"a", "b", "c"}) {
		t.Errorf("listed %v", ids)
	}
}

func TestDemux(t *testing.T) {
	log := "\x01\x01\x01one\x02\x02\x02two\x01\x01\x01\x01\x02three"
	want := "out:one err:two out:\x01\x02three"
	for size := 1; size <= len(log); size++ {
		var d demux
		var got strings.Builder
		last := false
		emit := func(c LogChunk) bool {
			if got.Len() == 0 || c.Stderr != last {
				if got.Len() > 0 {
					got.WriteByte(' ')
				}
				got.WriteString(map[bool]string{false: "out:", true: "err:"}[c.Stderr])
			}
			last = c.Stderr
			got.Write(c.Text)
			return true
		}
		for rest := log; rest != ""; {
			n := min(size, len(rest))
			d.feed([]byte(rest[:n]), emit)
			rest = rest[n:]
		}
		d.end(emit)
		if got.String() != want {
			t.Errorf("in pieces of %d: %q, want %q", size, got.String(), want)
		}
	}
}
