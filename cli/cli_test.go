package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"daytona/api"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata")

// golden compares a text with a file.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s is stale (go test ./cli -update):\n%s", path, got)
	}
}

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// testApp writes into a buffer that is no terminal.
func testApp() (*App, *bytes.Buffer) {
	var out bytes.Buffer
	return &App{Out: &out, Err: &out, Env: func(string) (string, bool) { return "", false }, Now: func() time.Time { return noon }}, &out
}

func aSandbox() api.Sandbox {
	return api.Sandbox{Name: "box", DocsEraSandbox: api.DocsEraSandbox{ID: "id-1", OrganizationID: "org", Snapshot: new("slim"), User: "daytona",
		Env: map[string]string{"MixedCase": "1"}, Labels: map[string]string{"Team": "a", "on": "yes"}, Target: "us", CPU: 1, Memory: 1, Disk: 3,
		State: api.SandboxStarted, DesiredState: api.DesiredStarted, Volumes: []api.SandboxVolume{}, CreatedAt: api.At(noon), UpdatedAt: api.At(noon)}}
}

func TestForms(t *testing.T) {
	for _, tt := range []struct {
		file string
		show func(a *App) error
	}{
		{"sandbox.json", func(a *App) error { return a.show("json", aSandbox()) }},
		{"sandbox.yaml", func(a *App) error { return a.show("yaml", aSandbox()) }},
		{"snapshots.yaml", func(a *App) error {
			return a.show("yaml", []api.Snapshot{{DocsEraSnapshot: api.DocsEraSnapshot{ID: "s", Name: "slim", State: api.SnapshotActive, CreatedAt: api.At(noon)}}})
		}},
		{"list.txt", func(a *App) error {
			at := func(ago time.Duration) api.Time { return api.At(noon.Add(-ago)) }
			a.showSandboxes(api.ListSandboxesResponse{NextCursor: new("abc"), Items: []api.SandboxListItem{
				{ID: "stopped", Name: "s", State: api.SandboxStopped, Target: "us", CreatedAt: at(time.Hour), UpdatedAt: at(time.Hour)},
				{ID: "older", Name: "older", State: api.SandboxStarted, Target: "us", CreatedAt: at(72 * time.Hour), UpdatedAt: at(72 * time.Hour)},
				{ID: "newer", Name: "n", State: api.SandboxStarted, Target: "us", CreatedAt: at(time.Minute), UpdatedAt: at(time.Minute)},
				{ID: "failed", Name: "f", State: api.SandboxBuildFailed, Target: "us", CreatedAt: at(0), UpdatedAt: at(0)},
				{ID: "made", Name: "m", State: api.SandboxCreating, Target: "us", CreatedAt: at(0), UpdatedAt: at(0)},
			}})
			return nil
		}},
		{"usage.txt", func(a *App) error {
			a.usageTables(api.Organization{DocsEraOrganization: api.DocsEraOrganization{ID: "org-1", Name: "acme", Suspended: true}}, api.OrganizationUsageOverview{
				DocsEraUsageOverview: api.DocsEraUsageOverview{TotalSnapshotQuota: 100, CurrentSnapshotUsage: 2, TotalVolumeQuota: 100},
				RegionUsage: []api.RegionUsageOverview{
					{RegionID: "eu", TotalCPUQuota: 10, CurrentCPUUsage: 10, TotalMemoryQuota: 20, CurrentMemoryUsage: 5, TotalDiskQuota: 30, CurrentDiskUsage: 15,
						MaxCPUPerSandbox: new(4.0), MaxMemoryPerSandbox: new(8.0), MaxDiskPerSandbox: new(10.0)},
					{RegionID: "us", TotalCPUQuota: 1000, TotalMemoryQuota: 2000, TotalDiskQuota: 10000},
				},
			})
			return nil
		}},
		{"empty.txt", func(a *App) error { a.showSandboxes(api.ListSandboxesResponse{}); return nil }},
		{"info.txt", func(a *App) error { a.details("Sandbox Info", a.sandboxLines(aSandbox(), true)); return nil }},
	} {
		t.Run(tt.file, func(t *testing.T) {
			a, out := testApp()
			if err := tt.show(a); err != nil {
				t.Fatal(err)
			}
			golden(t, tt.file, out.String())
		})
	}
}

