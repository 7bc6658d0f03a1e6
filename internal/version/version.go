// Package version holds the version of this build.
package version

// Version is set by the linker: -X daytona/internal/version.Version=v1.2.3.
var Version = "dev"
