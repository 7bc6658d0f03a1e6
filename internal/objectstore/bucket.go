// Package objectstore keeps bytes under keys in a bucket of any S3, or of the
// one that package embedded runs over a directory.
package objectstore

import (
	"context"
	"io"
	"time"
)

// Bucket is one bucket. Keys are UTF-8 paths such as "org/hash/context.tar"; see
// CheckKey. What does not exist is a fault.NotFound, what the store does not
// answer a fault.Unavailable.
type Bucket interface {
	// Check says whether the bucket can be reached and used.
	Check(ctx context.Context) error
	// Put keeps size bytes of body under key. Readers see the whole object or
	// the one before it, never a part; a body that ends early changes nothing.
	Put(ctx context.Context, key string, body io.Reader, size int64, contentType string) (Object, error)
	// Get reads an object; r limits it to a part. The caller closes the body.
	Get(ctx context.Context, key string, r *Range) (io.ReadCloser, Object, error)
	// Stat describes an object.
	Stat(ctx context.Context, key string) (Object, error)
	// List lists keys in the order of their bytes.
	List(ctx context.Context, q Query) (Page, error)
	// Delete removes an object; one that does not exist is no error.
	Delete(ctx context.Context, key string) error

	// Begin starts an upload in parts, of which nothing is seen until Complete.
	// It survives every restart, until Complete or Abort.
	Begin(ctx context.Context, key, contentType string) (uploadID string, err error)
	// PutPart keeps part n (1 to MaxParts) of an upload, again if need be. All
	// parts but the last have MinPart bytes at least.
	PutPart(ctx context.Context, key, uploadID string, n int, body io.Reader, size int64) (Part, error)
	// Parts lists what an upload has, in the order of their numbers.
	Parts(ctx context.Context, key, uploadID string) ([]Part, error)
	// Complete makes the object of the parts named.
	Complete(ctx context.Context, key, uploadID string, parts []Part) (Object, error)
	// Abort forgets an upload and its parts; an unknown one is no error.
	Abort(ctx context.Context, key, uploadID string) error
	// Uploads lists uploads under way below a prefix.
	Uploads(ctx context.Context, prefix string) ([]Upload, error)
}

// What S3 allows for uploads in parts.
const (
	MinPart  = 5 << 20
	MaxPart  = 5 << 30
	MaxParts = 10000
)

// Object describes an object.
type Object struct {
	Key         string
	Size        int64  // of the whole object
	ETag        string // with its quotes
	ContentType string // not set by List
	Modified    time.Time
}

// Range is a part of an object: from First to Last, both included. Last -1 is
// the end; First -1 means the Last bytes of the object.
type Range struct{ First, Last int64 }

// Query says what to list.
type Query struct {
	Prefix    string
	Delimiter string // "" or "/": keys are folded at the first one after the prefix
	After     string // list only keys behind this one
	Token     string // Next of the page before
	Max       int    // 0 is 1000
}

// Page is a part of a list.
type Page struct {
	Objects  []Object
	Prefixes []string // folded keys
	Next     string   // Token of the next page, "" at the end
}

// Part is a part of an upload.
type Part struct {
	Number int
	Size   int64
	ETag   string
}

// Upload is an upload under way.
type Upload struct {
	Key, ID string
	Begun   time.Time
}
