package rootfs

import (
	"testing"

	"daytona/api/runnerapi"
)

func TestFindAuth(t *testing.T) {
	auths := []runnerapi.RegistryAuth{
		{Prefix: "ghcr.io", Username: "all"},
		{Prefix: "ghcr.io/acme", Username: "acme"},
		{Prefix: "https://ghcr.io/acme/tools/", Username: "tools"},
		{Prefix: "https://index.docker.io/v1/", Username: "hub"},
		{Prefix: "Registry.example:5000", Username: "local"},
	}
	for _, tt := range []struct{ host, path, want string }{
		{"ghcr.io", "other/x", "all"},
		{"ghcr.io", "acme/x", "acme"},
		{"ghcr.io", "acme/tools", "tools"},
		{"ghcr.io", "acme/tools/sub", "tools"},
		{"ghcr.io", "acme/toolsmith", "acme"},
		{"ghcr.io", "acmecorp/x", "all"},
		{"registry-1.docker.io", "library/debian", "hub"},
		{"docker.io", "acme/x", "hub"},
		{"registry.example:5000", "a", "local"},
		{"registry.example", "a", ""},
		{"ghcr.io.evil.example", "acme/x", ""},
	} {
		got, ok := FindAuth(auths, tt.host, tt.path)
		if got.Username != tt.want || ok != (tt.want != "") {
			t.Errorf("%s/%s: %q, %v; want %q", tt.host, tt.path, got.Username, ok, tt.want)
		}
	}
}
