package cli

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/spf13/cobra"

	"daytona/internal/atomicfile"
	"daytona/internal/version"
	"daytona/mcp"
)

func (a *App) mcp() *cobra.Command {
	cmd := &cobra.Command{
		Use: "mcp", Short: "Manage Daytona MCP Server",
		Long: "Manage Daytona MCP Server, by which AI agents work in sandboxes",
		Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	start := &cobra.Command{
		Use: "start", Short: "Start Daytona MCP Server",
		Long: "Start Daytona MCP Server: it speaks JSON-RPC on standard input and output, and writes its log to standard error.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := a.clientAs("daytona-mcp")
			if err != nil {
				return err
			}
			log := slog.New(slog.NewTextHandler(a.Err, &slog.HandlerOptions{Level: slog.LevelWarn}))
			server := mcp.New(mcp.Config{Client: client, Version: version.Version, Keep: strings.ToLower(rand.Text()[:12]), Log: log})
			err = server.Run(cmd.Context(), &sdk.StdioTransport{})
			if errors.Is(err, context.Canceled) || errors.Is(err, io.EOF) {
				return nil // the agent has ended
			}
			return err
		},
	}
	config := &cobra.Command{
		Use: "config [AGENT_NAME]", Short: "Outputs JSON configuration for Daytona MCP Server",
		Long: "Outputs JSON configuration for Daytona MCP Server, to be put among the servers of an agent.",
		Args: cobra.MaximumNArgs(1), ValidArgs: agentNames(),
		RunE: func(_ *cobra.Command, args []string) error {
			place, err := thisPlace(a.getenv)
			if err != nil {
				return err
			}
			logFile := filepath.Join(place.home, ".daytona", "daytona-mcp.log")
			if place.system == "windows" {
				logFile = place.appData + `\.daytona\daytona-mcp.log`
			}
			entry := place.entry(logFile)
			if len(args) == 1 {
				agent, err := findAgent(args[0])
				if err != nil {
					return err
				}
				if agent.codex {
					_, err = io.WriteString(a.Out, codexEntry(entry))
					return err
				}
				entry = place.entry(agent.log(place))
				return printJSON(a.Out, map[string]any{agent.member: map[string]any{serverName: agent.shape(entry)}})
			}
			return printJSON(a.Out, map[string]any{serverName: entry})
		},
	}
	initialize := &cobra.Command{
		Use: "init [AGENT_NAME]", Short: "Initialize Daytona MCP Server with an agent (currently supported: " + strings.Join(agentNames(), ", ") + ")",
		Long: "Initialize Daytona MCP Server with an agent: adds the server to the agent's own configuration file. Everything else in it stays.",
		Args: cobra.ArbitraryArgs, ValidArgs: agentNames(),
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage("agent name is required")
			}
			agent, err := findAgent(args[0])
			if err != nil {
				return err
			}
			place, err := thisPlace(a.getenv)
			if err != nil {
				return err
			}
			path, err := agent.install(place)
			if err != nil {
				return err
			}
			a.say("Daytona MCP Server has been added to %s. Restart the agent to use it", path)
			return nil
		},
	}
	cmd.AddCommand(config, initialize, start)
	return cmd
}

// serverName is the name of our server among those of an agent.
const serverName = "daytona-mcp"

// place is whose configuration is written, on which system.
type place struct{ system, home, appData, work string }

func thisPlace(getenv func(string) string) (place, error) {
	p := place{system: runtime.GOOS, appData: getenv("APPDATA")}
	if !slices.Contains([]string{"linux", "darwin", "windows"}, p.system) {
		return p, fmt.Errorf("unsupported OS: %s", p.system)
	}
	var err error
	if p.home, err = os.UserHomeDir(); err != nil {
		return p, err
	}
	p.work, err = os.Getwd()
	return p, err
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
			return filepath.Join(p.home, "Library", "Logs", name, "daytona-mcp-server.log")
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
		return filepath.Join(append([]string{base}, parts...)...)
	}
}

func home(parts ...string) func(place) string {
	return func(p place) string { return filepath.Join(append([]string{p.home}, parts...)...) }
}

