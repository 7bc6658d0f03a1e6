package wire

import (
	"net/http"
	"strconv"
	"strings"
)

// Dialect is what a request tells about the client that sent it.
type Dialect struct {
	// Source is the client's name: "sdk-python", "typescript-sdk", "cli".
	Source string
	// Version is the client's version; Known says whether it named a release,
	// Named whether it named anything: a build that is no release is new.
	Version Version
	Known   bool
	Named   bool
	// ViaAPI means that the request came by the API's path, which only old
	// clients and the command line take.
	ViaAPI bool
	// Strict marks a client that refuses members which it does not know.
	Strict bool
}

// Version is major, minor and patch.
type Version [3]int

// Before reports whether v is older than w.
func (v Version) Before(w Version) bool {
	for i := range v {
		if v[i] != w[i] {
			return v[i] < w[i]
		}
	}
	return false
}

// DialectOf reads the dialect of a request.
func DialectOf(r *http.Request) Dialect {
	d := Dialect{
		Source: r.Header.Get("X-Daytona-Source"),
		ViaAPI: r.Header.Get("X-Daytona-Toolbox-Path") == "api",
		// Go clients generated before October 2025 decode strictly; later
		// ones have another name.
		Strict: strings.HasPrefix(r.UserAgent(), "OpenAPI-Generator/") && strings.HasSuffix(r.UserAgent(), "/go"),
	}
	version := r.Header.Get("X-Daytona-SDK-Version")
	if version == "" {
		version, _ = Protocol(r, versionProtocol)
	}
	d.Named = version != ""
	d.Version, d.Known = ParseVersion(version)
	return d
}

// ParseVersion reads "0.27.1", "v0.190.0" or "0.156". A text that is not a
// release ("unknown", "0.0.0-dev") is not known: such a build is treated as new.
func ParseVersion(s string) (Version, bool) {
	s = strings.TrimPrefix(strings.TrimSpace(s), "v")
	core, _, _ := strings.Cut(s, "+")
	core, _, _ = strings.Cut(core, "-")
	parts := strings.Split(core, ".")
	if len(parts) < 2 || len(parts) > 4 {
		return Version{}, false
	}
	var v Version
	for i, part := range parts {
		if i == len(v) {
			break
		}
		// Python writes pre-releases without a dash: 0.25.0a1.
		if end := strings.IndexFunc(part, func(c rune) bool { return c < '0' || c > '9' }); end > 0 {
			part = part[:end]
		}
		n, err := strconv.Atoi(part)
		if err != nil || n < 0 {
			return Version{}, false
		}
		v[i] = n
	}
	return v, v != Version{}
}

// shellSince is the first release whose SDKs send a command as the caller wrote
// it, for a shell. Older ones wrap it in `sh -c "…"` by rules of their own.
var shellSince = Version{0, 156, 0}

// WrapsCommands reports whether this client wraps commands in `sh -c "…"`
// for a server that knows no shell.
func (d Dialect) WrapsCommands() bool {
	if d.Known {
		return d.Version.Before(shellSince)
	}
	switch d.Source {
	case "typescript-sdk", "python-sdk", "cli":
		return true
	}
	return false
}

// Old reports whether the client expects the limits of the first era.
func (d Dialect) Old() bool {
	return d.ViaAPI || d.WrapsCommands()
}
