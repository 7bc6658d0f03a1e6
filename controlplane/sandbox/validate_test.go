package sandbox

import (
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"daytona/internal/fault"
)

func many(n int) map[string]string {
	m := map[string]string{}
	for i := range n {
		m["k"+strings.Repeat("x", i%7)+string(rune('a'+i%26))+strings.Repeat("y", i/26)] = "v"
	}
	return m
}

// TestRefused has a case for each way in which a field can be wrong. The message
// must name the field.
func TestRefused(t *testing.T) {
	long := strings.Repeat("x", 5000)
	for _, c := range []struct {
		name, field string
		r           CreateRequest
	}{
		{"name with HTML", "name", CreateRequest{Name: ptr("<b>x</b>")}},
		{"name with a URL", "name", CreateRequest{Name: ptr("see https://x.y")}},
		{"name with www", "name", CreateRequest{Name: ptr("www.x.y")}},
		{"name with mailto", "name", CreateRequest{Name: ptr("mailto:me")}},
		{"name with a newline", "name", CreateRequest{Name: ptr("a\nb")}},
		{"name with NUL", "name", CreateRequest{Name: ptr("a\x00b")}},
		{"name that is not UTF-8", "name", CreateRequest{Name: ptr("a\xff")}},
		{"name too long", "name", CreateRequest{Name: &long}},
		{"name of spaces", "name", CreateRequest{Name: ptr("  ")}},
		{"snapshot with NUL", "snapshot", CreateRequest{Snapshot: ptr("a\x00")}},
		{"user with a colon", "user", CreateRequest{User: ptr("a:b")}},
		{"user with a slash", "user", CreateRequest{User: ptr("../root")}},
		{"user like an option", "user", CreateRequest{User: ptr("-x")}},
		{"user too long", "user", CreateRequest{User: &long}},
		{"env without a name", "env", CreateRequest{Env: map[string]string{"": "x"}}},
		{"env name with =", "env", CreateRequest{Env: map[string]string{"A=B": "x"}}},
		{"env name with a space", "env", CreateRequest{Env: map[string]string{"A B": "x"}}},
		{"env name with a digit first", "env", CreateRequest{Env: map[string]string{"1A": "x"}}},
		{"env value with NUL", "env", CreateRequest{Env: map[string]string{"A": "x\x00"}}},
		{"env of ours", "DAYTONA_SANDBOX_ID", CreateRequest{Env: map[string]string{"DAYTONA_SANDBOX_ID": "x"}}},
		{"too much env", "env", CreateRequest{Env: map[string]string{"A": strings.Repeat("x", 300<<10)}}},
		{"too many env", "env", CreateRequest{Env: many(1001)}},
		{"label without a key", "labels", CreateRequest{Labels: map[string]string{"": "x"}}},
		{"label with NUL", "labels", CreateRequest{Labels: map[string]string{"a": "\x00"}}},
		{"label too long", "labels", CreateRequest{Labels: map[string]string{"a": long}}},
		{"too many labels", "labels", CreateRequest{Labels: many(101)}},
		{"class", "class", CreateRequest{Class: ptr("huge")}},
		{"target with a newline", "target", CreateRequest{Target: ptr("a\nb")}},
		{"cpu with a snapshot", "cpu", CreateRequest{CPU: ptr(2)}},
		{"memory with a snapshot", "memory", CreateRequest{Memory: ptr(2)}},
		{"disk with a snapshot", "disk", CreateRequest{Disk: ptr(2), Snapshot: ptr("x")}},
		{"negative cpu", "cpu", CreateRequest{CPU: ptr(-1), BuildInfo: &BuildRequest{DockerfileContent: "FROM x"}}},
		{"negative memory", "memory", CreateRequest{Memory: ptr(-1), BuildInfo: &BuildRequest{DockerfileContent: "FROM x"}}},
		{"negative disk", "disk", CreateRequest{Disk: ptr(-1), BuildInfo: &BuildRequest{DockerfileContent: "FROM x"}}},
		{"gpu", "gpu", CreateRequest{GPU: ptr(1)}},
		{"negative autoStopInterval", "autoStopInterval", CreateRequest{AutoStopInterval: ptr(-1)}},
		{"autoStopInterval too long", "autoStopInterval", CreateRequest{AutoStopInterval: ptr(1 << 40)}},
		{"negative autoArchiveInterval", "autoArchiveInterval", CreateRequest{AutoArchiveInterval: ptr(-1)}},
		{"autoDeleteInterval too long", "autoDeleteInterval", CreateRequest{AutoDeleteInterval: ptr(-1 << 40)}},
		{"allow list of a host", "networkAllowList", CreateRequest{NetworkAllowList: ptr("1.2.3.4")}},
		{"allow list of a name", "networkAllowList", CreateRequest{NetworkAllowList: ptr("example.com/8")}},
		{"allow list of IPv6", "networkAllowList", CreateRequest{NetworkAllowList: ptr("fd00::/8")}},
		{"allow list with a prefix too long", "networkAllowList", CreateRequest{NetworkAllowList: ptr("1.2.3.0/33")}},
		{"allow list too long", "networkAllowList", CreateRequest{NetworkAllowList: ptr(strings.Repeat("1.2.3.4/32,", 11))}},
		{"buildInfo with a snapshot", "buildInfo", CreateRequest{Snapshot: ptr("x"), BuildInfo: &BuildRequest{DockerfileContent: "FROM x"}}},
		{"buildInfo without a Dockerfile", "buildInfo.dockerfileContent", CreateRequest{BuildInfo: &BuildRequest{}}},
		{"buildInfo with a context that leads elsewhere", "buildInfo.contextHashes", CreateRequest{BuildInfo: &BuildRequest{DockerfileContent: "FROM x", ContextHashes: []string{"../h"}}}},
		{"volumes", "volumes", CreateRequest{Volumes: []VolumeMount{{VolumeID: "v"}}}},
		{"domain list of an address", "domainAllowList", CreateRequest{DomainAllowList: ptr("1.2.3.4")}},
		{"domain list of a URL", "domainAllowList", CreateRequest{DomainAllowList: ptr("https://example.com")}},
		{"domain list too long", "domainAllowList", CreateRequest{DomainAllowList: ptr(strings.Repeat("x.example.com,", 11))}},
		{"gpuType", "gpuType", CreateRequest{GPUType: []string{"H100"}}},
		{"linkedSandbox", "linkedSandbox", CreateRequest{LinkedSandbox: ptr("x")}},
		{"outboundProxyUrl", "outboundProxyUrl", CreateRequest{OutboundProxyURL: ptr("http://x")}},
		{"otelEndpointOverride", "otelEndpointOverride", CreateRequest{OTelEndpointOverride: ptr("http://x")}},
		{"spot", "spot", CreateRequest{Spot: ptr(true)}},
		{"kvm", "kvm", CreateRequest{KVM: ptr(true)}},
		{"autoPauseInterval", "autoPauseInterval", CreateRequest{AutoPauseInterval: ptr(5)}},
		{"ttlMinutes", "ttlMinutes", CreateRequest{TTLMinutes: ptr(5)}},
		{"secrets", "secrets", CreateRequest{Secrets: []map[string]string{{"A": "b"}}}},
	} {
		_, err := c.r.Validate()
		if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), c.field) {
			t.Errorf("%s: got %v, want an invalid fault that names %s", c.name, err, c.field)
		} else if len(err.Error()) > 400 {
			t.Errorf("%s: the message has %d bytes", c.name, len(err.Error()))
		}
	}
}

