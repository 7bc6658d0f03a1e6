package httpapi

import (
	"bytes"
	"flag"
	"os"
	"testing"

	"daytona/api"
)

var update = flag.Bool("update", false, "rewrite the published OpenAPI document")

func TestOpenAPIDoesNotDrift(t *testing.T) {
	document, err := buildDocument()
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile("../../api/openapi.yaml", document, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if !bytes.Equal(document, api.OpenAPI) {
		t.Fatal("api/openapi.yaml is stale: run go test ./controlplane/httpapi -run OpenAPI -update")
	}
	if _, err := documentJSON(); err != nil {
		t.Fatal(err)
	}
}
