package images

import (
	"strings"
	"testing"
	"testing/fstest"
)

func TestSlimIsComplete(t *testing.T) {
	d, err := Slim()
	if err != nil {
		t.Fatal(err)
	}
	if d.Name != "daytona-slim" || d.Config.User != "daytona" || d.Config.WorkDir != "/home/daytona" {
		t.Errorf("definition = %+v", d.Config)
	}
}

func TestEveryStepStopsAtTheFirstError(t *testing.T) {
	all, err := All()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range all {
		for _, s := range d.Steps {
			if s.Name == "" || !strings.HasPrefix(s.Script, "#!/bin/sh\n") || !strings.Contains(s.Script, "set -eu\n") {
				t.Errorf("%s: step %q must have a name and be a shell script that stops at the first error", d.Name, s.Name)
			}
		}
	}
}

func TestNamed(t *testing.T) {
	for name, tt := range map[string]struct {
		names []string
		want  string // "" is an error
	}{
		"one":               {[]string{"daytona-slim"}, "daytona-slim"},
		"with its base":     {[]string{"daytona-desktop"}, "daytona-slim daytona-desktop"},
		"in order and once": {[]string{"daytona-desktop", "daytona-slim"}, "daytona-slim daytona-desktop"},
		"the full one":      {[]string{"daytona-full"}, "daytona-slim daytona-full"},
		"unknown":           {[]string{"daytona-slim", "other"}, ""},
	} {
		defs, err := Named(tt.names...)
		var got []string
		for _, d := range defs {
			got = append(got, d.Name)
		}
		if s := strings.Join(got, " "); s != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%s: got %q, %v", name, s, err)
		}
	}
}

func TestHashFollowsTheBase(t *testing.T) {
	d := Definition{Hash: "own"}
	if d.on(Definition{Hash: "a"}) == d.on(Definition{Hash: "b"}) {
		t.Error("another base, same hash")
	}
}

func TestHashFollowsContent(t *testing.T) {
	load := func(yaml, script string) string {
		t.Helper()
		d, err := Load(fstest.MapFS{"x/definition.yaml": {Data: []byte(yaml)}, "x/a.sh": {Data: []byte(script)}}, "x")
		if err != nil {
			t.Fatal(err)
		}
		return d.Hash
	}
	const def = "name: n\nsteps: [{name: s, script: a.sh}]\n"
	first := load(def, "one")
	if again := load(def, "one"); again != first {
		t.Error("same content, other hash")
	}
	if load(def, "two") == first {
		t.Error("another script, same hash")
	}
	if load(def+"config: {user: u}\n", "one") == first {
		t.Error("another configuration, same hash")
	}
}

func TestLoadRefuses(t *testing.T) {
	for name, yaml := range map[string]string{
		"unknown field":  "name: n\nsteps: [{name: s, script: a.sh}]\nfoo: 1\n",
		"no steps":       "name: n\n",
		"missing script": "name: n\nsteps: [{name: s, script: b.sh}]\n",
	} {
		if _, err := Load(fstest.MapFS{"x/definition.yaml": {Data: []byte(yaml)}, "x/a.sh": {}}, "x"); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