func TestEveryProblemIsNamed(t *testing.T) {
	_, err := CreateRequest{User: ptr("a b"), AutoStopInterval: ptr(-1), Class: ptr("x")}.Validate()
	for _, field := range []string{"user", "autoStopInterval", "class"} {
		if err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%v does not name %s", err, field)
		}
	}
}

func TestDefaults(t *testing.T) {
	p, err := CreateRequest{}.Validate()
	if err != nil {
		t.Fatal(err)
	}
	want := Plan{Sandbox: Sandbox{
		User: "daytona", Class: "small", Env: map[string]string{}, Labels: map[string]string{},
		CPU: 1, MemoryGiB: 1, DiskGiB: 3, AutoStop: 15, AutoArchive: 10080, AutoDelete: -1,
	}}
	if d := cmp.Diff(want, p); d != "" {
		t.Errorf("plan of an empty request differs (-want +got):\n%s", d)
	}
	// What clients send for "not given" is the same.
	zero := CreateRequest{
		Name: ptr(""), Snapshot: ptr(""), User: ptr(""), Class: ptr(""), CPU: ptr(0), GPU: ptr(0), Memory: ptr(0), Disk: ptr(0),
		NetworkAllowList: ptr(""), DomainAllowList: ptr(""), Volumes: []VolumeMount{}, Spot: ptr(false), TTLMinutes: ptr(0), Public: ptr(false),
	}
	if p, err = zero.Validate(); err != nil || !cmp.Equal(want, p) {
		t.Errorf("plan of a request of zeros differs: %v\n%s", err, cmp.Diff(want, p))
	}
}

