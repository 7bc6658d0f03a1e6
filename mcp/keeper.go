package mcp

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"daytona/api"
	daytona "daytona/sdk/go"
)

// keepLabel marks the sandbox that calls without an id share.
const keepLabel = "daytona.io/mcp"

// keeper finds the sandbox of a call. What it keeps it knows by a label, so
// that neither a restart nor another server forgets it.
type keeper struct {
	client *daytona.Client
	name   string

	mu   sync.Mutex // one call makes what all wait for
	kept string     // id
}

// sandbox returns the sandbox of an id, started; without an id the one that is
// kept, which is made again when it is gone.
func (k *keeper) sandbox(ctx context.Context, req *sdk.CallToolRequest, id string) (*daytona.Sandbox, error) {
	if id != "" {
		sb, err := k.client.Get(ctx, id)
		if errors.Is(err, daytona.ErrNotFound) || err == nil && gone(sb.State()) {
			return nil, fmt.Errorf("sandbox %s is gone: make another with create_sandbox, or leave the id out", id)
		}
		if err != nil {
			return nil, err
		}
		return sb, k.awake(ctx, req, sb)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	sb, err := k.find(ctx)
	if err != nil {
		return nil, err
	}
	if sb == nil {
		done := progress(ctx, req, "creating a sandbox")
		defer done()
		sb, err = k.client.Create(ctx, daytona.CreateParams{Labels: map[string]string{keepLabel: k.name}})
		if err != nil {
			return nil, fmt.Errorf("make a sandbox: %w", err)
		}
		k.kept = sb.ID
		return sb, nil
	}
	k.kept = sb.ID
	return sb, k.awake(ctx, req, sb)
}

// find returns the kept sandbox, nil when there is none that can be used.
func (k *keeper) find(ctx context.Context) (*daytona.Sandbox, error) {
	if k.kept != "" {
		sb, err := k.client.Get(ctx, k.kept)
		switch {
		case err == nil && usable(sb.State()):
			return sb, nil
		case err != nil && !errors.Is(err, daytona.ErrNotFound):
			return nil, err
		}
	}
	for item, err := range k.client.List(ctx, daytona.Filter{Labels: map[string]string{keepLabel: k.name}}) {
		if err != nil {
			return nil, err
		}
		if usable(item.State) {
			return k.client.Get(ctx, item.ID)
		}
	}
	return nil, nil
}

func gone(s api.SandboxState) bool {
	return s == api.SandboxDestroyed || s == api.SandboxDestroying
}

func usable(s api.SandboxState) bool {
	return !gone(s) && s != api.SandboxError && s != api.SandboxBuildFailed
}

// awake starts a sandbox that has stopped.
func (k *keeper) awake(ctx context.Context, req *sdk.CallToolRequest, sb *daytona.Sandbox) error {
	switch sb.State() {
	case api.SandboxStarted:
		return nil
	case api.SandboxStopped, api.SandboxArchived, api.SandboxPaused:
		defer progress(ctx, req, "starting the sandbox")()
		return sb.Start(ctx)
	}
	defer progress(ctx, req, "waiting for the sandbox")()
	return sb.AwaitStarted(ctx)
}

// progressEvery is how often a caller who asked for it hears that work goes on.
const progressEvery = 2 * time.Second

// progress tells the caller that work goes on, if it asked for that, until the
// function that it returns is called.
func progress(ctx context.Context, req *sdk.CallToolRequest, message string) (done func()) {
	token := req.Params.GetProgressToken()
	if token == nil || req.Session == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(progressEvery)
		defer tick.Stop()
		for n := 1; ; n++ {
			// A caller who cannot be told gets the result all the same.
			_ = req.Session.NotifyProgress(ctx, &sdk.ProgressNotificationParams{ProgressToken: token, Progress: float64(n), Message: message})
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	}()
	return func() { cancel(); <-stopped }
}
