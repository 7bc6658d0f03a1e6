// Package upload is about what clients bring themselves: files for builds, into
// object storage, and images, into the registry. It gives them credentials that
// end within the hour and reach what is their organization's alone.
package upload

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"daytona/internal/fault"
	"daytona/internal/lazyregexp"
	"daytona/internal/objectstore"
	"daytona/internal/ociregistry"
	"daytona/internal/s3gate"
)

// BucketName is the bucket as clients know it: the one that SDKs take when they
// are told none. It is also the path at which it is served.
const BucketName = "daytona-volume-builds"

// life is how long credentials are good for. Builds wait in a queue before they
// fetch what they need, so addresses for runners last longer.
const (
	life       = time.Hour
	runnerLife = 6 * time.Hour
)

// contextFile is the name under which clients keep a context below its hash.
const contextFile = "context.tar"

// Config is what a Service needs.
type Config struct {
	Bucket objectstore.Bucket
	// Key is the secret that credentials follow from, 32 bytes. Every server
	// over the same bucket has the same.
	Key []byte
	// URL is where clients reach object storage; SecureURL is for those that
	// refuse plain HTTP. RunnerURL is where runners do.
	URL, SecureURL, RunnerURL *url.URL
	// RegistryURL is where clients reach the registry. Defaults to URL.
	RegistryURL *url.URL
	// RegistryDir is where the registry keeps images; "" is no registry.
	RegistryDir string
	// Budget is how many bytes the files for builds of all organizations may
	// take: what no snapshot and no image needs goes then, the least recently
	// used first. Limit is how many bytes one organization may have there.
	// 0 is no limit.
	Budget, Limit int64
	// PushLimit is how many bytes of pushed images one organization may have; 0
	// is no limit.
	PushLimit int64
	// KeepPushed is how long a pushed tag stays that no snapshot and no image
	// needs; 0 is for ever.
	KeepPushed time.Duration
	Log        *slog.Logger
	Now        func() time.Time
}

// Service gives credentials, and knows what was uploaded.
type Service struct {
	// Keys says whose an API key is, Rows what is needed. They are set before
	// anything is served.
	Keys Keys
	Rows Rows

	c        Config
	issuer   *s3gate.Issuer
	gate     *s3gate.Gate
	registry *ociregistry.Registry
	spoken   spoken
	stock    stock
}

// New returns a Service.
func New(c Config) (*Service, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.RegistryURL == nil {
		c.RegistryURL = c.URL
	}
	issuer := s3gate.NewIssuer(c.Key)
	s := &Service{c: c, issuer: issuer}
	s.spoken.since = c.Now()
	s.gate = s3gate.New(s3gate.Config{
		Bucket: c.Bucket, Name: BucketName, Issuer: issuer, Log: c.Log, Now: c.Now,
		Seen: func(key string) { s.spoken.note(key, c.Now()) }, Admit: s.admit,
	})
	if c.RegistryDir == "" {
		return s, nil
	}
	key := sha256.Sum256(append([]byte("registry uploads\n"), c.Key...))
	var err error
	s.registry, err = ociregistry.New(ociregistry.Config{
		Dir: c.RegistryDir, Key: key[:], Authenticate: s.Authenticate, Limit: c.PushLimit, Owner: ownerOf, Keep: s.pinned, Log: c.Log, Now: c.Now,
	})
	return s, err
}

// StorageAccess is what a client of object storage needs.
type StorageAccess struct {
	s3gate.Credentials
	URL, Bucket, Region string
}

// Storage gives credentials for an organization's part of object storage. secure
// asks for an address that is not plain HTTP.
func (s *Service) Storage(orgID string, secure bool) (StorageAccess, error) {
	prefix, err := prefixOf(orgID)
	if err != nil {
		return StorageAccess{}, err
	}
	c, err := s.issuer.Issue(s3gate.Grant{Prefix: prefix, Expires: s.c.Now().Add(life)})
	if err != nil {
		return StorageAccess{}, err
	}
	at := s.c.URL
	if secure {
		at = s.c.SecureURL
	}
	return StorageAccess{Credentials: c, URL: strings.TrimRight(at.String(), "/"), Bucket: BucketName, Region: "us-east-1"}, nil
}

// Handler serves object storage, below /BucketName.
func (s *Service) Handler() http.Handler { return s.gate }

// Serves says whether a path is one of object storage.
func Serves(path string) bool {
	return path == "/"+BucketName || strings.HasPrefix(path, "/"+BucketName+"/")
}

// ContextURL is an address from which a runner can fetch an organization's
// context, a tar archive, for hours. It is NotFound when nothing was uploaded
// under that hash.
func (s *Service) ContextURL(ctx context.Context, orgID, hash string) (string, error) {
	key, err := contextKey(orgID, hash)
	if err != nil {
		return "", err
	}
	s.spoken.note(key, s.c.Now())
	if _, err := s.c.Bucket.Stat(ctx, key); fault.Is(err, fault.NotFound) {
		return "", fault.New(fault.NotFound, "no build context %s was uploaded", hash)
	} else if err != nil {
		return "", err
	}
	now := s.c.Now()
	return s.issuer.Presign(s.c.RunnerURL, BucketName, key, now, now.Add(runnerLife))
}

// Check says whether object storage works.
func (s *Service) Check(ctx context.Context) error { return s.c.Bucket.Check(ctx) }

var name = lazyregexp.New(`^[A-Za-z0-9][A-Za-z0-9_-]{0,127}$`)

// Archives is what the keys of archived sandboxes begin with. They share the bucket
// with uploads, are in no client's reach, and no budget of uploads counts or
// removes them.
const Archives = "archives/"

func prefixOf(orgID string) (string, error) {
	if !name.MatchString(orgID) || orgID+"/" == Archives {
		return "", fault.New(fault.Invalid, "%q is not the id of an organization", orgID)
	}
	return orgID + "/", nil
}

func contextKey(orgID, hash string) (string, error) {
	prefix, err := prefixOf(orgID)
	if err != nil {
		return "", err
	}
	if !name.MatchString(hash) {
		return "", fault.New(fault.Invalid, "%q is not the hash of a build context", hash)
	}
	return prefix + hash + "/" + contextFile, nil
}
