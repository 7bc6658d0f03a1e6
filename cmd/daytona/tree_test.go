//go:build linux

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"daytona/cli"
)

const treePath = "../../docs/cli.md"

func tree(t *testing.T) *cobra.Command {
	t.Helper()
	app, err := cli.New()
	if err != nil {
		t.Fatal(err)
	}
	return rootCommand(app)
}

// TestCommandsAreDocumented compares the reference with the tree of commands.
func TestCommandsAreDocumented(t *testing.T) {
	text, err := os.ReadFile(treePath)
	if err != nil {
		t.Fatal(err)
	}
	const begin = "<!-- commands: begin (generated: go test ./cmd/daytona -run Documented -update) -->\n"
	before, _, ok := strings.Cut(string(text), begin)
	if !ok {
		t.Fatalf("%s lacks the line at which commands begin", treePath)
	}
	var out bytes.Buffer
	cli.Markdown(&out, tree(t))
	want := before + begin + "\n" + strings.TrimRight(out.String(), "\n") + "\n"
	if want == string(text) {
		return
	}
	if !*update {
		t.Fatalf("%s is stale: run go test ./cmd/daytona -run Documented -update", treePath)
	}
	if err := os.WriteFile(treePath, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestHelpAsDocumented holds what --help prints, for every command of the tree. The
// options of "server" stand in docs/configuration.md, which has a test of its own.
func TestHelpAsDocumented(t *testing.T) {
	var all strings.Builder
	var visit func(c *cobra.Command)
	visit = func(c *cobra.Command) {
		app, err := cli.New()
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		app.Out, app.Err, app.Terminal = &out, &out, false
		root := rootCommand(app)
		root.SetArgs(append(strings.Fields(c.CommandPath())[1:], "--help"))
		if c.DisableFlagParsing || c.Name() == "help" {
			return
		}
		if code := app.Run(t.Context(), root); code != 0 {
			t.Errorf("%s --help: code %d", c.CommandPath(), code)
		}
		text := out.String()
		if c.Name() == "server" || c.Name() == "proxy" {
			text, _, _ = strings.Cut(text, "      env ")
		}
		all.WriteString("$ " + c.CommandPath() + " --help\n" + text + "\n")
		for _, child := range c.Commands() {
			visit(child)
		}
	}
	visit(tree(t))
	const path = "testdata/help.txt"
	want, err := os.ReadFile(path)
	if err == nil && string(want) == all.String() {
		return
	}
	if !*update {
		t.Fatalf("%s is stale (%v): run go test ./cmd/daytona -run Documented -update", path, err)
	}
	if err := os.WriteFile(path, []byte(all.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestEveryCommandExplainsItself: each has a line of help, flags with texts, and
// a man page.
func TestEveryCommandExplainsItself(t *testing.T) {
	root, dir := tree(t), t.TempDir()
	root.SetArgs([]string{"generate-docs", "--directory", dir})
	if err := root.ExecuteContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	var visit func(c *cobra.Command)
	visit = func(c *cobra.Command) {
		if c.Hidden {
			return
		}
		if c.Short == "" {
			t.Errorf("%s: no help", c.CommandPath())
		}
		if c.Name() != "help" {
			page := filepath.Join(dir, "man", strings.ReplaceAll(c.CommandPath(), " ", "-")+".1")
			if info, err := os.Stat(page); err != nil || info.Size() == 0 {
				t.Errorf("%s: no man page (%v)", c.CommandPath(), err)
			}
		}
		for _, child := range c.Commands() {
			visit(child)
		}
	}
	visit(root)
}

// TestDocumentedTree holds the tree of the published documentation: every
// command and flag that scripts may know.
func TestDocumentedTree(t *testing.T) {
	for path, flags := range map[string]string{
		"": "version", "autocomplete": "", "docs": "", "login": "api-key", "logout": "", "mcp": "", "mcp config": "", "mcp init": "", "mcp start": "",
		"organization create": "", "organization delete": "", "organization list": "format", "organization use": "",
		"sandbox create": "auto-archive auto-delete auto-stop class context cpu disk dockerfile env gpu label memory public snapshot target user volume name network-block-all network-allow-list",
		"sandbox delete": "all force", "sandbox info": "format verbose", "sandbox list": "format limit page verbose cursor",
		"sandbox start": "all", "sandbox stop": "all force", "sandbox archive": "", "sandbox exec": "cwd timeout", "sandbox ssh": "expires",
		"sandbox preview-url": "port expires", "snapshot create": "context cpu disk dockerfile entrypoint image memory", "snapshot delete": "all",
		"snapshot list": "format limit page", "snapshot push": "cpu disk entrypoint memory name", "version": "",
		"volume create": "size", "volume list": "format", "volume get": "format", "volume delete": "",
		"create": "snapshot", "list": "cursor", "info": "format", "start": "", "stop": "force", "delete": "all", "archive": "", "exec": "cwd", "ssh": "expires", "preview-url": "port",
		"server": "data", "down": "data", "admin key create": "name user expires", "admin key list": "format user", "admin key delete": "name user",
		"admin user create": "email name role", "admin user list": "format", "admin quota show": "format", "doctor": "data format", "runner": "",
	} {
		c, rest, err := tree(t).Find(strings.Fields(path))
		if err != nil || len(rest) > 0 {
			t.Errorf("daytona %s: not there (%v)", path, err)
			continue
		}
		for _, name := range strings.Fields(flags) {
			if c.Flags().Lookup(name) == nil {
				t.Errorf("daytona %s: no flag --%s", path, name)
			}
		}
	}
	for alias, path := range map[string]string{"sandboxes ls": "sandbox list", "orgs list": "organization list", "snapshots rm": "snapshot delete",
		"sandbox view": "sandbox info", "sandbox inspect": "sandbox info", "sandbox new": "sandbox create", "volumes add": "volume create", "documentation": "docs", "sandbox remove": "sandbox delete"} {
		a, _, err := tree(t).Find(strings.Fields(alias))
		if err != nil || a.CommandPath() != "daytona "+path {
			t.Errorf("%s is not %s (%v)", alias, path, err)
		}
	}
}
