//go:build tools

// Package runsc pins gVisor, the default isolation engine.
//
// It is a module of its own because gVisor and runc need different versions
// of the OCI runtime specification's Go types.
package runsc

import _ "gvisor.dev/gvisor/runsc"