func TestAccepted(t *testing.T) {
	env := map[string]string{"A": "b", "_x.y-z": "multi\nline", "DAYTONA_OTHER": "mine"}
	p, err := CreateRequest{
		Name: ptr("My box: 3 / 4 (ü)"), Snapshot: ptr("org/slim:1"), User: ptr("1000"), Env: env,
		Labels: map[string]string{"code-toolbox-language": "python"}, Public: ptr(true), Class: ptr("large"), Target: ptr("eu"),
		NetworkBlockAll: ptr(true), NetworkAllowList: ptr(" 10.1.2.3/8, ,1.2.3.4/32,"), DomainAllowList: ptr(" Example.com, ,*.example.org."),
		AutoStopInterval: ptr(0), AutoArchiveInterval: ptr(0), AutoDeleteInterval: ptr(0),
	}.Validate()
	if err != nil {
		t.Fatal(err)
	}
	want := Plan{SnapshotName: "org/slim:1", Sandbox: Sandbox{
		Name: "My box: 3 / 4 (ü)", User: "1000", Env: maps.Clone(env), Labels: map[string]string{"code-toolbox-language": "python"},
		Public: true, Class: "large", Target: "eu", NetworkBlockAll: true, NetworkAllowList: ptr("10.1.2.3/8,1.2.3.4/32"), DomainAllowList: ptr("example.com,*.example.org"),
		CPU: 1, MemoryGiB: 1, DiskGiB: 3, AutoStop: 0, AutoArchive: MaxAutoArchive, AutoDelete: 0,
	}}
	if d := cmp.Diff(want, p); d != "" {
		t.Errorf("plan differs (-want +got):\n%s", d)
	}
	env["A"] = "changed later"
	if p.Sandbox.Env["A"] != "b" {
		t.Error("the plan shares the caller's map")
	}
}

func TestImageOfASnapshot(t *testing.T) {
	for text, image := range map[string]string{
		"FROM daytona-slim\n": "daytona-slim", "# why\n\n  from a/b:1 \n": "a/b:1",
		"FROM a AS b": "", "FROM --platform=x a": "", "ARG X\nFROM a": "", "FROM $X": "", "": "",
	} {
		if got := onlyFrom(text); got != image {
			t.Errorf("%q is all FROM %q, want %q", text, got, image)
		}
	}
	p, err := CreateRequest{CPU: ptr(2), Memory: ptr(4), BuildInfo: &BuildRequest{DockerfileContent: "FROM daytona-slim\n"}}.Validate()
	if err != nil || p.FromImage != "daytona-slim" || !p.OwnsResources || p.Sandbox.CPU != 2 || p.Sandbox.MemoryGiB != 4 || p.Sandbox.DiskGiB != 3 {
		t.Errorf("plan %+v, error %v", p, err)
	}
}
