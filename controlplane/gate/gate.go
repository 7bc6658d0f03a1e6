// Package gate decides who may reach the ports of a sandbox, on behalf of the
// proxy.
package gate

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"daytona/api/proxyapi"
	"daytona/api/runnerapi"
	"daytona/controlplane/auth"
	"daytona/controlplane/grant"
	"daytona/controlplane/sandbox"
	"daytona/internal/fault"
)

// Sandboxes is what a Gate needs of the sandboxes.
type Sandboxes interface {
	Target(ctx context.Context, id string) (sandbox.Sandbox, runnerapi.Runner, error)
	Get(ctx context.Context, orgID, idOrName string) (sandbox.Sandbox, error)
	Start(ctx context.Context, orgID, idOrName string) (sandbox.Sandbox, error)
	Touch(ctx context.Context, id string)
}

// Config is what a Gate needs.
type Config struct {
	Auth      *auth.Service
	Grants    *grant.Service
	Sandboxes Sandboxes
	Log       *slog.Logger
	// SignInURL is the page at which people sign in.
	SignInURL *url.URL
	Now       func() time.Time // defaults to time.Now
}

// Gate implements proxyapi.ControlPlane in the control plane's own process.
type Gate struct {
	Config
	seal seal
}

// keyName is the name under which the servers share the key of the seal.
const keyName = "preview-sessions"

// Open returns a Gate.
func Open(ctx context.Context, c Config) (*Gate, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	var fresh [32]byte
	rand.Read(fresh[:]) // never fails
	value, err := c.Grants.Store.ServerKey(ctx, keyName, hex.EncodeToString(fresh[:]))
	if err != nil {
		return nil, err
	}
	key, err := hex.DecodeString(value)
	if err != nil || len(key) != len(fresh) {
		return nil, fmt.Errorf("the key %s in the database is damaged", keyName)
	}
	return &Gate{Config: c, seal: seal{key: key, now: c.Now}}, nil
}

// errUnknown is said to somebody who is known, of a sandbox that is not theirs or
// is not there at all.
func errUnknown() error {
	return fault.New(fault.NotFound, "There is no such sandbox, or you have no access to it")
}

func errCredentials(text string) error { return fault.New(fault.Unauthenticated, "%s", text) }

// Admit implements proxyapi.ControlPlane.
func (g *Gate) Admit(ctx context.Context, ask proxyapi.Ask) (proxyapi.Pass, error) {
	if ask.Port < 1 || ask.Port > 65535 {
		return proxyapi.Pass{}, fault.New(fault.Invalid, "port %d is not between 1 and 65535", ask.Port)
	}
	id, linked, err := g.resolve(ctx, ask.Ref, ask.Port)
	if err != nil {
		return proxyapi.Pass{}, err
	}
	sb, _, err := g.Sandboxes.Target(ctx, id)
	if err != nil && fault.Is(err, fault.NotFound) {
		sb = sandbox.Sandbox{}
	} else if err != nil && sb.ID == "" {
		return proxyapi.Pass{}, err
	}
	by, err := g.open(ctx, sb, linked, ask)
	if err != nil {
		return proxyapi.Pass{}, err
	}
	return pass(sb, by), nil
}

// resolve returns the id of the sandbox that a host names. A link that is unknown
// is like an unknown sandbox.
func (g *Gate) resolve(ctx context.Context, ref string, port int) (id string, linked bool, err error) {
	if strings.Contains(ref, "-") { // ids are UUIDs
		return ref, false, nil
	}
	t, err := g.Grants.FindLink(ctx, ref, port)
	if err == nil {
		return t.SandboxID, true, nil
	}
	if fault.Is(err, fault.NotFound) {
		return ref, false, nil
	}
	return "", false, err
}

// open tries what a caller showed. sb is empty for an unknown sandbox.
func (g *Gate) open(ctx context.Context, sb sandbox.Sandbox, linked bool, ask proxyapi.Ask) (proxyapi.By, error) {
	if sb.ID != "" && sb.Public && !proxyapi.Guarded(ask.Port) {
		return proxyapi.ByPublic, nil
	}
	var refused error
	if ask.With.Bearer != "" {
		err := g.bearer(ctx, sb, ask)
		if err == nil {
			return proxyapi.ByBearer, nil
		}
		if fault.Is(err, fault.Unavailable) {
			return "", err
		}
		refused = err
	}
	for _, shown := range []struct {
		by    proxyapi.By
		token string
	}{{proxyapi.ByHeader, ask.With.Header}, {proxyapi.ByQuery, ask.With.Query}} {
		if shown.token == "" {
			continue
		}
		if sb.PreviewToken != "" && subtle.ConstantTimeCompare([]byte(shown.token), []byte(sb.PreviewToken)) == 1 {
			return shown.by, nil
		}
		if refused == nil {
			refused = errCredentials("authentication failed: the preview token is wrong, or was replaced when the sandbox stopped; ask for a new preview link")
		}
	}
	if ask.With.Cookie != "" && sb.ID != "" && g.session(ctx, sb, ask) {
		return proxyapi.ByCookie, nil
	}
	if linked && sb.ID != "" {
		return proxyapi.ByLink, nil
	}
	if refused == nil {
		refused = errCredentials("missing authentication: show an API key as bearer token, or the preview token in the header X-Daytona-Preview-Token or the query DAYTONA_SANDBOX_AUTH_KEY")
	}
	return "", refused
}

