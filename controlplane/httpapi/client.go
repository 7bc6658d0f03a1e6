package httpapi

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"daytona/api"
)

// client is what the headers tell about the program that calls. Published
// clients of different ages expect different answers from the same route.
type client struct {
	// strict: the Go client of the first era. It refuses members and values that
	// it does not know.
	strict bool
	// oldEnums: it fails on states that came after the first era.
	oldEnums bool
	// loops: it waits for a sandbox whose build has failed until its time is up.
	loops bool
	// sdk: a client of the present era, which expects lists with a cursor.
	sdk bool
	// noPlainHTTP: its S3 client refuses addresses without TLS.
	noPlainHTTP bool
}

const (
	headerSource     = "X-Daytona-Source"
	headerSDKVersion = "X-Daytona-SDK-Version"

	strictGoAgent = "OpenAPI-Generator/1.0.0/go"
	newGoAgent    = "api-client-go/"
)

// tolerantMinor is the minor version 0.N since which SDKs accept unknown states.
const tolerantMinor = 170

// clientOf reads the headers.
func clientOf(h http.Header) client {
	source, agent := h.Get(headerSource), h.Get("User-Agent")
	c := client{
		strict: agent == strictGoAgent,
		sdk:    strings.HasPrefix(source, "sdk-") || strings.HasPrefix(agent, newGoAgent),
	}
	c.noPlainHTTP = source == "python-sdk" || strings.HasPrefix(source, "sdk-python")
	c.loops = source == "typescript-sdk"
	oldLabel := source == "typescript-sdk" || source == "python-sdk" ||
		(source == "cli" && !strings.HasPrefix(agent, newGoAgent))
	minor, known := sdkMinor(h.Get(headerSDKVersion))
	c.oldEnums = c.strict || oldLabel || (known && minor < tolerantMinor)
	return c
}

// sdkMinor returns N of a version 0.N.x; from 1.0 on it is larger than any.
func sdkMinor(version string) (int, bool) {
	parts := strings.Split(strings.TrimPrefix(version, "v"), ".")
	if len(parts) < 2 {
		return 0, false
	}
	major, err1 := strconv.Atoi(parts[0])
	minor, err2 := strconv.Atoi(parts[1])
	if err1 != nil || err2 != nil || major < 0 || minor < 0 {
		return 0, false
	}
	if major > 0 {
		return 1 << 20, true
	}
	return minor, true
}

// wantsCursorList decides between the two forms of GET /sandbox: a bare array,
// as the first era reads it, or an object with items and a cursor.
func wantsCursorList(c client, query url.Values) bool {
	if c.strict {
		return false
	}
	if c.sdk {
		return true
	}
	for name := range query {
		switch name {
		case "verbose", "labels", "includeErroredDeleted":
		default:
			return true
		}
	}
	return false
}

// sandboxState maps states of the present era to the nearest that c knows.
func (c client) sandboxState(state api.SandboxState, desired api.SandboxDesiredState) api.SandboxState {
	if c.loops && state == api.SandboxBuildFailed {
		return api.SandboxError
	}
	if !c.oldEnums {
		return state
	}
	switch state {
	case api.SandboxResizing:
		if desired == api.DesiredStopped {
			return api.SandboxStopped
		}
		return api.SandboxStarted
	case api.SandboxSnapshotting, api.SandboxForking:
		return api.SandboxStarted
	case api.SandboxPausing:
		return api.SandboxStopping
	case api.SandboxPaused:
		return api.SandboxStopped
	case api.SandboxResuming:
		return api.SandboxStarting
	}
	return state
}

// desiredState maps desired states of the present era to those that c knows.
func (c client) desiredState(desired api.SandboxDesiredState) api.SandboxDesiredState {
	if !c.oldEnums {
		return desired
	}
	switch desired {
	case api.DesiredPaused:
		return api.DesiredStopped
	}
	return desired
}

// snapshotState maps snapshot states of the present era to those that c knows.
func (c client) snapshotState(state api.SnapshotState) api.SnapshotState {
	if c.oldEnums && state == api.SnapshotSnapshotting {
		return api.SnapshotPending
	}
	return state
}