func TestPick(t *testing.T) {
	o := func(id, name string) api.Organization {
		return api.Organization{DocsEraOrganization: api.DocsEraOrganization{ID: id, Name: name}}
	}
	all := []api.Organization{o("1", "Personal"), o("2", "Personal"), o("3", "acme"), o("4", "1")}
	for _, c := range []struct {
		from         []api.Organization
		wanted, want string
	}{{all, "acme", "3"}, {all, "2", "2"}, {all, "1", "1"}, {all, "Personal", ""}, {all, "nobody", ""}, {all, "", ""}, {all[2:3], "", "3"}, {nil, "", ""}} {
		got, err := pick(c.from, c.wanted)
		if got.ID != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%q of %d: %q, %v; want %q", c.wanted, len(c.from), got.ID, err, c.want)
		}
	}
}

func TestCommandLine(t *testing.T) {
	for want, words := range map[string][]string{
		"ls | wc -l":                {"ls | wc -l"},
		"ls -la /tmp":               {"ls", "-la", "/tmp"},
		`python3 -c 'print("a b")'`: {"python3", "-c", `print("a b")`},
		`echo '$HOME' ''`:           {"echo", "$HOME", ""},
		`echo 'it'"'"'s'`:           {"echo", "it's"},
	} {
		if got := commandLine(words); got != want {
			t.Errorf("%q: %s, want %s", words, got, want)
		}
	}
}

func TestSplitRemote(t *testing.T) {
	for _, tt := range []struct {
		arg, box, path string
		ok             bool
	}{
		{"box:a/b", "box", "a/b", true}, {"box:", "box", ".", true}, {"box:/etc", "box", "/etc", true},
		{"./a:b", "", "", false}, {"dir/a:b", "", "", false}, {"file", "", "", false}, {":x", "", "", false},
	} {
		box, path, ok := splitRemote(tt.arg)
		if box != tt.box || path != tt.path || ok != tt.ok {
			t.Errorf("%s: %q %q %v", tt.arg, box, path, ok)
		}
	}
}

