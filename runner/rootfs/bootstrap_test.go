package rootfs

import (
	"slices"
	"strings"
	"testing"

	"daytona/internal/fault"
)

func TestBootstrapArguments(t *testing.T) {
	args, err := BootstrapOptions{Include: []string{"ca-certificates", "g++"}, Mirror: "http://mirror.example/debian"}.args()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(args, "--include=ca-certificates,g++") || !slices.Equal(args[len(args)-3:], []string{"bookworm", "-", "http://mirror.example/debian"}) {
		t.Error(args)
	}
	for name, o := range map[string]BootstrapOptions{
		"suite":   {Suite: "--setup-hook=id"},
		"package": {Include: []string{"ok", "a,b"}},
		"option":  {Include: []string{"-x"}},
		"mirror":  {Mirror: "copy:/etc"},
		"sources": {Mirror: "http://a b"},
	} {
		if args, err := o.args(); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v, %v", name, args, err)
		}
	}
}

func TestBootstrapWithoutProgram(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := Bootstrap(t.Context(), BootstrapOptions{TempDir: t.TempDir()})
	if !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "package mmdebstrap") {
		t.Error(err)
	}
}

func TestBootstrapLines(t *testing.T) {
	var got []string
	l := &lineLog{progress: func(s string) { got = append(got, s) }}
	for _, s := range []string{"I: running ", "apt\nE: first", " trouble\n 10%\r 20%\r\n\n", "E: /usr/bin/x exited with 1\n", "tail"} {
		if _, err := l.Write([]byte(s)); err != nil {
			t.Fatal(err)
		}
	}
	l.flush()
	if want := []string{"running apt", "E: first trouble", "20%", "E: /usr/bin/x exited with 1", "tail"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if l.lastError() != "first trouble" {
		t.Errorf("%q", l.lastError())
	}
}
