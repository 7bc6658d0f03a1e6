package daytona

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestConfigurationPrecedence(t *testing.T) {
	for _, tt := range []struct {
		name    string
		env     map[string]string
		file    string
		local   string
		options []Option
		want    [5]string // key, jwt, organization, URL, target
		err     string
	}{
		{name: "code before environment before file", env: map[string]string{"DAYTONA_API_KEY": "env", "DAYTONA_API_URL": "http://env/api"},
			file: "DAYTONA_API_URL=http://file/api\nDAYTONA_TARGET=eu\n", options: []Option{WithAPIKey("code")},
			want: [5]string{"code", "", "", "http://env/api", "eu"}},
		{name: "defaults", env: map[string]string{"DAYTONA_API_KEY": "k"}, want: [5]string{"k", "", "", DefaultAPIURL, ""}},
		{name: "the old name of the URL", env: map[string]string{"DAYTONA_API_KEY": "k", "DAYTONA_SERVER_URL": "http://old/api/"},
			want: [5]string{"k", "", "", "http://old/api", ""}},
		{name: ".env.local before .env", file: "DAYTONA_API_KEY=a\n", local: "DAYTONA_API_KEY='b'\n", want: [5]string{"b", "", "", DefaultAPIURL, ""}},
		{name: "a token with its organization", env: map[string]string{"DAYTONA_JWT_TOKEN": "j", "DAYTONA_ORGANIZATION_ID": "o"},
			want: [5]string{"", "j", "o", DefaultAPIURL, ""}},
		{name: "a key before a token", env: map[string]string{"DAYTONA_JWT_TOKEN": "j", "DAYTONA_API_KEY": "k"}, want: [5]string{"k", "", "", DefaultAPIURL, ""}},
		{name: "nothing", err: "DAYTONA_API_KEY"},
		{name: "a token alone", env: map[string]string{"DAYTONA_JWT_TOKEN": "j"}, err: "DAYTONA_ORGANIZATION_ID"},
		{name: "no URL", options: []Option{WithAPIKey("k"), WithAPIURL("example.com/api")}, err: "not the URL"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, text := range map[string]string{".env": tt.file, ".env.local": tt.local} {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			lookup := func(name string) (string, bool) { v, ok := tt.env[name]; return v, ok }
			c, err := New(append(tt.options, WithEnvironment(lookup, dir))...)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("error %v, want one about %s", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := [5]string{c.apiKey, c.jwt, c.organization, c.apiURL, c.target}; got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	_, err := New(WithEnvironment(func(string) (string, bool) { return "", false }, ""))
	if !errors.Is(err, ErrNoCredentials) {
		t.Errorf("without credentials: %v", err)
	}
}

func TestDotEnv(t *testing.T) {
	got := map[string]string{}
	text := "\ufeff# comment\nA=1\n export B = \"two\\nlines\" # rest\nC='it''s'\nD=a # note\nE=a#b\nnonsense\nF=\"open\nG=\n"
	if err := parseDotEnv([]byte(text), got); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"A": "1", "B": "two\nlines", "C": "it", "D": "a", "E": "a#b", "F": `"open`, "G": ""}
	if !maps.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func FuzzDotEnv(f *testing.F) {
	f.Add([]byte("A=\"\\\nB='"))
	f.Fuzz(func(t *testing.T, text []byte) {
		_ = parseDotEnv(text, map[string]string{}) // it must not panic
	})
}