func TestImageNames(t *testing.T) {
	for name, want := range map[string]string{
		"debian:12.1": "", "localhost:5000/a/b:1": "", "a@sha256:00": "", "debian": "invalid image format", "localhost:5000/a": "invalid image format",
		"a:latest": "'latest' not allowed", "a:": "invalid image format",
	} {
		err := checkImageName(name)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAgo(t *testing.T) {
	for d, want := range map[time.Duration]string{0: "< 1 minute ago", time.Minute: "1 minute ago", 59 * time.Minute: "59 minutes ago",
		time.Hour: "1 hour ago", 23 * time.Hour: "23 hours ago", 24 * time.Hour: "1 day ago", 100 * time.Hour: "4 days ago"} {
		if got := ago(noon, noon.Add(-d)); got != want {
			t.Errorf("%v: %s", d, got)
		}
	}
	if got := ago(noon, time.Time{}); got != "/" {
		t.Errorf("never: %s", got)
	}
}

func TestAgentFilesKeepWhatIsInThem(t *testing.T) {
	for _, tt := range []struct{ name, old, want string }{
		{"nothing", "", `{"mcpServers":{"daytona-mcp":1}}`},
		{"order and numbers stay", `{"z": 1.50, "a": {"y": [1, 2], "x": "<&>"}}`, `{"z":1.50,"a":{"y":[1,2],"x":"<&>"},"mcpServers":{"daytona-mcp":1}}`},
		{"other servers stay", `{"mcpServers": {"b": {}, "a": {}}, "c": null}`, `{"mcpServers":{"b":{},"a":{},"daytona-mcp":1},"c":null}`},
		{"ours is replaced in its place", `{"mcpServers": {"daytona-mcp": {"old": true}, "a": {}}}`, `{"mcpServers":{"daytona-mcp":1,"a":{}}}`},
	} {
		got, err := addJSON([]byte(tt.old), "mcpServers", "daytona-mcp", 1)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		var flat bytes.Buffer
		if err := json.Compact(&flat, got); err != nil || flat.String() != tt.want {
			t.Errorf("%s: %s %v", tt.name, flat.String(), err)
		}
	}
	for _, broken := range []string{"{", "[]", "{} x", `{"mcpServers": []}`, "// c\n{}"} {
		if _, err := addJSON([]byte(broken), "mcpServers", "daytona-mcp", 1); err == nil {
			t.Errorf("%s: no error", broken)
		}
	}
	toml := "model = \"x\" # mine\n\n[mcp_servers.daytona-mcp]\ncommand = \"old\"\n[mcp_servers.daytona-mcp.env]\nA = \"1\"\n\n[other]\nb = [\n  1,\n]\n"
	if got, want := string(addTOML([]byte(toml), "[new]\n")), "model = \"x\" # mine\n\n[other]\nb = [\n  1,\n]\n\n[new]\n"; got != want {
		t.Errorf("TOML: %q", got)
	}
}

func FuzzAddJSON(f *testing.F) {
	f.Add(`{"a": {"b": [1, "x"]}, "mcpServers": {"x": 1}}`)
	f.Fuzz(func(t *testing.T, old string) {
		got, err := addJSON([]byte(old), "mcpServers", "daytona-mcp", 1)
		if err != nil {
			return
		}
		var before, after map[string]any
		if strings.TrimSpace(strings.TrimPrefix(old, "\ufeff")) != "" && json.Unmarshal([]byte(strings.TrimPrefix(old, "\ufeff")), &before) != nil {
			t.Skip()
		}
		if err := json.Unmarshal(got, &after); err != nil {
			t.Fatalf("%s became %s: %v", old, got, err)
		}
		for name := range before {
			if _, ok := after[name]; !ok {
				t.Fatalf("%s is lost in %s", name, got)
			}
		}
	})
}

func TestAccess(t *testing.T) {
	for _, tt := range []struct {
		name string
		env  map[string]string
		file string
		want access
		err  error
	}{
		{"nothing", nil, "", access{}, errNoProfiles},
		{"both in the environment", map[string]string{"DAYTONA_API_URL": "http://e/api", "DAYTONA_API_KEY": "k"}, `{"activeProfile":"p","profiles":[{"id":"p","api":{"url":"http://f/api","key":"f"}}]}`, access{url: "http://e/api", key: "k"}, nil},
		{"one in the environment", map[string]string{"DAYTONA_API_KEY": "k"}, `{"activeProfile":"p","profiles":[{"id":"p","api":{"url":"http://f/api","key":"f"}}]}`, access{url: "http://f/api", key: "f"}, nil},
		{"a token", nil, `{"activeProfile":"p","profiles":[{"id":"p","activeOrganizationId":"o","api":{"url":"u","token":{"accessToken":"t"}}}]}`, access{url: "u", token: "t", organization: "o"}, nil},
		{"no such profile", nil, `{"activeProfile":"q","profiles":[{"id":"p"}]}`, access{}, errNoProfile},
		{"logged out", nil, `{"activeProfile":"p","profiles":[{"id":"p"}]}`, access{}, errNoToken},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			if tt.file != "" {
				if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(tt.file), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			vars := maps.Clone(tt.env)
			if vars == nil {
				vars = map[string]string{}
			}
			vars["DAYTONA_CONFIG_DIR"] = dir
			a := &App{Env: func(name string) (string, bool) { v, ok := vars[name]; return v, ok }}
			got, err := a.access()
			if !errors.Is(err, tt.err) || err == nil && got != tt.want {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}
