package lsp

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCompletions(t *testing.T) {
	for in, want := range map[string]string{
		`null`:                               `{"isIncomplete":false,"items":[]}`,
		``:                                   `{"isIncomplete":false,"items":[]}`,
		`[]`:                                 `{"isIncomplete":false,"items":[]}`,
		`{"isIncomplete":true,"items":null}`: `{"isIncomplete":true,"items":[]}`,
		`[{"label":"a","kind":2,"detail":"d","sortText":"s","filterText":"f","insertText":"i","data":{"x":1},"textEdit":{}}]`:                                                      `{"isIncomplete":false,"items":[{"label":"a","kind":2,"detail":"d","sortText":"s","filterText":"f","insertText":"i"}]}`,
		`{"isIncomplete":false,"items":[{"label":"a","documentation":"text"},{"label":"b","documentation":{"kind":"markdown","value":"*x*"}},{"label":"c","documentation":null}]}`: `{"isIncomplete":false,"items":[{"label":"a","documentation":{"kind":"plaintext","value":"text"}},{"label":"b","documentation":{"kind":"markdown","value":"*x*"}},{"label":"c"}]}`,
	} {
		list, err := completions(json.RawMessage(in))
		got, _ := json.Marshal(list)
		if err != nil || string(got) != want {
			t.Errorf("%s: got %s, %v; want %s", in, got, err, want)
		}
	}
	for _, bad := range []string{`[1]`, `{"items":1}`, `[{"label":1}]`} {
		if _, err := completions(json.RawMessage(bad)); err == nil {
			t.Errorf("%s was taken", bad)
		}
	}
}

func TestSymbolsAreFlattened(t *testing.T) {
	const hierarchical = `[{"name":"A","kind":5,"range":{"start":{"line":1,"character":2},"end":{"line":9,"character":0}},
		"selectionRange":{"start":{"line":1,"character":8},"end":{"line":1,"character":9}},
		"children":[{"name":"f","kind":6,"range":{"start":{"line":2,"character":0},"end":{"line":3,"character":0}},"children":[]}]},
		{"name":"B","kind":5,"range":{"start":{"line":10,"character":0},"end":{"line":11,"character":0}}}]`
	at := func(uri string, l1, c1, l2, c2 int) Location {
		return Location{uri, Range{Position{l1, c1}, Position{l2, c2}}}
	}
	got, err := symbols(json.RawMessage(hierarchical), "file:///a")
	want := []Symbol{{5, "A", at("file:///a", 1, 2, 9, 0)}, {6, "f", at("file:///a", 2, 0, 3, 0)}, {5, "B", at("file:///a", 10, 0, 11, 0)}}
	if err != nil || !cmp.Equal(got, want) {
		t.Errorf("%v, %s", err, cmp.Diff(want, got))
	}
	got, err = symbols(json.RawMessage(`[{"name":"A","kind":5,"containerName":"x","location":{"uri":"file:///b","range":{"start":{"line":1,"character":0},"end":{"line":2,"character":0}}}}]`), "")
	if want := []Symbol{{5, "A", at("file:///b", 1, 0, 2, 0)}}; err != nil || !cmp.Equal(got, want) {
		t.Errorf("%v, %s", err, cmp.Diff(want, got))
	}
	for _, none := range []string{"", "null", "[]"} {
		got, err := symbols(json.RawMessage(none), "")
		if text, _ := json.Marshal(got); err != nil || string(text) != "[]" {
			t.Errorf("%q: %s, %v", none, text, err)
		}
	}
	deep := ""
	for range 1000 {
		deep += `[{"name":"x","children":`
	}
	deep += "[]"
	for range 1000 {
		deep += `}]`
	}
	if got, err := symbols(json.RawMessage(deep), ""); err != nil || len(got) != maxSymbolDepth+1 {
		t.Errorf("%d symbols, %v", len(got), err)
	}
}

func TestHover(t *testing.T) {
	for in, want := range map[string]string{
		`null`:                             `{"contents":{"kind":"plaintext","value":""}}`,
		`{"contents":[]}`:                  `{"contents":{"kind":"plaintext","value":""}}`,
		`{"contents":""}`:                  `{"contents":{"kind":"markdown","value":""}}`,
		`{"contents":"a"}`:                 `{"contents":{"kind":"markdown","value":"a"}}`,
		`{"contents":["a",{"value":"b"}]}`: `{"contents":{"kind":"markdown","value":"a\n\nb"}}`,
		`{"contents":{"kind":"x"}}`:        `{"contents":{"kind":"plaintext","value":""}}`,
		`{"contents":{"language":"py","value":"def f"}}`: "{\"contents\":{\"kind\":\"markdown\",\"value\":\"```py\\ndef f\\n```\"}}",
		`{"contents":{"kind":"plaintext","value":"t"},"range":{"start":{"line":1,"character":2},"end":{"line":1,"character":3}}}`: `{"contents":{"kind":"plaintext","value":"t"},"range":{"start":{"line":1,"character":2},"end":{"line":1,"character":3}}}`,
	} {
		text, err := hover(json.RawMessage(in))
		got, _ := json.Marshal(text)
		if err != nil || string(got) != want {
			t.Errorf("%s: got %s, %v; want %s", in, got, err, want)
		}
	}
}

