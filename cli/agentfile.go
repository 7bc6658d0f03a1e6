package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"daytona/internal/atomicfile"
)

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
