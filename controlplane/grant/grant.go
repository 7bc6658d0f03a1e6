// Package grant gives out rights to reach one sandbox for a while: signed links
// to one of its ports, and logins by SSH.
//
// A right is a token, of which only the SHA-256 is stored. Who shows it needs
// nothing else.
package grant

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log/slog"
	"math/big"
	"time"

	"github.com/google/uuid"

	"daytona/controlplane/sandbox"
	"daytona/internal/fault"
)

// Kind is what a token is good for.
type Kind string

// The kinds.
const (
	Link Kind = "link" // previews of one port
	SSH  Kind = "ssh"
)

// Token is a right as it is stored: everything but the secret.
type Token struct {
	ID        string // UUID
	Hash      string // SHA-256 of the value, hex
	Kind      Kind
	SandboxID string
	Port      int // of a Link
	CreatedAt time.Time
	ExpiresAt time.Time
	Revoked   bool // taken back before its time
}

// Store keeps tokens. Unknown rows are fault.NotFound.
type Store interface {
	// PutToken stores a token. With alone it takes the place of all others of its
	// kind and sandbox, which expire when it was made.
	PutToken(ctx context.Context, t Token, alone bool) error
	Token(ctx context.Context, hash string) (Token, error)
	// Tokens lists those of a sandbox, the newest first, expired and revoked ones
	// included.
	Tokens(ctx context.Context, sandboxID string, kind Kind) ([]Token, error)
	// RevokeTokens marks the token with a hash, or with hash "" all of a kind, of
	// a sandbox as revoked, and says how many were not before.
	RevokeTokens(ctx context.Context, sandboxID string, kind Kind, hash string) (int, error)
	// PurgeTokens removes those of a kind that expired before a time.
	PurgeTokens(ctx context.Context, kind Kind, before time.Time) (int, error)
	// ServerKey returns the value stored under a name; there is none yet, it
	// stores fresh and returns that.
	ServerKey(ctx context.Context, name, fresh string) (string, error)
}

// Sandboxes is what a Service needs of the sandboxes.
type Sandboxes interface {
	Get(ctx context.Context, orgID, idOrName string) (sandbox.Sandbox, error)
}

// Config is what a Service needs.
type Config struct {
	Store     Store
	Sandboxes Sandboxes
	Log       *slog.Logger
	Now       func() time.Time // defaults to time.Now
}

// Service gives out tokens and says what they are good for.
type Service struct{ Config }

// New returns a Service.
func New(c Config) *Service {
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Service{c}
}

// Limits on how long tokens are good.
const (
	DefaultLink = time.Minute
	maxLink     = 24 * time.Hour
	DefaultSSH  = time.Hour
	maxSSH      = 30 * 24 * time.Hour
)

// SignLink makes a link to a port that is good for a while, 0 meaning
// DefaultLink, and returns the token for its host name: 16 lower-case letters
// and digits.
func (s *Service) SignLink(ctx context.Context, orgID, idOrName string, port int, life time.Duration) (Token, string, error) {
	life = cmp.Or(life, DefaultLink)
	switch {
	case port < 1 || port > 65535:
		return Token{}, "", fault.New(fault.Invalid, "port: must be between 1 and 65535")
	case life < time.Second || life > maxLink:
		return Token{}, "", fault.New(fault.Invalid, "expiresInSeconds: must be between 1 and %d", int(maxLink.Seconds()))
	}
	return s.give(ctx, orgID, idOrName, Token{Kind: Link, Port: port}, life, text(linkAlphabet, 16), false)
}

// ExpireLink ends a link before its time. One that has ended already is no error.
func (s *Service) ExpireLink(ctx context.Context, orgID, idOrName string, port int, value string) error {
	sb, err := s.Sandboxes.Get(ctx, orgID, idOrName)
	if err != nil {
		return err
	}
	t, err := s.Store.Token(ctx, hash(value))
	if fault.Is(err, fault.NotFound) || err == nil && (t.Kind != Link || t.SandboxID != sb.ID || t.Port != port) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = s.Store.RevokeTokens(ctx, sb.ID, Link, t.Hash)
	return err
}

// FindLink returns the link that a token is, or NotFound.
func (s *Service) FindLink(ctx context.Context, value string, port int) (Token, error) {
	t, err := s.find(ctx, value, Link)
	if err == nil && t.Port != port {
		return Token{}, fault.New(fault.NotFound, "The link is not good for port %d", port)
	}
	return t, err
}

// GrantSSH lets whoever shows the returned token, 32 letters and digits, log in,
// for a while, 0 meaning DefaultSSH. Earlier tokens of the sandbox end.
func (s *Service) GrantSSH(ctx context.Context, orgID, idOrName string, life time.Duration) (Token, string, error) {
	life = cmp.Or(life, DefaultSSH)
	if life < time.Minute || life > maxSSH {
		return Token{}, "", fault.New(fault.Invalid, "expiresInMinutes: must be between 1 and %d", int(maxSSH.Minutes()))
	}
	return s.give(ctx, orgID, idOrName, Token{Kind: SSH}, life, text(sshAlphabet, 32), true)
}

