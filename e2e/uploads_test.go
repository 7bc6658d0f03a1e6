//go:build root

package e2e

import (
	"path/filepath"
	"testing"
)

// Files for builds, uploaded by the SDKs' own clients of object storage. The
// Python SDK takes TLS alone, and its newest version believes the system's list
// of authorities alone: for one program that list is replaced, in a mount
// namespace that ends with it.
func TestUploads(t *testing.T) {
	if shared.external {
		t.Skip("needs the server's certificate")
	}
	certificate := filepath.Join(shared.dir, "ca", "ca.pem")
	for _, era := range []string{"old", "new"} {
		for _, mode := range []string{"sync", "async"} {
			t.Run("python/"+era+"/"+mode, func(t *testing.T) {
				t.Parallel()
				kit := pythonKit(t, era)
				runProgram(t, kit.dir, []string{"E2E_MODE=" + mode, "E2E_CA=" + certificate, "SSL_CERT_FILE=" + certificate},
					"unshare", "--mount", "sh", "-c", `mount --bind "$E2E_CA" /etc/ssl/certs/ca-certificates.crt && exec "$@"`, "sh",
					kit.python, "-B", filepath.Join(repo, "e2e", "py", "scenarios", "uploads.py"))
			})
		}
		t.Run("typescript/"+era, func(t *testing.T) {
			t.Parallel()
			kit := nodeKit(t, era)
			runProgram(t, kit.dir, nil, kit.node, filepath.Join(kit.dir, "scenarios", "uploads.mjs"))
		})
	}
}
