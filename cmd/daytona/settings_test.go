//go:build linux

package main

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"daytona/api/runnerapi"
	"daytona/internal/fault"
	"daytona/internal/options"
)

// read loads settings as the server command does.
func read(t *testing.T, args []string, env map[string]string) (*settings, error) {
	t.Helper()
	s, set := declare()
	flags := pflag.NewFlagSet("server", pflag.ContinueOnError)
	set.Flags(flags)
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	return s, load(set, s, flags, func(name string) (string, bool) { v, ok := env[name]; return v, ok })
}

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestSettingsPrecedence(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "config.yaml"), "listen: 127.0.0.1:1\nregion: file\nwarm: {daytona-slim: 1}\nisolations: [runc]\n")
	other := write(t, filepath.Join(dir, "other.yaml"), "region: other\n")
	for _, tt := range []struct {
		name string
		args []string
		env  map[string]string
		want func(*settings) bool
	}{
		{"file in the data directory", []string{"--data", dir}, nil,
			func(s *settings) bool {
				return s.Listen == "127.0.0.1:1" && s.Region == "file" && s.Warm["daytona-slim"] == 1
			}},
		{"data directory by environment", nil, map[string]string{"DAYTONA_DATA": dir},
			func(s *settings) bool {
				return s.Region == "file" && s.Data == dir && s.KeyFile == filepath.Join(dir, "admin.key")
			}},
		{"environment over file", []string{"--data", dir}, map[string]string{"DAYTONA_REGION": "env"},
			func(s *settings) bool { return s.Region == "env" && s.Listen == "127.0.0.1:1" }},
		{"flag over both", []string{"--data", dir, "--region=flag"}, map[string]string{"DAYTONA_REGION": "env"},
			func(s *settings) bool { return s.Region == "flag" }},
		{"another file", []string{"--data", dir, "--config", other}, nil,
			func(s *settings) bool { return s.Region == "other" && s.Listen == "127.0.0.1:3986" }},
		{"another file by environment", []string{"--data", dir}, map[string]string{"DAYTONA_CONFIG": other},
			func(s *settings) bool { return s.Region == "other" }},
		{"clients' variables are not ours", []string{"--data", dir}, map[string]string{"DAYTONA_API_URL": "https://x/api", "DAYTONA_API_KEY": "k", "DAYTONA_TARGET": "eu"},
			func(s *settings) bool { return s.Region == "file" && s.PublicURL == "" }},
		{"defaults", []string{"--data", t.TempDir()}, nil,
			func(s *settings) bool {
				return s.Region == "us" && s.Isolation == "gvisor" && s.DefaultSnapshot == "daytona-slim"
			}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := read(t, tt.args, tt.env)
			if err != nil {
				t.Fatal(err)
			}
			if !tt.want(s) {
				t.Errorf("%+v", *s)
			}
		})
	}
}

func TestSettingsRefusals(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "config.yaml"), "data: /elsewhere\n")
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"--data="}, "--data: must not be empty"},
		{[]string{"--data", dir}, "config.yaml:1: data: cannot be set in the file"},
		{[]string{"--config", "/nonexistent.yaml"}, "--config: open /nonexistent.yaml"},
		{[]string{"--listen=nowhere"}, "--listen:"},
		{[]string{"--listen=127.0.0.1:99999"}, "--listen:"},
		{[]string{"--public-url=ftp://x"}, "--public-url:"},
		{[]string{"--public-url=http://x/api"}, "without path"},
		{[]string{"--database=mysql://user:secret@x"}, "--database: must start with postgres://"},
		{[]string{"--isolation=docker"}, "--isolation: \"docker\" is not one of gvisor, runc, fake"},
		{[]string{"--isolations=fake"}, "--isolations: fake cannot be offered beside"},
		{[]string{"--isolations=kvm"}, "--isolations: \"kvm\""},
		{[]string{"--pprof=0.0.0.0:6060"}, "--pprof: \"0.0.0.0:6060\" is not a loopback"},
		{[]string{"--quota-cpu=-1"}, "--quota-cpu: -1 is less than 0"},
		{[]string{"--quota-cpu=many"}, "--quota-cpu: \"many\" is not a whole number"},
		{[]string{"--warm=daytona-slim=two"}, "--warm: daytona-slim: \"two\""},
		{[]string{"--allow-private=10.0.0.1"}, "--allow-private:"},
		{[]string{"--dns=one.one.one.one"}, "--dns:"},
		{[]string{"--network-prefix=eth0"}, "--network-prefix:"},
		{[]string{"--cgroup-parent=/"}, "--cgroup-parent:"},
		{[]string{"--registry-mirror=docker.io=mirror"}, "--registry-mirror:"},
		{[]string{"--create-budget=0s"}, "--create-budget:"},
		{[]string{"--log-level=loud"}, "--log-level:"},
		{[]string{"--disk=zfs"}, "--disk:"},
	} {
		args := tt.args
		if !strings.HasPrefix(args[0], "--data") {
			args = append([]string{"--data", t.TempDir()}, args...)
		}
		_, err := read(t, args, nil)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v: %v, want %s", tt.args, err, tt.want)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%v: a password shows: %v", tt.args, err)
		}
	}
}

