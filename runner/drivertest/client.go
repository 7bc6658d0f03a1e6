package drivertest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"testing"
	"time"

	"daytona/runner"
)

// patience bounds everything that the suite waits for. Nothing depends on it
// being short.
const patience = 60 * time.Second

// client talks to the probe of one container.
type client struct {
	http *http.Client
}

func (s *suite) client(b runner.Bundle) client {
	return client{&http.Client{Timeout: patience, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return s.Dial(ctx, b, s.fx.Port(b))
		},
	}}}
}

// get asks the probe; args are pairs of names and values.
func (c client) get(path string, args ...string) ([]byte, error) {
	q := url.Values{}
	for i := 0; i+1 < len(args); i += 2 {
		q.Add(args[i], args[i+1])
	}
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://probe"+path+"?"+q.Encode(), nil)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("probe answered %s: %s", resp.Status, b)
	}
	return b, err
}

// answer is the probe's answer to most questions.
type answer struct {
	Text  string
	Error string
	Errno int
}

func (c client) ask(t testing.TB, path string, args ...string) answer {
	t.Helper()
	b, err := c.get(path, args...)
	if err != nil {
		t.Fatalf("%s %v: %v", path, args, err)
	}
	var a answer
	if err := json.Unmarshal(b, &a); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return a
}

// facts is what a container looks like from inside.
type facts struct {
	PID, UID, GID int
	Groups        []int
	Cwd, Hostname string
	Env, Args     []string
	Status        map[string]string
	Mountinfo     string
	Limits        string
	CPUs          int
}

func (c client) facts(t testing.TB) facts {
	t.Helper()
	b, err := c.get("/facts")
	if err != nil {
		t.Fatal(err)
	}
	var f facts
	if err := json.Unmarshal(b, &f); err != nil {
		t.Fatal(err)
	}
	return f
}

// ready waits until the probe answers.
func (s *suite) ready(t testing.TB, b runner.Bundle) client {
	t.Helper()
	c := s.client(b)
	eventually(t, "the probe answers", func() error {
		// A short time for each try: the first may meet a network that is
		// just being handed over to the container.
		short := client{&http.Client{Timeout: 2 * time.Second, Transport: c.http.Transport}}
		_, err := short.get("/ping")
		return err
	})
	return c
}

// eventually waits until f succeeds.
func eventually(t testing.TB, what string, f func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