func TestTypeScriptsDiagnostics(t *testing.T) {
	got, err := tsDiagnostics(json.RawMessage(`{"type":"response","body":[
		{"start":{"line":1,"offset":14},"end":{"line":2,"offset":1},"text":"no","code":2322,"category":"error"},
		{"start":{"line":3,"offset":1},"end":{"line":3,"offset":2},"text":"hm","code":7,"category":"suggestion","source":"plugin"}]}`))
	want := []Diagnostic{
		{Range{Position{0, 13}, Position{1, 0}}, 1, json.RawMessage("2322"), "typescript", "no"},
		{Range{Position{2, 0}, Position{2, 1}}, 4, json.RawMessage("7"), "plugin", "hm"},
	}
	if err != nil || !cmp.Equal(got, want) {
		t.Errorf("%v, %s", err, cmp.Diff(want, got))
	}
}

func TestCandidates(t *testing.T) {
	resolve := func(p string) string {
		if p == "~" || len(p) > 1 && p[:2] == "~/" {
			return "/home/u" + p[1:]
		}
		if filepath.IsAbs(p) {
			return p
		}
		return filepath.Join("/home/u", p)
	}
	for name, tt := range map[string]struct {
		uri  string
		want []string
	}{
		"absolute":              {"file:///home/u/x.py", []string{"/home/u/x.py"}},
		"in the project":        {"file:///home/u/w/p/x.py", []string{"/home/u/w/p/x.py", "/home/u/x.py"}},
		"no scheme":             {"/home/u/x.py", []string{"/home/u/x.py"}},
		"relative":              {"file://w/p/x.py", []string{"/home/u/w/p/x.py", "/home/u/w/p/w/p/x.py", "/home/u/x.py"}},
		"relative to project":   {"file://x.py", []string{"/home/u/x.py", "/home/u/w/p/x.py"}},
		"project twice":         {"file://w/p/w/p/x.py", []string{"/home/u/w/p/w/p/x.py", "/home/u/w/p/w/p/w/p/x.py", "/home/u/w/p/x.py"}},
		"project twice, rooted": {"file:///home/u/w/p/w/p/x.py", []string{"/home/u/w/p/w/p/x.py", "/home/u/w/p/x.py"}},
		"home":                  {"file://~/x.py", []string{"/home/u/x.py"}},
		"encoded":               {"file:///home/u/a%20b.py", []string{"/home/u/a%20b.py", "/home/u/a b.py"}},
		"per cent":              {"file:///home/u/100%.py", []string{"/home/u/100%.py"}},
		"encoded NUL":           {"file:///home/u/a%00.py", []string{"/home/u/a%00.py"}},
		"UTF-8":                 {"file:///home/u/ü ☃.py", []string{"/home/u/ü ☃.py"}},
		"dots":                  {"file:///home/u/../u/x.py", []string{"/home/u/x.py"}},
		"colon":                 {"file:///home/u/a://b.py", []string{"/home/u/a:/b.py"}},
	} {
		path, err := clientPath(tt.uri)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := candidates(path, "/home/u/w/p", resolve); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
	for _, bad := range []string{"", "file://", "http://x/y", "untitled://x", "file:///a\x00b"} {
		if path, err := clientPath(bad); err == nil {
			t.Errorf("%q was taken for %q", bad, path)
		}
	}
}

func FuzzPaths(f *testing.F) {
	f.Add("file://a%20b", "/p")
	f.Add("file:///p/p/%2e%2e/x", "/p")
	f.Fuzz(func(t *testing.T, uri, project string) {
		path, err := clientPath(uri)
		if err != nil {
			return
		}
		for _, p := range candidates(path, filepath.Join("/", project), func(p string) string { return filepath.Join("/w", p) }) {
			if !filepath.IsAbs(p) || filepath.Clean(p) != p {
				t.Errorf("%q gave %q", uri, p)
			}
			// A server that sends the URI back means the same path.
			if back, err := pathOf(fileURI(p)); err != nil || back != p {
				t.Errorf("%q came back as %q, %v", p, back, err)
			}
		}
	})
}

func TestServersFor(t *testing.T) {
	for gib, want := range map[float64]int{0: 2, 0.5: 2, 1: 2, 2: 4, 3: 6, 4: 8, 64: 8} {
		if got := serversFor(uint64(gib * (1 << 30))); got != want {
			t.Errorf("%v GiB: %d servers, want %d", gib, got, want)
		}
	}
}

func TestDocumentID(t *testing.T) {
	for name, want := range map[string]string{
		"a.ts": "typescript", "a.MTS": "typescript", "a.tsx": "typescriptreact", "a.js": "javascript",
		"a.cjs": "javascript", "a.jsx": "javascriptreact", "a.vue": "typescript", "Makefile": "typescript",
	} {
		l, err := languageOf("typescript")
		if err != nil {
			t.Fatal(err)
		}
		if got := l.documentID(name); got != want {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func TestInterpreter(t *testing.T) {
	dir := t.TempDir()
	python := filepath.Join(dir, "python3.x")
	if err := os.WriteFile(python, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"#!" + python + "\nimport x\n":    python,
		"#! " + python + " \r\n":          python,
		"#!" + python + " -E\n":           "", // its arguments may matter
		"#!" + python:                     "", // cut off
		"#!" + dir + "/python4\n":         "", // not there
		"#!/bin/sh\n":                     "",
		"#!python3\n":                     "",
		"#!/usr/bin/env python3\n":        "",
		"\x7fELF\n":                       "",
		"":                                "",
		"#!/" + strings.Repeat("x", 5000): "",
	} {
		script := filepath.Join(dir, "script")
		if err := os.WriteFile(script, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
		if got := interpreter(script); got != want {
			t.Errorf("%.80q: %q, want %q", text, got, want)
		}
	}
}
