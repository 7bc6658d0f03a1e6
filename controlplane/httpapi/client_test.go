package httpapi

import (
	"net/http"
	"net/url"
	"testing"

	"daytona/api"
)

func TestClientOf(t *testing.T) {
	for _, tt := range []struct {
		name, source, agent, version string
		want                         client
	}{
		{"browser, curl", "", "curl/8", "", client{}},
		{"first TypeScript", "typescript-sdk", "axios/1.7", "0.27.1", client{oldEnums: true, loops: true}},
		{"first Python", "python-sdk", "OpenAPI-Generator/1.0.0/python", "0.27.0", client{oldEnums: true, noPlainHTTP: true}},
		{"first CLI", "cli", "OpenAPI-Generator/1.0.0/go", "", client{strict: true, oldEnums: true}},
		{"first MCP server", "daytona-mcp", "OpenAPI-Generator/1.0.0/go", "", client{strict: true, oldEnums: true}},
		{"new CLI", "cli", "api-client-go/0.190.0", "", client{sdk: true}},
		{"new MCP server", "daytona-mcp", "api-client-go/0.190.0", "", client{sdk: true}},
		{"new TypeScript", "sdk-typescript", "sdk-typescript/0.218.0", "0.218.0", client{sdk: true}},
		{"legacy package", "sdk-typescript-legacy", "sdk-typescript-legacy/0.218.0", "0.218.0", client{sdk: true}},
		{"new Python", "sdk-python-async", "sdk-python-async/0.190.0", "0.190.0", client{sdk: true, noPlainHTTP: true}},
		{"middle era", "sdk-python", "x", "0.169.9", client{sdk: true, oldEnums: true, noPlainHTTP: true}},
		{"tolerant since", "sdk-python", "x", "0.170.0", client{sdk: true, noPlainHTTP: true}},
		{"unknown version", "sdk-python", "x", "unknown", client{sdk: true, noPlainHTTP: true}},
		{"far future", "sdk-go", "x", "v2.0.0", client{sdk: true}},
	} {
		h := http.Header{}
		h.Set("X-Daytona-Source", tt.source)
		h.Set("User-Agent", tt.agent)
		h.Set("X-Daytona-SDK-Version", tt.version)
		if got := clientOf(h); got != tt.want {
			t.Errorf("%s: %+v, want %+v", tt.name, got, tt.want)
		}
	}
}

func TestWantsCursorList(t *testing.T) {
	old, sdk, strict := client{}, client{sdk: true}, client{strict: true, sdk: true}
	for _, tt := range []struct {
		c     client
		query string
		want  bool
	}{
		{old, "", false}, {old, "labels=null", false}, {old, "labels={}&verbose=1&includeErroredDeleted=true", false},
		{old, "limit=10", true}, {old, "labels={}&cursor=x", true}, {old, "anything=1", true},
		{sdk, "", true}, {sdk, "labels={}", true}, {strict, "", false}, {strict, "limit=1", false},
	} {
		query, err := url.ParseQuery(tt.query)
		if err != nil {
			t.Fatal(err)
		}
		if got := wantsCursorList(tt.c, query); got != tt.want {
			t.Errorf("%+v %q: %v", tt.c, tt.query, got)
		}
	}
}

// TestOldEnums: an old client never sees a state that it does not know.
func TestOldEnums(t *testing.T) {
	known := map[api.SandboxState]bool{}
	for _, s := range api.SandboxStates()[:16] {
		known[s] = true
	}
	old := client{oldEnums: true}
	for _, s := range api.SandboxStates() {
		for _, d := range []api.SandboxDesiredState{api.DesiredStarted, api.DesiredStopped, api.DesiredPaused} {
			got := old.sandboxState(s, d)
			if !known[got] || known[s] && got != s {
				t.Errorf("%s (desired %s) is shown as %s", s, d, got)
			}
			if same := (client{}).sandboxState(s, d); same != s {
				t.Errorf("a new client sees %s as %s", s, same)
			}
		}
	}
	if got := old.sandboxState(api.SandboxResizing, api.DesiredStopped); got != api.SandboxStopped {
		t.Errorf("resizing while stopped is shown as %s", got)
	}
	if got := old.snapshotState(api.SnapshotSnapshotting); got != api.SnapshotPending {
		t.Errorf("snapshotting is shown as %s", got)
	}
	if got := old.desiredState(api.DesiredPaused); got != api.DesiredStopped {
		t.Errorf("desired paused is shown as %s", got)
	}
}

func TestSplitToolbox(t *testing.T) {
	for _, tt := range []struct {
		path, prefix, middle, id, rest string
		ok                             bool
	}{
		{"/toolbox/a/b/c", "/toolbox/", "", "a", "/b/c", true},
		{"/toolbox/a", "/toolbox/", "", "a", "/", true},
		{"/toolbox/", "/toolbox/", "", "", "", false},
		{"/api/toolbox/a/toolbox/b", "/api/toolbox/", "/toolbox", "a", "/b", true},
		{"/api/toolbox/a/toolbox", "/api/toolbox/", "/toolbox", "a", "/", true},
		{"/api/toolbox/a/toolboxes", "/api/toolbox/", "/toolbox", "", "", false},
		{"/api/toolbox/a/b", "/api/toolbox/", "/toolbox", "", "", false},
		{"/other", "/toolbox/", "", "", "", false},
	} {
		id, rest, ok := splitToolbox(tt.path, tt.prefix, tt.middle)
		if ok != tt.ok || ok && (id != tt.id || rest != tt.rest) {
			t.Errorf("%s: %q %q %v", tt.path, id, rest, ok)
		}
	}
}