// TestOptionsAreComplete holds the one table to what help and users rely on.
func TestOptionsAreComplete(t *testing.T) {
	s, set := declare()
	if err := set.Load(options.Sources{}); err != nil {
		t.Errorf("the defaults do not pass: %v", err)
	}
	text := help(serverCommand(), set)
	// What published clients read must never steer a server in the same shell.
	clients := []string{"DAYTONA_API_KEY", "DAYTONA_API_URL", "DAYTONA_SERVER_URL", "DAYTONA_TARGET", "DAYTONA_JWT_TOKEN", "DAYTONA_ORGANIZATION_ID"}
	for _, o := range set.All() {
		env := set.Env(o.Name)
		for _, taken := range clients {
			if env == taken {
				t.Errorf("--%s reads %s, which belongs to clients", o.Name, env)
			}
		}
		if o.Help == "" || o.Group == "" || strings.HasSuffix(o.Help, ".") {
			t.Errorf("--%s: help %q, group %q", o.Name, o.Help, o.Group)
		}
		if !strings.Contains(text, "--"+o.Name+" ") || !strings.Contains(text, "env "+env+"\n") {
			t.Errorf("help lacks --%s or %s", o.Name, env)
		}
	}
	if got := s.offered(); len(got) != 1 || got[0] != isolationGVisor {
		t.Errorf("offered by default: %v", got)
	}
}

// creator is a runner that makes whatever it is asked for.
type creator struct{ backend }

func (creator) Info(context.Context) (runnerapi.Info, error) {
	return runnerapi.Info{Isolations: []string{"gvisor", "runc"}}, nil
}
func (creator) Reserve(context.Context, runnerapi.Spec) (string, bool) { return "warm", true }
func (creator) Create(_ context.Context, spec runnerapi.Spec) (runnerapi.Sandbox, error) {
	return runnerapi.Sandbox{ID: "made"}, nil
}

// TestOffering: what the runner has for itself, requests cannot have.
func TestOffering(t *testing.T) {
	ctx := context.Background()
	for _, tt := range []struct {
		names []string
		ask   string
		ok    bool
	}{
		{[]string{"gvisor"}, "", true},
		{[]string{"gvisor"}, "gvisor", true},
		{[]string{"gvisor"}, "runc", false},
		{[]string{"gvisor", "runc"}, "runc", true},
	} {
		o := &offering{backend: creator{}, names: tt.names}
		spec := runnerapi.Spec{Isolation: tt.ask}
		_, err := o.Create(ctx, spec)
		_, reserved := o.Reserve(ctx, spec)
		if (err == nil) != tt.ok || reserved != tt.ok || err != nil && !fault.Is(err, fault.Invalid) {
			t.Errorf("%v, asked for %q: %v, reserved %v", tt.names, tt.ask, err, reserved)
		}
		if info, _ := o.Info(ctx); !slices.Equal(info.Isolations, tt.names) {
			t.Errorf("%v: offers %v", tt.names, info.Isolations)
		}
	}
}

func TestProxyDomain(t *testing.T) {
	for _, tt := range []struct{ domain, public, want string }{
		{"proxy.localhost", "http://127.0.0.1:3986", "proxy.localhost:3986"},
		{"proxy.localhost:4000", "http://127.0.0.1:3986", "proxy.localhost:4000"},
		{"proxy.example.org", "https://daytona.example.org", "proxy.example.org"},
	} {
		s := &settings{PublicURL: tt.public}
		if got := proxyDomain(tt.domain, publicURL(s, nil, nil)); got != tt.want {
			t.Errorf("%s at %s: %s, want %s", tt.domain, tt.public, got, tt.want)
		}
	}
}

func TestTracingIsAskedFor(t *testing.T) {
	for _, tt := range []struct {
		env  map[string]string
		want bool
	}{
		{nil, false},
		{map[string]string{"OTEL_SERVICE_NAME": "x"}, false},
		{map[string]string{"OTEL_TRACES_EXPORTER": "console"}, true},
		{map[string]string{"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, false},
		{map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, true},
		{map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://x"}, true},
		{map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_SDK_DISABLED": "true"}, false},
	} {
		if got := tracingWanted(func(name string) string { return tt.env[name] }); got != tt.want {
			t.Errorf("%v: %v", tt.env, got)
		}
	}
}

func TestWarm(t *testing.T) {
	for _, tt := range []struct {
		args string
		want map[string]int
	}{
		{"", map[string]int{"daytona-slim": 2}},
		{"--default-snapshot other", map[string]int{"other": 2}},
		{"--warm daytona-slim=5,other=1", map[string]int{"daytona-slim": 5, "other": 1}},
		{"--warm daytona-slim=0", map[string]int{"daytona-slim": 0}},
		{"--isolation fake", nil},
		{"--isolation fake --warm daytona-slim=1", map[string]int{"daytona-slim": 1}},
	} {
		s, err := read(t, append(strings.Fields(tt.args), "--data", t.TempDir()), nil)
		if err != nil {
			t.Fatalf("%s: %v", tt.args, err)
		}
		if got := s.warm(); !maps.Equal(got, tt.want) {
			t.Errorf("%q: %v, want %v", tt.args, got, tt.want)
		}
	}
}
