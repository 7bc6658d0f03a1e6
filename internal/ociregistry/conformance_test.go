package ociregistry_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// conformance is the program of the OCI's suite; make bin/oci-conformance
// builds it.
const conformance = "../../bin/oci-conformance"

func TestConformance(t *testing.T) {
	program, err := filepath.Abs(conformance)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(program); err != nil {
		t.Skip("make bin/oci-conformance builds the suite")
	}
	w := newWorld(t, t.TempDir())
	cmd := exec.CommandContext(t.Context(), program)
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(),
		"OCI_REGISTRY="+strings.TrimPrefix(w.url, "http://"), "OCI_TLS=disabled", "OCI_REPO1=p/a/one", "OCI_REPO2=p/a/two",
		"OCI_USERNAME=a", "OCI_PASSWORD=good", "OCI_RESULTS_DIR="+cmd.Dir,
		// What the library does not have, and the specification does not demand:
		// clients fall back to tags for referrers, and to sha256.
		"OCI_API_REFERRER=false", "OCI_DATA_SUBJECT=false", "OCI_DATA_SUBJECT_MISSING=false", "OCI_DATA_SUBJECT_LIST=false", "OCI_DATA_SHA512=false")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}
