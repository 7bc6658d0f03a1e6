package daytona

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"daytona/api"
)

// TestRequests holds what calls send, where the examples of the package do not
// show it.
func TestRequests(t *testing.T) {
	for name, tt := range map[string]struct {
		call   func(ctx context.Context, s *Sandbox) error
		want   string // method, path and query
		body   string
		answer string
	}{
		"network": {func(ctx context.Context, s *Sandbox) error {
			err := s.SetNetwork(ctx, api.UpdateSandboxNetworkSettings{NetworkBlockAll: new(true)})
			if !s.Info().NetworkBlockAll {
				return errors.New("what is known of the sandbox is as before")
			}
			return err
		}, "POST /api/sandbox/box/network-settings", `{"networkBlockAll":true}`, `{"id":"box","networkBlockAll":true}`},
		"author": {func(ctx context.Context, s *Sandbox) error { return s.Git.SetUser(ctx, "", "Ann", "ann@example.org") },
			"POST /toolbox/box/git/config/user", `{"name":"Ann","email":"ann@example.org","scope":"global"}`, ""},
		"author of a repository": {func(ctx context.Context, s *Sandbox) error { return s.Git.SetUser(ctx, "repo", "Ann", "a@b.c") },
			"POST /toolbox/box/git/config/user", `{"name":"Ann","email":"a@b.c","path":"repo"}`, ""},
		"credentials": {func(ctx context.Context, s *Sandbox) error { return s.Git.StoreCredentials(ctx, "", "u", "p") },
			"POST /toolbox/box/git/credentials", `{"username":"u","password":"p"}`, ""},
		"tree": {func(ctx context.Context, s *Sandbox) error {
			root, more, err := s.Computer.Tree(ctx, NodeTree{All: true, Depth: 3})
			if len(root.Children) != 1 || root.Children[0].Bounds.Width != 5 || !more {
				return errors.New("read another tree")
			}
			return err
		}, "GET /toolbox/box/computeruse/a11y/tree?maxDepth=3&scope=all", "", `{"root":{"id":"r","children":[{"id":"a/b","bounds":{"width":5}}]},"truncated":true}`},
		"nodes": {func(ctx context.Context, s *Sandbox) error {
			found, _, err := s.Computer.FindNodes(ctx, NodeQuery{PID: 7, Role: "button", Match: "exact", Name: "OK"})
			if len(found) != 1 || found[0].Actions[0] != "click" {
				return errors.New("read other nodes")
			}
			return err
		}, "POST /toolbox/box/computeruse/a11y/find", `{"scope":"pid","pid":7,"role":"button","name":"OK","nameMatch":"exact"}`, `{"matches":[{"actions":["click"]}]}`},
		"focus": {func(ctx context.Context, s *Sandbox) error { return s.Computer.FocusNode(ctx, "a/b") },
			"POST /toolbox/box/computeruse/a11y/node/focus", `{"id":"a/b"}`, ""},
		"invoke": {func(ctx context.Context, s *Sandbox) error { return s.Computer.InvokeNode(ctx, "a/b", "click") },
			"POST /toolbox/box/computeruse/a11y/node/invoke", `{"id":"a/b","action":"click"}`, ""},
		"value": {func(ctx context.Context, s *Sandbox) error { return s.Computer.SetNodeValue(ctx, "a/b", "") },
			"POST /toolbox/box/computeruse/a11y/node/value", `{"id":"a/b","value":""}`, ""},
		"restart": {func(ctx context.Context, s *Sandbox) error { return s.Computer.RestartProcess(ctx, "novnc") },
			"POST /toolbox/box/computeruse/process/novnc/restart", "", ""},
		"runs": {func(ctx context.Context, s *Sandbox) error {
			on, err := s.Computer.ProcessRunning(ctx, "xvfb")
			if !on {
				return errors.New("does not run")
			}
			return err
		}, "GET /toolbox/box/computeruse/process/xvfb/status", "", `{"processName":"xvfb","running":true}`},
	} {
		t.Run(name, func(t *testing.T) {
			var got, body string
			c := testClient(t, func(w http.ResponseWriter, r *http.Request) {
				data, err := io.ReadAll(r.Body)
				if err != nil {
					t.Error(err)
				}
				got, body = r.Method+" "+r.URL.String(), string(data)
				w.Header().Set("Content-Type", "application/json")
				_, _ = io.WriteString(w, tt.answer)
			})
			s := c.sandbox(api.Sandbox{DocsEraSandbox: api.DocsEraSandbox{ID: "box"}, ToolboxProxyURL: strings.TrimSuffix(c.apiURL, "/api") + "/toolbox"})
			if err := tt.call(t.Context(), s); err != nil {
				t.Error(err)
			}
			if got != tt.want || !sameJSON(body, tt.body) {
				t.Errorf("%s %s, want %s %s", got, body, tt.want, tt.body)
			}
		})
	}
}

func sameJSON(a, b string) bool {
	if a == "" || b == "" {
		return a == b
	}
	var x, y map[string]any
	if json.Unmarshal([]byte(a), &x) != nil || json.Unmarshal([]byte(b), &y) != nil {
		return false
	}
	m, _ := json.Marshal(x)
	n, _ := json.Marshal(y)
	return string(m) == string(n)
}

func TestImageOfRequirements(t *testing.T) {
	file := filepath.Join(t.TempDir(), "requirements.txt")
	if err := os.WriteFile(file, []byte("numpy\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	text := ImageDebianSlim("3.13").PipInstallFrom(file).Dockerfile()
	for _, want := range []string{"FROM python:3.13-slim-bookworm\n", "/.requirements.txt\"]", "RUN python -m pip install -r /.requirements.txt"} {
		if !strings.Contains(text, want) {
			t.Errorf("%s is not in\n%s", want, text)
		}
	}
}
