package builder

import (
	"strings"
	"testing"

	"daytona/api/runnerapi"
	"daytona/internal/fault"
)

func TestCheck(t *testing.T) {
	for name, tt := range map[string]struct {
		dockerfile string
		args       map[string]string
		refused    string // "" for one that is fine
	}{
		"plain":             {dockerfile: "FROM a\nRUN b"},
		"our syntax":        {dockerfile: "# syntax=docker/dockerfile:1.7\nFROM a"},
		"our syntax, long":  {dockerfile: "#syntax = docker.io/docker/dockerfile:1@sha256:0123abcd\nFROM a"},
		"another syntax":    {dockerfile: "# syntax=docker/dockerfile.evil\nFROM a", refused: "syntax"},
		"syntax by arg":     {dockerfile: "FROM a", args: map[string]string{"BUILDKIT_SYNTAX": "evil/x"}, refused: "syntax"},
		"a comment":         {dockerfile: "# a syntax=evil/x comment\nFROM a"},
		"nothing":           {dockerfile: "# nothing\n", refused: "Dockerfile"},
		"no FROM":           {dockerfile: "RUN x", refused: "cannot be read"},
		"unknown":           {dockerfile: "FROM a\nNOSUCH", refused: "cannot be read"},
		"insecure":          {dockerfile: "FROM a\nRUN --security=insecure x", refused: "line 2"},
		"sandboxed":         {dockerfile: "FROM a\nRUN --security=sandbox --network=default x"},
		"host network":      {dockerfile: "FROM a\nRUN --network=host x", refused: "line 2"},
		"secret":            {dockerfile: "FROM a\nRUN --mount=type=secret,id=x,required=false y", refused: "secret"},
		"ssh":               {dockerfile: "FROM a AS b\nRUN --mount=type=ssh y\nFROM b", refused: "ssh"},
		"cache":             {dockerfile: "FROM a\nRUN --mount=type=cache,target=/c y"},
		"git over ssh":      {dockerfile: "FROM a\nADD git@example.com:x/y /z", refused: "git"},
		"git over https":    {dockerfile: "FROM a\nADD https://example.com/x/y.git#main:sub /z", refused: "git"},
		"a file over https": {dockerfile: "FROM a\nADD https://example.com/x/y.tar.gz /z"},
		"heredoc":           {dockerfile: "FROM a\nRUN <<E\nRUN --network=host\nE"},
	} {
		t.Run(name, func(t *testing.T) {
			err := check(&runnerapi.Build{Dockerfile: tt.dockerfile, Args: tt.args})
			switch {
			case tt.refused == "" && err != nil:
				t.Error(err)
			case tt.refused != "" && (!fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), tt.refused)):
				t.Errorf("%v; want %q", err, tt.refused)
			}
		})
	}
}

func TestImagesOf(t *testing.T) {
	got := imagesOf(&runnerapi.Build{Dockerfile: "FROM ghcr.io/acme/a:1 AS x\nRUN --mount=from=quay.io/c/d,target=/d y\nFROM debian\nCOPY --from=ghcr.io/other/b /x /y\n"})
	var names []string
	for _, n := range got {
		names = append(names, n.Name())
	}
	want := "ghcr.io/acme/a docker.io/library/debian ghcr.io/other/b"
	if s := strings.Join(names, " "); !strings.HasPrefix(s, "ghcr.io/acme/a") || !strings.HasSuffix(s, "docker.io/library/debian ghcr.io/other/b") {
		t.Errorf("%s; want %s", s, want)
	}
}

func TestLastPart(t *testing.T) {
	for in, want := range map[string]string{
		"failed to solve: a: b": "a: b",
		"a: b: a: b":            "a: b",
		"a: a":                  "a",
		"aa":                    "aa",
		"":                      "",
	} {
		if got := lastPart(in); got != want {
			t.Errorf("%q: %q; want %q", in, got, want)
		}
	}
}
