package lsp

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func describe(all []Symbol) []string {
	var out []string
	for _, s := range all {
		r := s.Location.Range
		out = append(out, fmt.Sprintf("%d %s %d:%d-%d:%d", s.Kind, s.Name, r.Start.Line, r.Start.Character, r.End.Line, r.End.Character))
	}
	return out
}

func TestPythonSymbols(t *testing.T) {
	for name, tt := range map[string]struct {
		text string
		want []string
	}{
		"module": {`"""class Not: def here"""
import os

LIMIT = 3
name: str
a == b
x.y = 1

class Greeter(Base,
              metaclass=M):
    """Says
    def not_here(self): pass
    """
    greeting: str = "Hello"

    @decorated(lambda: 1)
    async  def greet(self, name) -> str:
        local = 1
        def inner(): return 2
        return f"{name}"

    def other(self): pass  # the end


def main():
	pass

# comment
`, []string{
			"13 LIMIT 3:0-3:5", "13 name 4:0-4:4",
			"5 Greeter 8:0-21:25", "8 greeting 13:4-13:12", "6 greet 16:4-19:24", "12 inner 18:8-18:29", "6 other 21:4-21:25",
			"12 main 24:0-25:5",
		}},
		"one line":         {"class A: x = 1\ndef f(): pass", []string{"5 A 0:0-0:14", "12 f 1:0-1:13"}},
		"below if":         {"if x:\n    def f(): pass\nelse:\n    y = 1\n", []string{"12 f 1:4-1:17", "13 y 3:4-3:5"}},
		"strings":          {"x = 'def a(): \\'\ny = \"\"\"\ndef b():\n\"\"\"; z = 1\ndef c(): pass\n", []string{"13 x 0:0-0:1", "13 y 1:0-1:1", "12 c 4:0-4:13"}},
		"raw string":       {"x = r'\\'\ndef f(): pass\n", []string{"13 x 0:0-0:1", "12 f 1:0-1:13"}},
		"open string":      {"x = 'no end\ndef f(): pass\n", []string{"13 x 0:0-0:1", "12 f 1:0-1:13"}},
		"continued string": {"x = 'a\\\ndef no(): pass'\ndef f(): pass\n", []string{"13 x 0:0-0:1", "12 f 2:0-2:13"}},
		"brackets":         {"x = [\ny = 1,\n]\nz = 2\n", []string{"13 x 0:0-0:1", "13 z 3:0-3:1"}},
		"open bracket":     {"x = foo(\n\ndef f():\n    pass\n", []string{"13 x 0:0-0:1", "12 f 2:0-3:8"}},
		"continued line":   {"x = 1 + \\\ny\ndef f(): pass\n", []string{"13 x 0:0-0:1", "12 f 2:0-2:13"}},
		"CRLF":             {"class A:\r\n    def f(self):\r\n        pass\r\n", []string{"5 A 0:0-2:12", "6 f 1:4-2:12"}},
		"UTF-16":           {"def größe(): return '😀'\n", []string{"12 größe 0:0-0:24"}},
		"no newline":       {"def", nil},
		"no name":          {"def (:\nclass\n", nil},
		"walrus, equals":   {"x := 1\ny == 2\ndefine = 3\nclassy = 4\n", []string{"13 define 2:0-2:6", "13 classy 3:0-3:6"}},
		"empty":            {"", nil},
		"dedented comment": {"class A:\n    x = 1\n# no\n    y = 2\n", []string{"5 A 0:0-3:9", "8 x 1:4-1:5", "8 y 3:4-3:5"}},
	} {
		if got := describe(pythonSymbols([]byte(tt.text))); !slices.Equal(got, tt.want) {
			t.Errorf("%s:\n got %q\nwant %q", name, got, tt.want)
		}
	}
}

func FuzzPythonSymbols(f *testing.F) {
	f.Add("class A:\n  def f(self): pass\n")
	f.Add("x = '''\n\\\n'''\ndef g(\r\n):\n\t'\\")
	f.Add("\f\\\r\n\"\"\"\\\"\"\"\"")
	f.Fuzz(func(t *testing.T, text string) {
		lines := strings.Count(text, "\n") + 1
		for _, s := range pythonSymbols([]byte(text)) {
			r := s.Location.Range
			if s.Name == "" || r.Start.Line < 0 || r.End.Line >= lines || r.Start.Character < 0 || r.End.Character < 0 ||
				r.End.Line < r.Start.Line || r.End.Line == r.Start.Line && r.End.Character < r.Start.Character {
				t.Errorf("%+v in %d lines of %q", s, lines, text)
			}
		}
	})
}
