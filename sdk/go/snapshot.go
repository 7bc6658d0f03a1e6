package daytona

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"daytona/api"
)

// Snapshots are the templates from which sandboxes are made.
type Snapshots struct{ client *Client }

// SnapshotParams says what snapshot to make: of an image that a registry has,
// or of one that is built.
type SnapshotParams struct {
	Name       string
	ImageName  string // with a tag that is not latest
	Image      *Image
	Entrypoint []string // only with ImageName; an Image has its own
	Resources  Resources
	Region     string
	// OnLog is called with each piece of the log of a build.
	OnLog func(text string)
	// NoWait returns as soon as the server has taken the order.
	NoWait bool
}

// Create makes a snapshot and waits until sandboxes can be made of it.
func (s *Snapshots) Create(ctx context.Context, p SnapshotParams) (api.Snapshot, error) {
	in := struct {
		Name       string               `json:"name"`
		ImageName  string               `json:"imageName,omitempty"`
		Entrypoint []string             `json:"entrypoint,omitempty"`
		CPU        int                  `json:"cpu,omitempty"`
		GPU        int                  `json:"gpu,omitempty"`
		Memory     int                  `json:"memory,omitempty"`
		Disk       int                  `json:"disk,omitempty"`
		Build      *api.CreateBuildInfo `json:"buildInfo,omitempty"`
		Region     string               `json:"regionId,omitempty"`
	}{p.Name, p.ImageName, p.Entrypoint, p.Resources.CPU, p.Resources.GPU, p.Resources.Memory, p.Resources.Disk, nil, p.Region}
	if (p.Image == nil) == (p.ImageName == "") {
		return api.Snapshot{}, errors.New("daytona: a snapshot is made of an image's name, or of an image that is built: give one of them")
	}
	if p.Image != nil {
		build, err := s.client.upload(ctx, p.Image)
		if err != nil {
			return api.Snapshot{}, err
		}
		in.Build = build
	}
	snap, err := postAs[api.Snapshot](ctx, s.client, s.client.path("snapshots"), in)
	if err != nil || p.NoWait {
		return snap, err
	}
	if p.OnLog != nil && p.Image != nil {
		following, stop := context.WithCancel(ctx)
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = s.follow(following, snap.ID, p.OnLog) // the build's end says what matters
		}()
		defer func() {
			select {
			case <-done:
			case <-time.After(time.Second):
			}
			stop()
			<-done
		}()
	}
	return s.Await(ctx, snap.ID)
}

// Await waits until sandboxes can be made of a snapshot. Only the context
// bounds it.
func (s *Snapshots) Await(ctx context.Context, idOrName string) (api.Snapshot, error) {
	patient := *s.client
	patient.wait = 0
	var snap api.Snapshot
	err := patient.poll(ctx, "the snapshot was not ready", func(ctx context.Context) (bool, error) {
		var err error
		if snap, err = s.Get(ctx, idOrName); err != nil {
			return false, err
		}
		switch snap.State {
		case api.SnapshotActive, api.SnapshotInactive:
			return true, nil
		case api.SnapshotError, api.SnapshotBuildFailed, api.SnapshotRemoving:
			reason := ""
			if snap.ErrorReason != nil {
				reason = *snap.ErrorReason
			}
			return false, &StateError{Kind: "snapshot", ID: snap.Name, State: string(snap.State), Reason: reason}
		}
		return false, nil
	})
	return snap, err
}

// Get returns a snapshot by its id or name.
func (s *Snapshots) Get(ctx context.Context, idOrName string) (api.Snapshot, error) {
	if idOrName == "" {
		return api.Snapshot{}, errors.New("daytona: the snapshot's id or name is empty")
	}
	return getAs[api.Snapshot](ctx, s.client, s.client.path("snapshots", idOrName), nil)
}

// Page returns a page of the list; pages count from 1.
func (s *Snapshots) Page(ctx context.Context, page, limit int) (api.PaginatedSnapshots, error) {
	return getAs[api.PaginatedSnapshots](ctx, s.client, s.client.path("snapshots"),
		url.Values{"page": {strconv.Itoa(page)}, "limit": {strconv.Itoa(limit)}})
}

// List yields the snapshots, one's own before general ones.
func (s *Snapshots) List(ctx context.Context) iter.Seq2[api.Snapshot, error] {
	return func(yield func(api.Snapshot, error) bool) {
		for page := 1; ; page++ {
			p, err := s.Page(ctx, page, 100)
			if err != nil {
				yield(api.Snapshot{}, err)
				return
			}
			for _, item := range p.Items {
				if !yield(item, nil) {
					return
				}
			}
			if page >= p.TotalPages {
				return
			}
		}
	}
}

// Delete removes a snapshot by its id.
func (s *Snapshots) Delete(ctx context.Context, id string) error {
	if id == "" {
		return errors.New("daytona: the snapshot's id is empty")
	}
	return s.client.call(ctx, request{method: http.MethodDelete, url: s.client.path("snapshots", id)})
}

// Activate makes a snapshot that lay idle usable again.
func (s *Snapshots) Activate(ctx context.Context, id string) (api.Snapshot, error) {
	return postAs[api.Snapshot](ctx, s.client, s.client.path("snapshots", id, "activate"), nil)
}

// Deactivate frees what an unused snapshot occupies; it can be activated again.
func (s *Snapshots) Deactivate(ctx context.Context, id string) error {
	return s.client.call(ctx, request{method: http.MethodPost, url: s.client.path("snapshots", id, "deactivate"), again: true})
}

// FollowBuild copies the log of a snapshot's build to a writer, until the build
// ends.
func (s *Snapshots) FollowBuild(ctx context.Context, id string, to io.Writer) error {
	return s.follow(ctx, id, func(text string) { _, _ = io.WriteString(to, text) })
}

func (s *Snapshots) follow(ctx context.Context, id string, log func(string)) error {
	return s.client.followBuild(ctx, s.client.path("snapshots", id, "build-logs"), log)
}

// FollowBuild copies the log of the build of a sandbox's image to a writer,
// until the build ends.
func (s *Sandbox) FollowBuild(ctx context.Context, to io.Writer) error {
	return s.followBuild(ctx, func(text string) { _, _ = io.WriteString(to, text) })
}

func (s *Sandbox) followBuild(ctx context.Context, log func(string)) error {
	return s.client.followBuild(ctx, s.path("build-logs"), log)
}

func (c *Client) followBuild(ctx context.Context, target string, log func(string)) error {
	var res *http.Response
	// There is no log before the build has been taken up.
	err := c.poll(ctx, "no log of the build", func(ctx context.Context) (bool, error) {
		var err error
		res, err = c.send(context.WithoutCancel(ctx), request{method: http.MethodGet, url: target, query: url.Values{"follow": {"true"}}, again: true}) //nolint:bodyclose // closed below
		if errors.Is(err, ErrNotFound) {
			return false, nil
		}
		return err == nil, err
	})
	if err != nil {
		return err
	}
	defer res.Body.Close()
	stop := context.AfterFunc(ctx, func() { _ = res.Body.Close() })
	defer stop()
	buf := make([]byte, 16<<10)
	for {
		n, err := res.Body.Read(buf)
		if n > 0 {
			log(string(buf[:n]))
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("daytona: the log broke off: %w", err)
		}
	}
}
