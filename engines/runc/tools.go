//go:build tools

// Package runc pins runc, the isolation engine for workloads one trusts.
package runc

import _ "github.com/opencontainers/runc"
