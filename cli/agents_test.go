package cli

import "testing"

// TestAgentFiles holds where each agent keeps its settings, and where it wants
// our server's log, on each system.
func TestAgentFiles(t *testing.T) {
	linux := place{system: "linux", home: "/home/ann"}
	mac := place{system: "darwin", home: "/Users/ann"}
	windows := place{system: "windows", home: `C:\Users\ann`, appData: `C:\Users\ann\AppData\Roaming`}
	for _, tt := range []struct {
		agent     string
		place     place
		file, log string
	}{
		{"claude", linux, "/home/ann/.config/Claude/claude_desktop_config.json", "var/log/Claude/daytona-mcp-server.log"},
		{"claude", mac, "/Users/ann/Library/Application Support/Claude/claude_desktop_config.json", "/Users/ann/Library/Logs/Claude/daytona-mcp-server.log"},
		{"claude", windows, `C:\Users\ann\AppData\Roaming\Claude\claude_desktop_config.json`, `C:\Users\ann\AppData\Roaming/Claude/Logs/daytona-mcp-server.log`},
		{"cursor", linux, "/home/ann/.cursor/mcp.json", "var/log/Cursor/daytona-mcp-server.log"},
		{"cursor", mac, "/Users/ann/.cursor/mcp.json", "/Users/ann/Library/Logs/Cursor/daytona-mcp-server.log"},
		{"cursor", windows, `C:\Users\ann\AppData\Roaming\.cursor\mcp.json`, `C:\Users\ann\AppData\Roaming/Cursor/Logs/daytona-mcp-server.log`},
		{"windsurf", linux, "/home/ann/.codeium/windsurf/mcp_config.json", "var/log/Windsurf/daytona-mcp-server.log"},
		{"windsurf", mac, "/Users/ann/.codeium/windsurf/mcp_config.json", "/Users/ann/Library/Logs/Windsurf/daytona-mcp-server.log"},
		{"windsurf", windows, `C:\Users\ann\AppData\Roaming\.codeium\windsurf\mcp_config.json`, `C:\Users\ann\AppData\Roaming/Windsurf/Logs/daytona-mcp-server.log`},
		{"claude-code", linux, "/home/ann/.claude.json", ""},
		{"claude-code", mac, "/Users/ann/.claude.json", ""},
		{"claude-code", windows, `C:\Users\ann\.claude.json`, ""},
		{"vscode", linux, "/home/ann/.config/Code/User/mcp.json", ""},
		{"vscode", mac, "/Users/ann/Library/Application Support/Code/User/mcp.json", ""},
		{"vscode", windows, `C:\Users\ann\AppData\Roaming\Code\User\mcp.json`, ""},
		{"codex", linux, "/home/ann/.codex/config.toml", ""},
		{"codex", mac, "/Users/ann/.codex/config.toml", ""},
		{"codex", windows, `C:\Users\ann\.codex\config.toml`, ""},
	} {
		agent, err := findAgent(tt.agent)
		if err != nil {
			t.Fatal(err)
		}
		if file, log := agent.file(tt.place), agent.log(tt.place); file != tt.file || log != tt.log {
			t.Errorf("%s on %s: %s, %s", tt.agent, tt.place.system, file, log)
		}
		entry := tt.place.entry(tt.log)
		if _, ok := entry["logFile"]; ok != (tt.log != "") {
			t.Errorf("%s on %s: log file of %v", tt.agent, tt.place.system, entry)
		}
		if app := entry["env"].(map[string]any)["APPDATA"]; (app == tt.place.appData) != (tt.place.system == "windows") {
			t.Errorf("%s on %s: APPDATA is %v", tt.agent, tt.place.system, app)
		}
	}
	if got := linux.logFile(); got != "/home/ann/.daytona/daytona-mcp.log" {
		t.Error(got)
	}
	if got := windows.logFile(); got != `C:\Users\ann\AppData\Roaming\.daytona\daytona-mcp.log` {
		t.Error(got)
	}
}

func TestKnownHosts(t *testing.T) {
	for _, tt := range []struct {
		host string
		port int
		want string
	}{
		{"box.example.com", 22, "box.example.com ssh-ed25519 AAAA\n"},
		{"127.0.0.1", 2222, "[127.0.0.1]:2222 ssh-ed25519 AAAA\n"},
	} {
		if got := knownHosts(tt.host, tt.port, []string{"ssh-ed25519 AAAA"}); got != tt.want {
			t.Errorf("%s %d: %q", tt.host, tt.port, got)
		}
	}
}
