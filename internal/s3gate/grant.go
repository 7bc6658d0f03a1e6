// Package s3gate lets clients of S3 reach a part of a bucket with temporary
// credentials.
//
// It is a server of the few operations that put and fetch objects, in front of
// any objectstore.Bucket. Every request is verified and understood here, and
// what reaches the bucket is a call made of what was understood, never the
// request itself: nothing can mean one thing to the check and another to the
// store. What is not among the operations is refused.
//
// Credentials hold no state on the server. The session token says what they
// reach and until when, under a code of authenticity; the secret follows from it.
package s3gate

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"time"
)

// Grant says what credentials reach.
type Grant struct {
	// Prefix is the start of every key that they reach; it ends in "/". Or, with
	// Exact, the one key.
	Prefix   string
	Exact    bool
	ReadOnly bool
	Expires  time.Time
}

// Credentials are what an S3 client needs.
type Credentials struct {
	AccessKey, Secret, SessionToken string
	Expires                         time.Time
}

// claims is a grant as a token carries it.
type claims struct {
	AccessKey string `json:"k"`
	Prefix    string `json:"p"`
	Exact     bool   `json:"x,omitempty"`
	ReadOnly  bool   `json:"r,omitempty"`
	Expires   int64  `json:"e"` // seconds since 1970
}

// Issuer makes credentials. All servers with the same key accept them.
type Issuer struct{ key []byte }

// NewIssuer returns an issuer. key is secret, 32 random bytes.
func NewIssuer(key []byte) *Issuer { return &Issuer{key: key} }

// accessKeyPrefix tells our access keys from those of other stores.
const accessKeyPrefix = "DTN"

// Issue makes credentials for a grant.
func (i *Issuer) Issue(g Grant) (Credentials, error) {
	if g.Prefix == "" || !g.Exact && !strings.HasSuffix(g.Prefix, "/") {
		return Credentials{}, errors.New("s3gate: a grant needs a prefix that ends in /, or one key")
	}
	c := claims{AccessKey: accessKeyPrefix + rand.Text()[:17], Prefix: g.Prefix, Exact: g.Exact, ReadOnly: g.ReadOnly, Expires: g.Expires.Unix()}
	payload, err := json.Marshal(c)
	if err != nil {
		return Credentials{}, err
	}
	return Credentials{
		AccessKey: c.AccessKey, Secret: i.secret(payload), Expires: time.Unix(c.Expires, 0).UTC(),
		SessionToken: encode(payload) + "." + encode(i.code("token", payload)),
	}, nil
}

func (i *Issuer) code(use string, payload []byte) []byte {
	mac := hmac.New(sha256.New, i.key)
	mac.Write([]byte("s3gate " + use + "\n"))
	mac.Write(payload)
	return mac.Sum(nil)
}

func (i *Issuer) secret(payload []byte) string { return encode(i.code("secret", payload)) }

// open returns the grant and the secret of a token that this issuer made for an
// access key.
func (i *Issuer) open(accessKey, token string) (Grant, string, bool) {
	text, code, ok := strings.Cut(token, ".")
	if !ok {
		return Grant{}, "", false
	}
	payload, err1 := decode(text)
	given, err2 := decode(code)
	if err1 != nil || err2 != nil || !hmac.Equal(given, i.code("token", payload)) {
		return Grant{}, "", false
	}
	var c claims
	if err := json.Unmarshal(payload, &c); err != nil || !hmac.Equal([]byte(c.AccessKey), []byte(accessKey)) {
		return Grant{}, "", false
	}
	return Grant{Prefix: c.Prefix, Exact: c.Exact, ReadOnly: c.ReadOnly, Expires: time.Unix(c.Expires, 0)}, i.secret(payload), true
}

// reaches says whether a key is within the grant.
func (g Grant) reaches(key string) bool {
	if g.Exact {
		return key == g.Prefix
	}
	return strings.HasPrefix(key, g.Prefix) && key != ""
}

// lists says whether keys that begin with prefix may be listed. Some clients
// leave out the slash at the end; see visible.
func (g Grant) lists(prefix string) bool {
	return !g.Exact && (strings.HasPrefix(prefix, g.Prefix) || prefix == strings.TrimSuffix(g.Prefix, "/"))
}

func encode(b []byte) string          { return base64.RawURLEncoding.EncodeToString(b) }
func decode(s string) ([]byte, error) { return base64.RawURLEncoding.Strict().DecodeString(s) }
