package cli

import (
	"fmt"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"
)

// place is whose configuration is written, on which system.
type place struct{ system, home, appData string }

// path joins names as the system does on which the agent runs.
func (p place) path(parts ...string) string {
	if p.system == "windows" {
		return strings.Join(parts, `\`)
	}
	return path.Join(parts...)
}

func thisPlace(getenv func(string) string) (place, error) {
	p := place{system: runtime.GOOS, appData: getenv("APPDATA")}
	if !slices.Contains([]string{"linux", "darwin", "windows"}, p.system) {
		return p, fmt.Errorf("unsupported OS: %s", p.system)
	}
	var err error
	if p.home, err = os.UserHomeDir(); err != nil {
		return p, err
	}
	return p, nil
}

// logFile is where our server's log goes unless the agent has a place for it.
func (p place) logFile() string {
	if p.system == "windows" {
		return p.path(p.appData, ".daytona", "daytona-mcp.log")
	}
	return p.path(p.home, ".daytona", "daytona-mcp.log")
}

// entry is how an agent starts our server.
func (p place) entry(logFile string) map[string]any {
	env := map[string]any{
		"HOME": p.home,
		"PATH": p.home + ":/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin:/opt/homebrew/bin",
	}
	if p.system == "windows" {
		env["APPDATA"] = p.appData
	}
	entry := map[string]any{"command": "daytona", "args": []string{"mcp", "start"}, "env": env}
	if logFile != "" {
		entry["logFile"] = logFile
	}
	return entry
}

// agent is a program that starts MCP servers.
type agent struct {
	name   string
	member string // of its file, in which servers stand
	file   func(place) string
	log    func(place) string // "" for agents that keep logs themselves
	kind   string             // value of "type", if the agent wants one
	codex  bool               // its file is TOML
}

func noLog(place) string { return "" }

// logOf is the log file of the agents of the first days.
func logOf(name string) func(place) string {
	return func(p place) string {
		switch p.system {
		case "darwin":
			return p.path(p.home, "Library", "Logs", name, "daytona-mcp-server.log")
		case "windows":
			return p.appData + "/" + name + "/Logs/daytona-mcp-server.log"
		}
		return "var/log/" + name + "/daytona-mcp-server.log"
	}
}

// under is a path below the home directory, on Windows below AppData.
func under(parts ...string) func(place) string {
	return func(p place) string {
		base := p.home
		if p.system == "windows" {
			base = p.appData
		}
		return p.path(append([]string{base}, parts...)...)
	}
}

func home(parts ...string) func(place) string {
	return func(p place) string { return p.path(append([]string{p.home}, parts...)...) }
}

func agents() []agent {
	return []agent{
		{name: "claude", member: "mcpServers", log: logOf("Claude"), file: func(p place) string {
			switch p.system {
			case "darwin":
				return p.path(p.home, "Library", "Application Support", "Claude", "claude_desktop_config.json")
			case "windows":
				return p.path(p.appData, "Claude", "claude_desktop_config.json")
			}
			return p.path(p.home, ".config", "Claude", "claude_desktop_config.json")
		}},
		{name: "windsurf", member: "mcpServers", log: logOf("Windsurf"), file: under(".codeium", "windsurf", "mcp_config.json")},
		{name: "cursor", member: "mcpServers", log: logOf("Cursor"), file: under(".cursor", "mcp.json")},
		{name: "claude-code", member: "mcpServers", log: noLog, kind: "stdio", file: home(".claude.json")},
		{name: "vscode", member: "servers", log: noLog, kind: "stdio", file: func(p place) string {
			switch p.system {
			case "darwin":
				return p.path(p.home, "Library", "Application Support", "Code", "User", "mcp.json")
			case "windows":
				return p.path(p.appData, "Code", "User", "mcp.json")
			}
			return p.path(p.home, ".config", "Code", "User", "mcp.json")
		}},
		{name: "codex", codex: true, log: noLog, file: home(".codex", "config.toml")},
	}
}

func agentNames() []string {
	var names []string
	for _, agent := range agents() {
		names = append(names, agent.name)
	}
	return names
}

func findAgent(name string) (agent, error) {
	for _, agent := range agents() {
		if agent.name == strings.ToLower(name) {
			return agent, nil
		}
	}
	return agent{}, fmt.Errorf("agent name %s is not supported (these are: %s)", name, strings.Join(agentNames(), ", "))
}

// shape is the entry as this agent wants it.
func (g agent) shape(entry map[string]any) map[string]any {
	if g.kind != "" {
		entry["type"] = g.kind
	}
	return entry
}