func agents() []agent {
	return []agent{
		{name: "claude", member: "mcpServers", log: logOf("Claude"), file: func(p place) string {
			switch p.system {
			case "darwin":
				return filepath.Join(p.home, "Library", "Application Support", "Claude", "claude_desktop_config.json")
			case "windows":
				return filepath.Join(p.appData, "Claude", "claude_desktop_config.json")
			}
			return filepath.Join(p.home, ".config", "Claude", "claude_desktop_config.json")
		}},
		{name: "windsurf", member: "mcpServers", log: logOf("Windsurf"), file: under(".codeium", "windsurf", "mcp_config.json")},
		{name: "cursor", member: "mcpServers", log: logOf("Cursor"), file: under(".cursor", "mcp.json")},
		{name: "claude-code", member: "mcpServers", log: noLog, kind: "stdio", file: home(".claude.json")},
		{name: "vscode", member: "servers", log: noLog, kind: "stdio", file: func(p place) string {
			switch p.system {
			case "darwin":
				return filepath.Join(p.home, "Library", "Application Support", "Code", "User", "mcp.json")
			case "windows":
				return filepath.Join(p.appData, "Code", "User", "mcp.json")
			}
			return filepath.Join(p.home, ".config", "Code", "User", "mcp.json")
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

// install adds our server to the agent's file and returns its path. The file
// is replaced at once, with everything else that is in it as it was.
func (g agent) install(p place) (string, error) {
	path := g.file(p)
	if _, err := os.Stat(filepath.Dir(path)); err != nil {
		return path, fmt.Errorf("%s is not set up here: there is no %s. Start the agent once, then try again", g.name, filepath.Dir(path))
	}
	// A link stays one: what it leads to is written.
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return path, err
	}
	mode := fs.FileMode(0o600)
	if info, err := os.Stat(path); err == nil {
		mode = info.Mode().Perm()
	}
	var text []byte
	if g.codex {
		text = addTOML(old, codexEntry(p.entry("")))
	} else if text, err = addJSON(old, g.member, serverName, g.shape(p.entry(g.log(p)))); err != nil {
		return path, fmt.Errorf("%s: %w. Nothing was changed; mend the file, or put in by hand what `daytona mcp config %s` prints", path, err, g.name)
	}
	return path, atomicfile.WriteFile(path, text, mode)
}

// member is a member of a JSON object, in its place.
type member struct {
	name  string
	value json.RawMessage
}

// addJSON puts an entry below a member of a JSON object. Everything else keeps
// its order and its value.
func addJSON(old []byte, below, name string, entry any) ([]byte, error) {
	top, err := members(bytes.TrimPrefix(old, []byte("\ufeff")))
	if err != nil {
		return nil, err
	}
	value, err := json.Marshal(entry)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(top, func(m member) bool { return m.name == below })
	if i < 0 {
		top, i = append(top, member{below, json.RawMessage("{}")}), len(top)
	}
	servers, err := members(top[i].value)
	if err != nil {
		return nil, fmt.Errorf("its member %q: %w", below, err)
	}
	if at := slices.IndexFunc(servers, func(m member) bool { return m.name == name }); at >= 0 {
		servers[at].value = value
	} else {
		servers = append(servers, member{name, value})
	}
	top[i].value = object(servers)
	var out bytes.Buffer
	if err := json.Indent(&out, object(top), "", "    "); err != nil {
		return nil, err
	}
	out.WriteByte('\n')
	return out.Bytes(), nil
}

// members reads a JSON object. Nothing at all, and null, are an empty one.
func members(text []byte) ([]member, error) {
	text = bytes.TrimSpace(text)
	if len(text) == 0 || bytes.Equal(text, []byte("null")) {
		return nil, nil
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	start, err := dec.Token()
	if err != nil {
		return nil, fmt.Errorf("it is not JSON: %w", err)
	}
	if start != json.Delim('{') {
		return nil, errors.New("it is not a JSON object")
	}
	var all []member
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return nil, fmt.Errorf("it is not JSON: %w", err)
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, fmt.Errorf("it is not JSON: %w", err)
		}
		all = append(all, member{name.(string), value})
	}
	if _, err := dec.Token(); err != nil {
		return nil, fmt.Errorf("it is not JSON: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is more after its end")
	}
	return all, nil
}

func object(list []member) json.RawMessage {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, m := range list {
		if i > 0 {
			b.WriteByte(',')
		}
		name, _ := json.Marshal(m.name)
		b.Write(name)
		b.WriteByte(':')
		b.Write(m.value)
	}
	b.WriteByte('}')
	return b.Bytes()
}

// codexEntry is our server in TOML.
func codexEntry(entry map[string]any) string {
	env := entry["env"].(map[string]any)
	var b strings.Builder
	fmt.Fprintf(&b, "[mcp_servers.%s]\ncommand = \"daytona\"\nargs = [\"mcp\", \"start\"]\n\n[mcp_servers.%s.env]\n", serverName, serverName)
	for _, name := range []string{"HOME", "PATH", "APPDATA"} {
		if value, ok := env[name].(string); ok {
			quoted, _ := json.Marshal(value) // a basic string of TOML takes JSON's escapes
			fmt.Fprintf(&b, "%s = %s\n", name, quoted)
		}
	}
	return b.String()
}

// addTOML takes our own tables out of a file, line by line, and puts the new
// ones at its end. All other lines stay as they are.
func addTOML(old []byte, entry string) []byte {
	var kept []string
	ours := false
	for _, line := range strings.Split(strings.TrimRight(string(old), "\n"), "\n") {
		if header := strings.TrimSpace(line); strings.HasPrefix(header, "[") {
			name := strings.ReplaceAll(strings.Trim(strings.TrimSpace(strings.SplitN(header, "#", 2)[0]), "[] "), `"`, "")
			ours = name == "mcp_servers."+serverName || strings.HasPrefix(name, "mcp_servers."+serverName+".")
		}
		if !ours {
			kept = append(kept, line)
		}
	}
	text := strings.TrimRight(strings.Join(kept, "\n"), "\n")
	if text != "" {
		text += "\n\n"
	}
	return []byte(text + entry)
}

func printJSON(w io.Writer, value any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(value)
}