// bearer checks an API key.
func (g *Gate) bearer(ctx context.Context, sb sandbox.Sandbox, ask proxyapi.Ask) error {
	id, err := g.Auth.Authenticate(ctx, ask.With.Bearer)
	if fault.Is(err, fault.Unauthenticated) {
		return errCredentials("authentication failed: the API key is not valid")
	}
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, "The API key cannot be checked at the moment. Try again later")
	}
	if ask.With.OrgID != "" && ask.With.OrgID != id.OrgID {
		return errUnknown()
	}
	return allowed(id, sb, ask.Port)
}

// allowed says whether a member of an organization may reach a port. A port by
// which a sandbox is controlled needs the right to change it.
func allowed(id auth.Identity, sb sandbox.Sandbox, port int) error {
	if sb.ID == "" || sb.OrgID != id.OrgID {
		return errUnknown()
	}
	if proxyapi.Guarded(port) {
		return id.Require(auth.WriteSandboxes)
	}
	return nil
}

// AdmitSSH implements proxyapi.ControlPlane.
func (g *Gate) AdmitSSH(ctx context.Context, token string) (proxyapi.Pass, error) {
	t, err := g.Grants.FindSSH(ctx, token)
	if errors.Is(err, grant.ErrRevoked) {
		return proxyapi.Pass{}, fault.New(fault.NotFound, "The token was revoked").WithCode(proxyapi.CodeRevoked)
	}
	if err != nil {
		return proxyapi.Pass{}, err
	}
	sb, _, err := g.Sandboxes.Target(ctx, t.SandboxID)
	if err != nil && sb.ID == "" {
		return proxyapi.Pass{}, err
	}
	return pass(sb, proxyapi.BySSH), nil
}

func pass(sb sandbox.Sandbox, by proxyapi.By) proxyapi.Pass {
	p := proxyapi.Pass{
		SandboxID: sb.ID, OrgID: sb.OrgID, By: by, State: string(sb.Met()),
		Startable:  sb.State == sandbox.Stopped && sb.Desired == sandbox.Stopped || sb.Shown() == sandbox.Stopping || sb.State == sandbox.Error && sb.Recoverable,
		AutoWake:   sb.Labels[sandbox.LabelAutoWake] == "true",
		Generation: generation(sb),
	}
	switch {
	case sb.ErrorReason != nil && sb.State == sandbox.Error:
		p.Why = *sb.ErrorReason
	case sb.EndCause != "" && sb.State == sandbox.Stopped:
		p.Why = sb.EndCause
		if sb.EndEvidence != "" {
			p.Why += ": " + sb.EndEvidence
		}
	}
	return p
}

// generation names a run of a sandbox, as long as its preview token lasts.
func generation(sb sandbox.Sandbox) string {
	sum := sha256.Sum256([]byte("generation " + sb.ID + sb.PreviewToken))
	return hex.EncodeToString(sum[:8])
}

// wakePause is how long a wake waits before it looks again.
const wakePause = 100 * time.Millisecond

// Wake implements proxyapi.ControlPlane.
func (g *Gate) Wake(ctx context.Context, sandboxID string) error {
	sb, _, err := g.Sandboxes.Target(ctx, sandboxID)
	if err != nil {
		return err
	}
	for {
		// Starting what is on its way waits a while; what is stopping has to be
		// waited for.
		sb, err = g.Sandboxes.Start(ctx, sb.OrgID, sandboxID)
		switch {
		case err == nil && sb.Met() == sandbox.Started:
			return nil
		case err == nil && sb.State == sandbox.Error:
			why := "it failed"
			if sb.ErrorReason != nil {
				why = *sb.ErrorReason
			}
			return fault.New(fault.Unprocessable, "The sandbox could not be started: %s", why)
		case err != nil && !fault.Is(err, fault.Conflict):
			return err
		}
		if err != nil {
			if sb, _, err = g.Sandboxes.Target(ctx, sandboxID); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return fault.New(fault.Timeout, "The sandbox takes long to start. Try again in a moment")
		case <-time.After(wakePause):
		}
	}
}

// Touch implements proxyapi.ControlPlane.
func (g *Gate) Touch(sandboxID string) { g.Sandboxes.Touch(context.Background(), sandboxID) }

// DialPort implements proxyapi.ControlPlane.
func (g *Gate) DialPort(ctx context.Context, sandboxID string, port int) (net.Conn, error) {
	_, runner, err := g.Sandboxes.Target(ctx, sandboxID)
	if err != nil {
		return nil, err
	}
	return runner.DialPort(ctx, sandboxID, port)
}

// RoundTripToolbox implements proxyapi.ControlPlane.
func (g *Gate) RoundTripToolbox(r *http.Request, sandboxID string) (*http.Response, error) {
	_, runner, err := g.Sandboxes.Target(r.Context(), sandboxID)
	if err != nil {
		return nil, err
	}
	return runner.RoundTripToolbox(r, sandboxID)
}