// ListSSH lists the logins of a sandbox that are good at present.
func (s *Service) ListSSH(ctx context.Context, orgID, idOrName string) (sandbox.Sandbox, []Token, error) {
	sb, err := s.Sandboxes.Get(ctx, orgID, idOrName)
	if err != nil {
		return sb, nil, err
	}
	all, err := s.Store.Tokens(ctx, sb.ID, SSH)
	if err != nil {
		return sb, nil, err
	}
	good := []Token{}
	for _, t := range all {
		if !t.Revoked && s.Now().Before(t.ExpiresAt) {
			good = append(good, t)
		}
	}
	return sb, good, nil
}

// RevokeSSH ends the login of a token, or with value "" every one, and those that
// were replaced or have expired with it: what was opened with them is ended. None
// is no error.
func (s *Service) RevokeSSH(ctx context.Context, orgID, idOrName, value string) (sandbox.Sandbox, error) {
	sb, err := s.Sandboxes.Get(ctx, orgID, idOrName)
	if err != nil {
		return sb, err
	}
	h := ""
	if value != "" {
		h = hash(value)
	}
	_, err = s.Store.RevokeTokens(ctx, sb.ID, SSH, h)
	return sb, err
}

// ErrRevoked is said of a token that was taken back, as opposed to one that has
// expired or was replaced: what was opened with it is to end.
var ErrRevoked = fault.New(fault.NotFound, "The token was revoked")

// FindSSH returns the login that a token is, or NotFound, which is ErrRevoked for
// one that was taken back.
func (s *Service) FindSSH(ctx context.Context, value string) (Token, error) {
	return s.find(ctx, value, SSH)
}

func (s *Service) find(ctx context.Context, value string, kind Kind) (Token, error) {
	if value == "" || len(value) > 64 {
		return Token{}, errUnknown()
	}
	t, err := s.Store.Token(ctx, hash(value))
	switch {
	case fault.Is(err, fault.NotFound):
		return Token{}, errUnknown()
	case err != nil:
		return Token{}, err
	case t.Kind == kind && t.Revoked:
		return Token{}, ErrRevoked
	case t.Kind != kind || !s.Now().Before(t.ExpiresAt):
		return Token{}, errUnknown()
	}
	return t, nil
}

func errUnknown() error {
	return fault.New(fault.NotFound, "The token is unknown or has expired")
}

func (s *Service) give(ctx context.Context, orgID, idOrName string, t Token, life time.Duration, value string, alone bool) (Token, string, error) {
	sb, err := s.Sandboxes.Get(ctx, orgID, idOrName)
	if err != nil {
		return Token{}, "", err
	}
	if sb.State == sandbox.Destroyed || sb.Desired == sandbox.Destroyed {
		return Token{}, "", fault.New(fault.NotFound, "Sandbox with ID or name %s not found: it was destroyed", idOrName)
	}
	now := s.Now().UTC().Truncate(time.Millisecond)
	t.ID, t.Hash, t.SandboxID, t.CreatedAt, t.ExpiresAt = uuid.NewString(), hash(value), sb.ID, now, now.Add(life)
	return t, value, s.Store.PutToken(ctx, t, alone)
}

// purgeEvery is how often expired tokens are removed, and keepSSH how long those
// for SSH are kept, for a login may go on after its token has expired and still
// be revoked.
const (
	purgeEvery = 10 * time.Minute
	keepSSH    = 30 * 24 * time.Hour
)

// Run removes expired tokens until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	tick := time.NewTicker(purgeEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			for kind, keep := range map[Kind]time.Duration{Link: 0, SSH: keepSSH} {
				if _, err := s.Store.PurgeTokens(ctx, kind, s.Now().Add(-keep)); err != nil && !errors.Is(err, context.Canceled) {
					s.Log.Warn("expired tokens not removed", "kind", kind, "error", err)
				}
			}
		}
	}
}

const (
	linkAlphabet = "abcdefghijklmnopqrstuvwxyz0123456789"
	sshAlphabet  = linkAlphabet + "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
)

// text is random text of an alphabet.
func text(alphabet string, n int) string {
	out := make([]byte, n)
	for i := range out {
		at, _ := rand.Int(rand.Reader, big.NewInt(int64(len(alphabet)))) // never fails
		out[i] = alphabet[at.Int64()]
	}
	return string(out)
}

func hash(value string) string {
	sum := sha256.Sum256([]byte(value))
	return hex.EncodeToString(sum[:])
}
