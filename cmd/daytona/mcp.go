//go:build linux

package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"daytona/internal/version"
	"daytona/mcp"
	daytona "daytona/sdk/go"
)

// mcpPath is where agents reach the server by HTTP.
const mcpPath = "/mcp"

// maxMCPRequest bounds a request of an agent, which may carry a file.
const maxMCPRequest = 32 << 20

// withMCP puts the Model Context Protocol in front of a handler. Requests carry
// an API key, as all others do, and work by the API with it. No session is kept
// in memory: any server of several can answer any request, and a request can do
// no more than its own key.
func withMCP(next http.Handler, listener net.Addr, log *slog.Logger) http.Handler {
	direct := &loopback{address: listener.String(), next: http.DefaultTransport}
	client := &http.Client{Transport: direct}
	handler := sdk.NewStreamableHTTPHandler(func(r *http.Request) *sdk.Server {
		key := bearer(r)
		c, err := daytona.New(daytona.WithAPIKey(key), daytona.WithAPIURL("http://"+direct.address+"/api"),
			daytona.WithHTTPClient(client), daytona.WithSource("daytona-mcp", "api-client-go/"+version.Version),
			daytona.WithEnvironment(func(string) (string, bool) { return "", false }, ""))
		if err != nil {
			return nil
		}
		sum := sha256.Sum256([]byte(key))
		return mcp.New(mcp.Config{Client: c, Version: version.Version, Keep: "key-" + hex.EncodeToString(sum[:6]), Log: log})
	}, &sdk.StreamableHTTPOptions{
		Stateless: true, Logger: log, MaxRequestBodyBytes: maxMCPRequest, PropagateRequestCancellation: true,
		// Which host names reach this server is the operator's matter; a page
		// in a browser has no key to send.
		DisableLocalhostProtection: true,
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != mcpPath {
			next.ServeHTTP(w, r)
			return
		}
		if status, text := admit(r.Context(), bearer(r), direct, client); status != 0 {
			if status == http.StatusUnauthorized {
				w.Header().Set("WWW-Authenticate", `Bearer realm="daytona"`)
			}
			http.Error(w, text, status)
			return
		}
		handler.ServeHTTP(w, r)
	})
}

// admit refuses a request whose key the API does not take.
func admit(ctx context.Context, key string, direct *loopback, client *http.Client) (int, string) {
	if key == "" {
		return http.StatusUnauthorized, "send an API key: Authorization: Bearer dtn_…"
	}
	c, err := daytona.New(daytona.WithAPIKey(key), daytona.WithAPIURL("http://"+direct.address+"/api"), daytona.WithHTTPClient(client),
		daytona.WithRetries(0), daytona.WithEnvironment(func(string) (string, bool) { return "", false }, ""))
	if err != nil {
		return http.StatusUnauthorized, "the API key is malformed"
	}
	_, err = c.Me(ctx)
	switch {
	case err == nil:
		return 0, ""
	case errors.Is(err, daytona.ErrUnauthorized):
		return http.StatusUnauthorized, err.Error()
	case errors.Is(err, daytona.ErrForbidden):
		return http.StatusForbidden, err.Error()
	}
	return http.StatusServiceUnavailable, "the API does not answer; try again"
}

func bearer(r *http.Request) string {
	scheme, key, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(key)
}

// loopback sends requests to this very server, whatever address it tells its
// clients: that may be one which only they can reach.
type loopback struct {
	address string
	next    http.RoundTripper
}

func (l *loopback) RoundTrip(r *http.Request) (*http.Response, error) {
	out := r.Clone(r.Context())
	out.Host = r.URL.Host
	target := url.URL{Scheme: "http", Host: l.address, Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery}
	out.URL = &target
	return l.next.RoundTrip(out)
}
