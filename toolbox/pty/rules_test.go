package pty

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestExitOf(t *testing.T) {
	for code, want := range map[int]string{
		0: `{"exitCode":0}`, 2: `{"exitCode":2,"exitReason":"non-zero exit"}`, 128: `{"exitCode":128,"exitReason":"non-zero exit"}`,
		129: `{"exitCode":129,"exitReason":"signal 1"}`, 130: `{"exitCode":130,"exitReason":"Ctrl+C"}`,
		137: `{"exitCode":137,"exitReason":"SIGKILL"}`, 139: `{"exitCode":139,"exitReason":"signal 11"}`,
		143: `{"exitCode":143,"exitReason":"SIGTERM"}`, -1: `{"exitCode":-1,"exitReason":"non-zero exit"}`,
	} {
		f := exitOf(code).farewell(false)
		if f.reason != want || (f.status == 1000) != (code == 0) || f.status != 1000 && f.status != 1011 {
			t.Errorf("%d: %+v, want %s", code, f, want)
		}
	}
}

// A reason that does not fit into a close frame is left out: the message before
// it has said it already.
func TestLongRefusal(t *testing.T) {
	f := refusal(strings.Repeat("long ", 40))
	b, err := json.Marshal(f.control)
	if err != nil || f.reason != "" || !strings.Contains(string(b), "long long") {
		t.Errorf("%+v %s %v", f, b, err)
	}
	if f := refusal("short"); f.reason != `{"error":"short"}` {
		t.Errorf("%+v", f)
	}
}

func FuzzParseEnvs(f *testing.F) {
	for _, seed := range []string{`{"A":"1"}`, `{}`, `[]`, `{"A":1}`, `null`, ``, `{"A":"é☃"}`} {
		f.Add(base64.RawURLEncoding.EncodeToString([]byte(seed)))
		f.Add(base64.URLEncoding.EncodeToString([]byte(seed)))
	}
	f.Add("***")
	f.Fuzz(func(t *testing.T, text string) {
		envs, err := parseEnvs(text)
		if err != nil {
			return
		}
		b, err := json.Marshal(envs)
		if err != nil {
			t.Fatal(err)
		}
		again, err := parseEnvs(base64.RawURLEncoding.EncodeToString(b))
		if err != nil || !maps.Equal(envs, again) {
			t.Errorf("%q: %v, then %v %v", text, envs, again, err)
		}
	})
}

func FuzzRequest(f *testing.F) {
	f.Add("id=a&cols=80&rows=24&cwd=/tmp", "")
	f.Add("id=%00", "e30")
	f.Add("cols=-1", "=")
	f.Fuzz(func(t *testing.T, query, envs string) {
		values, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		r, err := parseQuery(values, envs)
		if err != nil {
			return
		}
		if checkID(r.ID) != nil {
			return
		}
		// What was taken is one segment of a path, and comes back from one.
		back, err := url.PathUnescape(url.PathEscape(r.ID))
		if err != nil || back != r.ID || !utf8.ValidString(r.ID) || strings.Contains(r.ID, "/") {
			t.Errorf("id %q", r.ID)
		}
	})
}

// The rules by which clients are judged while a program waits.
func TestJudge(t *testing.T) {
	const backlog, stall, lag = 100, 10 * time.Second, 2 * time.Second
	for name, test := range map[string]struct {
		pending  []int           // of each client
		waits    []time.Duration // one after the other
		progress bool            // each client takes something between the waits
		waiting  bool            // at the end
		left     int
	}{
		"room":                     {[]int{100, 0}, []time.Duration{time.Hour}, false, false, 2},
		"alone, for a while":       {[]int{101}, []time.Duration{9 * time.Second}, false, true, 1},
		"alone, too long":          {[]int{101}, []time.Duration{9 * time.Second, 2 * time.Second}, false, false, 0},
		"alone, slow but steady":   {[]int{1000}, []time.Duration{9 * time.Second, 9 * time.Second, 9 * time.Second}, true, true, 1},
		"in company, for a moment": {[]int{101, 0}, []time.Duration{time.Second}, false, true, 2},
		"in company, too slow":     {[]int{1000, 0}, []time.Duration{time.Second, time.Second, time.Second}, true, false, 1},
		"all are slow":             {[]int{1000, 1000}, []time.Duration{3 * time.Second, 3 * time.Second}, true, true, 2},
		"all have hung":            {[]int{1000, 1000}, []time.Duration{11 * time.Second}, false, false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := &session{
				service: New(Config{Backlog: backlog, Stall: stall, Lag: lag}),
				room:    make(chan struct{}, 1), clients: map[*client]struct{}{},
			}
			for _, pending := range test.pending {
				c := &client{pending: pending, wake: make(chan struct{}, 1), queue: [][]byte{make([]byte, pending)}}
				s.clients[c] = struct{}{}
			}
			all := maps.Clone(s.clients)
			waiting := false
			for _, wait := range test.waits {
				waiting = s.judge(wait)
				for c := range s.clients {
					if test.progress {
						s.sent(c, nil)
					}
				}
			}
			if waiting != test.waiting || len(s.clients) != test.left {
				t.Errorf("waiting %v, %d left; want %v, %d", waiting, len(s.clients), test.waiting, test.left)
			}
			for c := range all {
				if _, stays := s.clients[c]; !stays && (c.leave == nil || *c.leave != slowConsumer || c.queue != nil) {
					t.Errorf("dismissed with %+v and %d pieces", c.leave, len(c.queue))
				}
			}
		})
	}
}
