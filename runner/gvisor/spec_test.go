package gvisor

import (
	"slices"
	"strings"
	"testing"

	"daytona/internal/fault"
	"daytona/runner"

	"github.com/opencontainers/runtime-spec/specs-go"
)

func TestSpec(t *testing.T) {
	e := &engine{platform: "systrap"}
	b := runner.Bundle{ID: "x", Args: []string{"/toolbox"}, NetNS: "/run/netns/x", UID: 1000}
	s, err := e.Spec(b)
	if err != nil {
		t.Fatal(err)
	}
	if s.Process.NoNewPrivileges {
		t.Error("sudo would not work")
	}
	if len(s.Process.Capabilities.Effective) != 0 || len(s.Process.Capabilities.Permitted) != 0 {
		t.Errorf("an ordinary user starts with %+v", s.Process.Capabilities)
	}
	if !slices.ContainsFunc(s.Linux.Namespaces, func(n specs.LinuxNamespace) bool {
		return n.Type == specs.NetworkNamespace && n.Path == b.NetNS
	}) {
		t.Error("it is not in its network")
	}
	if !slices.ContainsFunc(s.Mounts, func(m specs.Mount) bool { return m.Destination == "/tmp" }) {
		t.Error("gVisor would put a file system in memory over /tmp")
	}
	b.UserNS = 100000
	if _, err := e.Spec(b); !fault.Is(err, fault.Invalid) {
		t.Errorf("a user namespace over files that are not mapped: %v, want Invalid", err)
	}
	b.IDMapped, b.UID = true, 0
	s, err = e.Spec(b)
	if err != nil || len(s.Linux.UIDMappings) != 1 || len(s.Process.Capabilities.Effective) == 0 {
		t.Errorf("%+v, %v", s.Linux, err)
	}
}

func TestArgs(t *testing.T) {
	args := (&engine{platform: "kvm"}).Args(runner.Bundle{NetNS: "/n"}, "/r/state", "/b/engine.log")
	for _, want := range []string{"--root=/r/state", "--platform=kvm", "--overlay2=none", "--network=sandbox", "--panic-log=/b/panic.log"} {
		if !slices.Contains(args, want) {
			t.Errorf("%q is missing", want)
		}
	}
	for _, a := range args {
		for _, no := range []string{"TESTONLY", "--debug", "--network=host", "--rootless", "passthrough"} {
			if strings.Contains(a, no) {
				t.Errorf("%q weakens the isolation", a)
			}
		}
	}
}

func TestNewRefuses(t *testing.T) {
	if _, err := New(Config{Binary: "/nonexistent/runsc", Root: t.TempDir()}); !fault.Is(err, fault.Unavailable) {
		t.Errorf("missing binary: %v, want Unavailable", err)
	}
	if _, err := New(Config{Platform: "none", Root: t.TempDir()}); !fault.Is(err, fault.Invalid) {
		t.Errorf("unknown platform: %v, want Invalid", err)
	}
}
