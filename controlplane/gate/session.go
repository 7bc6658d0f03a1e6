package gate

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"strings"
	"time"

	"daytona/api/proxyapi"
	"daytona/controlplane/auth"
	"daytona/controlplane/sandbox"
	"daytona/internal/fault"
)

// How long what is sealed is good for.
const (
	sessionLife = time.Hour
	codeLife    = time.Minute
)

// The kinds of what is sealed: one is not taken for another.
const (
	kindSession = "session" // the value of a cookie
	kindCode    = "code"    // brought back from the page for signing in
)

// claims is what is sealed. It is not secret: the seal only keeps it from being
// made up.
type claims struct {
	Kind    string `json:"k"`
	Sandbox string `json:"s"`
	Port    int    `json:"p"`
	Until   int64  `json:"u"` // Unix seconds
	// One of both: who may, by the hash of the API key that was shown, or until
	// which end of the sandbox.
	KeyHash    string `json:"h,omitempty"`
	Generation string `json:"g,omitempty"`
	Nonce      string `json:"n,omitempty"` // SHA-256 of a code's nonce, hex
}

// seal signs claims.
type seal struct {
	key []byte
	now func() time.Time
}

func (s seal) close(c claims) string {
	body, err := json.Marshal(c)
	if err != nil {
		panic(err) // it has strings and numbers only
	}
	text := base64.RawURLEncoding.EncodeToString(body)
	return text + "." + base64.RawURLEncoding.EncodeToString(s.sign(text))
}

func (s seal) sign(text string) []byte {
	mac := hmac.New(sha256.New, s.key)
	mac.Write([]byte(text))
	return mac.Sum(nil)
}

// open returns claims of a kind that are sealed and good at present.
func (s seal) open(kind, value string) (c claims, ok bool) {
	text, signature, ok := strings.Cut(value, ".")
	if !ok || len(value) > 2048 {
		return c, false
	}
	given, err := base64.RawURLEncoding.DecodeString(signature)
	if err != nil || !hmac.Equal(given, s.sign(text)) {
		return c, false
	}
	body, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || json.Unmarshal(body, &c) != nil {
		return c, false
	}
	return c, c.Kind == kind && s.now().Unix() < c.Until
}

func hashOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// session checks the cookie of an Ask.
func (g *Gate) session(ctx context.Context, sb sandbox.Sandbox, ask proxyapi.Ask) bool {
	c, ok := g.seal.open(kindSession, ask.With.Cookie)
	if !ok || c.Sandbox != sb.ID || c.Port != ask.Port {
		return false
	}
	return g.stillGood(ctx, sb, ask.Port, c) == nil
}

// stillGood says whether those to whom claims were given may still do what they
// were given for.
func (g *Gate) stillGood(ctx context.Context, sb sandbox.Sandbox, port int, c claims) error {
	if c.KeyHash == "" {
		if subtle.ConstantTimeCompare([]byte(c.Generation), []byte(generation(sb))) != 1 {
			return errCredentials("authentication failed: the sandbox was stopped since you came; open a new preview link")
		}
		return nil
	}
	id, err := g.Auth.Identify(ctx, c.KeyHash)
	if err != nil {
		return err
	}
	return allowed(id, sb, port)
}

// Session implements proxyapi.ControlPlane.
func (g *Gate) Session(ctx context.Context, ask proxyapi.Ask, code, nonce string) (string, time.Time, error) {
	until := g.Now().Add(sessionLife)
	made := claims{Kind: kindSession, Port: ask.Port, Until: until.Unix()}
	if code == "" { // for what is shown with the request
		p, err := g.Admit(ctx, ask)
		if err != nil {
			return "", time.Time{}, err
		}
		made.Sandbox, made.Generation = p.SandboxID, p.Generation
		return g.seal.close(made), until, nil
	}
	c, ok := g.seal.open(kindCode, code)
	if !ok || c.Sandbox != ask.Ref || c.Port != ask.Port || nonce == "" || subtle.ConstantTimeCompare([]byte(c.Nonce), []byte(hashOf(nonce))) != 1 {
		return "", time.Time{}, errCredentials("signing in took too long or was begun in another window. Try again")
	}
	sb, _, err := g.Sandboxes.Target(ctx, c.Sandbox)
	if err != nil {
		return "", time.Time{}, errUnknown()
	}
	if err := g.stillGood(ctx, sb, ask.Port, c); err != nil {
		return "", time.Time{}, err
	}
	made.Sandbox, made.KeyHash = c.Sandbox, c.KeyHash
	return g.seal.close(made), until, nil
}

// SignIn implements proxyapi.ControlPlane.
func (g *Gate) SignIn(back, nonce string) string {
	return proxyapi.SignInAt(g.SignInURL.String(), back, nonce)
}

// Code is what somebody who has signed in brings back to the proxy: the right to
// reach a port, if they have it. nonceHash is the nonce that SignIn was given.
func (g *Gate) Code(ctx context.Context, id auth.Identity, sandboxID string, port int, nonceHash string) (string, error) {
	sb, _, err := g.Sandboxes.Target(ctx, sandboxID)
	if err != nil && !fault.Is(err, fault.NotFound) {
		return "", err
	}
	if err != nil {
		sb = sandbox.Sandbox{}
	}
	if err := allowed(id, sb, port); err != nil {
		return "", err
	}
	return g.seal.close(claims{
		Kind: kindCode, Sandbox: sb.ID, Port: port, Until: g.Now().Add(codeLife).Unix(), KeyHash: id.Key.Hash, Nonce: nonceHash,
	}), nil
}
