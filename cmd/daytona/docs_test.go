//go:build linux

package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the generated part of docs/configuration.md")

const (
	docsPath  = "../../docs/configuration.md"
	docsBegin = "<!-- options: begin (generated: go test ./cmd/daytona -run Documented -update) -->\n"
	docsEnd   = "<!-- options: end -->\n"
)

func TestOptionsAreDocumented(t *testing.T) {
	text, err := os.ReadFile(docsPath)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), docsBegin)
	_, after, ok2 := strings.Cut(rest, docsEnd)
	if !ok || !ok2 {
		t.Fatalf("%s lacks the lines between which options stand", docsPath)
	}
	want := before + docsBegin + optionTables() + docsEnd + after
	if want == string(text) {
		return
	}
	if !*update {
		t.Fatalf("%s is stale: run go test ./cmd/daytona -run Documented -update", docsPath)
	}
	if err := os.WriteFile(docsPath, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}

// inMarkdown keeps a table's cell a cell, and <words> visible.
var inMarkdown = strings.NewReplacer("|", "\\|", "<", "&lt;", ">", "&gt;")

func optionTables() string {
	_, set := declare()
	var b strings.Builder
	group := ""
	for _, o := range byGroup(set.All()) {
		if o.Group != group {
			group = o.Group
			fmt.Fprintf(&b, "\n### %s\n\n| flag | variable | default | what |\n|---|---|---|---|\n", group)
		}
		def := o.Value.String()
		if def != "" {
			def = "`" + def + "`"
		}
		fmt.Fprintf(&b, "| `--%s` | `%s` | %s | %s |\n", o.Name, set.Env(o.Name), def, inMarkdown.Replace(o.Help))
	}
	b.WriteString("\n")
	return b.String()
}
