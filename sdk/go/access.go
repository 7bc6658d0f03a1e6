package daytona

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"daytona/api"
)

// PreviewURL returns where a port of the sandbox can be reached, and the token
// that opens it: send it as header X-Daytona-Preview-Token.
func (s *Sandbox) PreviewURL(ctx context.Context, port int) (api.PortPreviewURL, error) {
	return getAs[api.PortPreviewURL](ctx, s.client, s.path("ports", strconv.Itoa(port), "preview-url"), nil)
}

// SignedPreviewURL returns a link to a port that opens for whoever has it,
// until it expires.
func (s *Sandbox) SignedPreviewURL(ctx context.Context, port int, valid time.Duration) (api.SignedPortPreviewURL, error) {
	query := url.Values{}
	if valid > 0 {
		query.Set("expiresInSeconds", strconv.Itoa(seconds(valid)))
	}
	return getAs[api.SignedPortPreviewURL](ctx, s.client, s.path("ports", strconv.Itoa(port), "signed-preview-url"), query)
}

// ExpireSignedPreviewURL ends the validity of such a link by its token.
func (s *Sandbox) ExpireSignedPreviewURL(ctx context.Context, port int, token string) error {
	return s.client.call(ctx, request{method: http.MethodPost, url: s.path("ports", strconv.Itoa(port), "signed-preview-url", token, "expire"), again: true})
}

// SSHAccess makes a token with which the sandbox can be entered by SSH.
func (s *Sandbox) SSHAccess(ctx context.Context, valid time.Duration) (api.SSHAccess, error) {
	query := url.Values{}
	if valid > 0 {
		query.Set("expiresInMinutes", strconv.Itoa(max(1, int(valid/time.Minute))))
	}
	var out api.SSHAccess
	err := s.client.call(ctx, request{method: http.MethodPost, url: s.path("ssh-access"), query: query, out: &out})
	return out, err
}

// RevokeSSHAccess ends a token's validity, or with "" that of all.
func (s *Sandbox) RevokeSSHAccess(ctx context.Context, token string) error {
	query := url.Values{}
	if token != "" {
		query.Set("token", token)
	}
	return s.act(ctx, request{method: http.MethodDelete, url: s.path("ssh-access"), query: query, again: true})
}

// SSHAccesses says who can enter the sandbox by SSH now. Tokens are shown only
// when they are made.
func (s *Sandbox) SSHAccesses(ctx context.Context) ([]api.SSHAccessInfo, error) {
	return getAs[[]api.SSHAccessInfo](ctx, s.client, s.path("ssh-access"), nil)
}

// ValidateSSHAccess says whether a token opens a sandbox now, and which.
func (c *Client) ValidateSSHAccess(ctx context.Context, token string) (api.SSHAccessValidation, error) {
	return getAs[api.SSHAccessValidation](ctx, c, c.path("sandbox", "ssh-access", "validate"), url.Values{"token": {token}})
}
