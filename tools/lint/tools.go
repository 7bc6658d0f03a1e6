//go:build tools

// Package lint pins golangci-lint, so that everybody runs the same one.
package lint

import _ "github.com/golangci/golangci-lint/v2/cmd/golangci-lint"
