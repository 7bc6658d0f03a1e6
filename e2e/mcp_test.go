//go:build root

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// mcpKit installs the official clients of the Model Context Protocol.
func mcpKit(t *testing.T) (node, dir, python string) {
	t.Helper()
	installing.Lock()
	defer installing.Unlock()
	node, npm := findNode(t)
	src, dir := filepath.Join(repo, "e2e", "mcp"), filepath.Join(cache, "mcp")
	pinned := []string{filepath.Join(src, "package.json"), filepath.Join(src, "package-lock.json"), filepath.Join(src, "requirements.txt")}
	install(t, dir, pinned, func() error {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		for _, file := range pinned[:2] {
			if err := copyFile(file, filepath.Join(dir, filepath.Base(file))); err != nil {
				return err
			}
		}
		if err := command(dir, npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"); err != nil {
			return err
		}
		if err := command("", "python3", "-m", "venv", filepath.Join(dir, "py")); err != nil {
			return err
		}
		return command("", filepath.Join(dir, "py", "bin", "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check", "-r", pinned[2])
	})
	if err := copyFile(filepath.Join(src, "client.mjs"), filepath.Join(dir, "client.mjs")); err != nil {
		t.Fatal(err)
	}
	return node, dir, filepath.Join(dir, "py", "bin", "python")
}

// TestMCP has the official clients work in sandboxes, on standard input and
// output and by HTTP.
func TestMCP(t *testing.T) {
	node, dir, python := mcpKit(t)
	program := filepath.Join(repo, "bin", "daytona")
	over := map[string][]string{"stdio": {"stdio", program}, "http": {"http", strings.TrimSuffix(shared.api.url, "/api") + "/mcp"}}
	env := append(os.Environ(), "DAYTONA_API_URL="+shared.api.url, "DAYTONA_API_KEY="+shared.api.key)
	for name, args := range over {
		for _, client := range [][]string{{node, filepath.Join(dir, "client.mjs")}, {python, filepath.Join(repo, "e2e", "mcp", "client.py")}} {
			t.Run(name+"/"+filepath.Base(client[1]), func(t *testing.T) {
				cmd := exec.CommandContext(t.Context(), client[0], append(client[1:], args...)...)
				cmd.Dir, cmd.Env = dir, env
				if out, err := cmd.CombinedOutput(); err != nil || !strings.HasSuffix(strings.TrimSpace(string(out)), "ok") {
					t.Errorf("%v\n%s", err, out)
				}
			})
		}
	}
	t.Run("inspector", func(t *testing.T) {
		inspector := filepath.Join(dir, "node_modules", ".bin", "mcp-inspector")
		list := exec.CommandContext(t.Context(), inspector, "--cli", program, "mcp", "start", "--method", "tools/list")
		list.Dir, list.Env = dir, env
		out, err := list.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		for _, tool := range []string{"create_sandbox", "destroy_sandbox", "file_upload", "file_download", "get_file_info", "list_files",
			"move_file", "delete_file", "create_folder", "execute_command", "preview_link", "git_clone"} {
			if !strings.Contains(string(out), `"name": "`+tool+`"`) {
				t.Errorf("%s is not listed", tool)
			}
		}
	})
	t.Run("an unknown key gets nothing", func(t *testing.T) {
		for _, key := range []string{"", "dtn_" + strings.Repeat("0", 64)} {
			c := &client{url: strings.TrimSuffix(shared.api.url, "/api"), key: key}
			err := c.do(t.Context(), "POST", "/mcp", map[string]any{"jsonrpc": "2.0", "id": 1, "method": "tools/list"}, nil)
			if status(err) != 401 {
				t.Errorf("key %q: %v", key, err)
			}
		}
	})
}
