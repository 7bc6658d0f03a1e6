package api

import _ "embed"

// OpenAPI is the OpenAPI document of the server, in YAML. It is generated from
// the types of this package and the server's route table; a test of
// controlplane/httpapi fails when it is stale and rewrites it with -update.
//
//go:embed openapi.yaml
var OpenAPI []byte
