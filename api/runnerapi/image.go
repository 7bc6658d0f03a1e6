package runnerapi

import (
	"context"
	"io"
)

// ImageSpec is an image that a runner shall hold, so that sandboxes can be made
// of it. Exactly one of Pull, Build and Sandbox is set.
type ImageSpec struct {
	// Name is what Spec.Snapshot will call it. It stands for one content for
	// ever: other content gets another name.
	Name  string
	OrgID string // whose turn it is when work waits; "" for the operator's own
	Pull  *Pull
	Build *Build
	// Sandbox is the id of a sandbox on this runner, of the same organization,
	// whose files the image shall hold. Of a running one each file is as it is
	// when it is reached.
	Sandbox string
	// Entrypoint replaces the image's own entrypoint and command when it is
	// not empty. An image whose process would end at once gets one that stays.
	Entrypoint []string
	Auths      []RegistryAuth // for the image itself and for whatever a build begins from
}

// Pull names an image in a registry.
type Pull struct {
	Ref string // as in "ghcr.io/acme/tools:1.4" or "debian:12.11"
}

// Build is what an image is built from.
type Build struct {
	Dockerfile string
	Contexts   []BuildContext
	Args       map[string]string
}

// BuildContext is a tar archive whose files a build may copy. Its entries lie
// below Path in the build's context.
type BuildContext struct {
	Path string // relative, "" for the root of the context
	URL  string // where the archive is fetched from, credentials included; valid for an hour at least
}

// RegistryAuth is what a registry accepts for every image whose name begins with
// Prefix. The longest prefix counts.
type RegistryAuth struct {
	Prefix   string // registry host, with or without a path: "ghcr.io", "ghcr.io/acme"
	Username string
	Password string
}

// Images is the part of a runner that keeps images. How far an image is, Runner's
// Snapshots tells; each change of it is an Event.
type Images interface {
	// EnsureImage begins to fetch or build the image of spec, or joins the work
	// that another call began, and returns as soon as that is recorded durably:
	// a runner that is killed goes on, or reports the image as failed. An image
	// that is there is left alone; one that failed is tried again. Invalid says
	// that spec can never be carried out.
	EnsureImage(ctx context.Context, spec ImageSpec) error
	// RemoveImage ends the work on an image and removes its name and its log.
	// Sandboxes that were made of it keep what they need. Unknown names are no
	// error.
	RemoveImage(ctx context.Context, name string) error
	// ImageLog reads what making an image printed, from its first byte; while
	// it is being made the reader follows until the end when follow is set.
	// NotFound when nothing was recorded for the name.
	ImageLog(ctx context.Context, name string, follow bool) (io.ReadCloser, error)
}
