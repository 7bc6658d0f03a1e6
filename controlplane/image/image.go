// Package image has the runners hold the images that snapshots and sandboxes are
// made of, and tells how far each of them is.
//
// An image is known by a name that stands for one content: a definition of an
// organization (Dockerfile and contexts), or a reference as it was pulled for
// one snapshot. Rows say what shall be; Service.Sync compares them with what
// the runners report and tells a runner what is missing. Each of its steps can
// be repeated, so a process or a runner may end between any two. An image that
// no snapshot and no sandbox needs any more goes away.
package image

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"regexp"
	"slices"
	"strings"
	"time"
)

// State is how far an image is.
type State string

// The states.
const (
	Wanted   State = "wanted"  // no runner has been told
	Pending  State = "pending" // waits for its turn on its runner
	Pulling  State = "pulling"
	Building State = "building"
	Ready    State = "ready"  // its runner held it once, and can make it again
	Failed   State = "failed" // Reason says why
)

// Settled reports whether nothing will change by itself.
func (s State) Settled() bool { return s == Ready || s == Failed }

// Image is an image that runners shall hold.
type Image struct {
	Name       string
	OrgID      string
	Ref        string   // in a registry; "" for all others
	Digest     string   // what Ref stood for when it was pulled first; "" until then
	Dockerfile string   // "" for a pull
	Sandbox    string   // id of the sandbox whose files it holds; "" for all others
	Contexts   []string // hashes of uploaded contexts, sorted
	Entrypoint []string // replaces the image's own when not empty

	State    State
	Reason   string // why it failed
	Progress string // one line a person can read
	Waiting  int    // while pending: how many are before it
	// RunnerID is the runner that makes it or made it first, and has its log.
	// While Wanted it is a wish.
	RunnerID        string
	SizeBytes       int64
	FoundEntrypoint []string
	Isolation       string // the weakest that it may run in; "" for any

	// UsedAt is when a sandbox was last asked for with its definition; nil is
	// never. Snapshots keep their images without it.
	UsedAt     *time.Time
	CreatedAt  time.Time
	StateSince time.Time
	Version    int64 // counts changes
}

// Built reports whether i is made from a Dockerfile.
func (i Image) Built() bool { return i.Dockerfile != "" }

// BuildOf is the image of a definition. The same definition of the same
// organization is the same image.
func BuildOf(orgID, dockerfile string, contexts []string) Image {
	contexts = slices.Clone(contexts)
	slices.Sort(contexts)
	contexts = slices.Compact(contexts)
	return Image{
		Name:  name(append([]string{"build", orgID, dockerfile}, contexts...)),
		OrgID: orgID, Dockerfile: dockerfile, Contexts: contexts, State: Wanted,
	}
}

// Pinned is the reference to pull: once it is known what the tag stood for, that
// very content, wherever the tag has moved.
func (i Image) Pinned() string {
	if i.Digest == "" || strings.Contains(i.Ref, "@") {
		return i.Ref
	}
	return i.Ref + "@" + i.Digest
}

// PullOf is the image of a reference, as it is pulled for one snapshot: what a
// tag stands for may change, so each snapshot has its own.
func PullOf(orgID, snapshotID, ref string, entrypoint []string) Image {
	return Image{
		Name:  name([]string{"pull", snapshotID}),
		OrgID: orgID, Ref: ref, Entrypoint: entrypoint, State: Wanted,
	}
}

// CaptureOf is the image of a sandbox's files, as they are taken for one
// snapshot on the runner that has the sandbox. It cannot be made again.
func CaptureOf(orgID, snapshotID, sandboxID, runnerID string) Image {
	return Image{
		Name:  name([]string{"sandbox", snapshotID}),
		OrgID: orgID, Sandbox: sandboxID, RunnerID: runnerID, State: Wanted,
	}
}

func name(parts []string) string {
	h := sha256.New()
	for _, p := range parts {
		_ = binary.Write(h, binary.BigEndian, uint64(len(p))) // a hash takes everything
		h.Write([]byte(p))
	}
	return "daytona-" + hex.EncodeToString(h.Sum(nil)) + ":daytona"
}

var ours = regexp.MustCompile(`^daytona-[0-9a-f]{64}:daytona$`)

// Ours reports whether an image of this name was made for a row here, and not by
// a runner's operator.
func Ours(name string) bool { return ours.MatchString(name) }

// Store keeps images. Unknown rows are fault.NotFound, stale ones
// fault.Conflict.
type Store interface {
	// DeclareImage stores i unless there is one of its name, which it returns
	// then, with UsedAt moved on. One that failed becomes Wanted again. Version
	// grows in any case, so that a removal begun before is refused.
	DeclareImage(ctx context.Context, i Image) (Image, error)
	Image(ctx context.Context, name string) (Image, error)
	Images(ctx context.Context) ([]Image, error)
	// MoveImage stores state and findings of i if the row still has its
	// Version, and returns the row.
	MoveImage(ctx context.Context, i Image) (Image, error)
	// UnusedImages lists the images that no usable snapshot and no sandbox
	// under way is made of, and that no sandbox was asked for since a time.
	UnusedImages(ctx context.Context, since time.Time) ([]Image, error)
	// SpareImages lists those of UnusedImages of which no sandbox is left either,
	// the least recently used first.
	SpareImages(ctx context.Context, since time.Time) ([]Image, error)
	// DeleteImage removes a row that is still as it was read, and still unused.
	DeleteImage(ctx context.Context, i Image, since time.Time) error
}
