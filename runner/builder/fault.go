package builder

import (
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/containerd/errdefs"
	gatewayapi "github.com/moby/buildkit/frontend/gateway/pb"
	solvererrdefs "github.com/moby/buildkit/solver/errdefs"

	"daytona/internal/fault"
)

// buildFault turns what a build ended with into our vocabulary. The text is for
// who wrote the Dockerfile.
func buildFault(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return f
	}
	where := ""
	for _, s := range solvererrdefs.Sources(err) {
		if len(s.Ranges) > 0 {
			where = lineOf(s.Info.Data, int(s.Ranges[0].Start.Line))
		}
	}
	var exit *gatewayapi.ExitError
	var opErr *net.OpError
	var urlErr *url.Error
	msg := lastPart(err.Error())
	switch {
	case errors.As(err, &exit):
		if why := exit.Unwrap(); why != nil {
			return fault.Wrap(err, fault.Unprocessable, "%sthe step ended with exit code %d: %s", where, exit.ExitCode, why)
		}
		return fault.Wrap(err, fault.Unprocessable, "%sthe step ended with exit code %d; the build's log says more", where, exit.ExitCode)
	case errors.Is(err, syscall.ENOSPC):
		return fault.Wrap(err, fault.Unavailable, "the runner's disk is full")
	case errdefs.IsUnauthorized(err), errdefs.IsPermissionDenied(err), strings.Contains(msg, "403 Forbidden"), strings.Contains(msg, "401 Unauthorized"),
		strings.Contains(msg, "insufficient_scope"), strings.Contains(msg, "authorization failed"):
		return fault.Wrap(err, fault.Forbidden, "%sthe registry refuses access: %s", where, msg)
	case errors.Is(err, io.ErrUnexpectedEOF), errdefs.IsFailedPrecondition(err):
		return fault.Wrap(err, fault.Unavailable, "%sthe registry sent damaged data: %s", where, msg)
	case errdefs.IsNotFound(err):
		return fault.Wrap(err, fault.NotFound, "%s%s", where, msg)
	case errors.As(err, &opErr), errors.As(err, &urlErr):
		return fault.Wrap(err, fault.Unavailable, "%s%s", where, msg)
	}
	return fault.Wrap(err, fault.Unprocessable, "%s%s", where, msg)
}

// lineOf quotes a line of a Dockerfile.
func lineOf(dockerfile []byte, n int) string {
	lines := strings.Split(string(dockerfile), "\n")
	if n < 1 || n > len(lines) {
		return ""
	}
	return "\"" + strings.TrimSpace(lines[n-1]) + "\": "
}

// lastPart shortens BuildKit's chains of context, which repeat the Dockerfile.
func lastPart(msg string) string {
	msg = strings.TrimPrefix(msg, "failed to solve: ")
	// The front end wraps an error in what the error already says.
	if n := (len(msg) - len(": ")) / 2; n > 0 && msg[:n] == msg[len(msg)-n:] {
		msg = msg[:n]
	}
	if len(msg) > 2000 {
		msg = msg[:2000]
	}
	return strings.ToValidUTF8(msg, "?")
}

// buildKitVersion is the version of the library in this program.
func buildKitVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, m := range info.Deps {
		if m.Path == "github.com/moby/buildkit" {
			return m.Version
		}
	}
	return ""
}
