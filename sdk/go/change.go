package daytona

import (
	"context"
	"net/http"
	"net/url"

	"daytona/api"
)

// Resize changes what a sandbox may use, and waits until that is so; zeros stay as
// they are. One that runs can only get more processors and memory, without being
// restarted. A disk grows while the sandbox is stopped, and never becomes smaller.
func (s *Sandbox) Resize(ctx context.Context, to Resources) error {
	given := func(n int) *int {
		if n == 0 {
			return nil
		}
		return &n
	}
	in := api.ResizeSandbox{CPU: given(to.CPU), Memory: given(to.Memory), Disk: given(to.Disk)}
	if err := s.act(ctx, request{method: http.MethodPost, url: s.path("resize"), in: in}); err != nil {
		return err
	}
	return s.awaitRest(ctx, "resized")
}

// Fork makes a sandbox with the files and settings of a stopped one and waits
// until it runs. The two know nothing of each other afterwards. name "" is the new
// one's id.
func (s *Sandbox) Fork(ctx context.Context, name string) (*Sandbox, error) {
	var in api.ForkSandbox
	if name != "" {
		in.Name = &name
	}
	info, err := postAs[api.Sandbox](ctx, s.client, s.path("fork"), in)
	if err != nil {
		return nil, err
	}
	fork := s.client.sandbox(info)
	return fork, fork.AwaitStarted(ctx)
}

// Recover brings a sandbox out of state error and waits until it runs, or with
// skipStart until it is stopped. Info tells whether it can be: Recoverable.
func (s *Sandbox) Recover(ctx context.Context, skipStart bool) error {
	query := url.Values{}
	if skipStart {
		query.Set("skipStart", "true")
	}
	if err := s.act(ctx, request{method: http.MethodPost, url: s.path("recover"), query: query}); err != nil {
		return err
	}
	if skipStart {
		return s.AwaitStopped(ctx)
	}
	return s.AwaitStarted(ctx)
}

// Snapshot makes a snapshot of a sandbox's files, of which other sandboxes can be
// made, and waits until it is there. The sandbox stays started or stopped. Of one
// that runs each file is as it is when it is reached.
func (s *Sandbox) Snapshot(ctx context.Context, name string) (api.Snapshot, error) {
	in := api.CreateSandboxSnapshot{Name: name}
	if err := s.act(ctx, request{method: http.MethodPost, url: s.path("snapshot"), in: in}); err != nil {
		return api.Snapshot{}, err
	}
	return s.client.Snapshots.Await(ctx, name)
}

// awaitRest waits until nothing is done any more with a sandbox that was started
// or stopped.
func (s *Sandbox) awaitRest(ctx context.Context, what string) error {
	return s.await(ctx, what, api.SandboxStarted, api.SandboxStopped)
}
