//go:build root

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"
)

// client is the smallest client of the API, so that tests of the server do not
// depend on an SDK.
type client struct{ url, key string }

// sandbox has the members of a sandbox that tests look at.
type sandbox struct {
	ID          string `json:"id"`
	Name        string `json:"name"`
	State       string `json:"state"`
	ErrorReason string `json:"errorReason"`
}

// result is what a command gave.
type result struct {
	ExitCode int    `json:"exitCode"`
	Result   string `json:"result"`
}

// statusError is an answer with a status of 400 or more.
type statusError struct {
	Status int
	Body   string
}

func (e *statusError) Error() string { return fmt.Sprintf("status %d: %s", e.Status, e.Body) }

func status(err error) int {
	var se *statusError
	if errors.As(err, &se) {
		return se.Status
	}
	return 0
}

// do sends a request below the API's URL and decodes the answer into out.
func (c *client) do(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.url+path, body)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+c.key)
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode >= 400 {
		return &statusError{res.StatusCode, string(data)}
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(data, out); err != nil {
		return fmt.Errorf("%s %s: %w in %q", method, path, err, data)
	}
	return nil
}

func (c *client) create(ctx context.Context, body map[string]any) (sandbox, error) {
	if body == nil {
		body = map[string]any{}
	}
	var sb sandbox
	if err := c.do(ctx, "POST", "/sandbox", body, &sb); err != nil {
		return sb, err
	}
	return c.waitFor(ctx, sb.ID, "started")
}

func (c *client) get(ctx context.Context, id string) (sandbox, error) {
	var sb sandbox
	return sb, c.do(ctx, "GET", "/sandbox/"+id, nil, &sb)
}

func (c *client) list(ctx context.Context) ([]sandbox, error) {
	var all []sandbox
	return all, c.do(ctx, "GET", "/sandbox", nil, &all)
}

func (c *client) delete(ctx context.Context, id string) error {
	err := c.do(ctx, "DELETE", "/sandbox/"+id, nil, nil)
	if status(err) == http.StatusNotFound {
		return nil
	}
	return err
}

// exec runs a command by the path that the oldest clients use. timeout is in
// whole seconds.
func (c *client) exec(ctx context.Context, id, command string, timeout int) (result, error) {
	var r result
	return r, c.do(ctx, "POST", "/toolbox/"+id+"/toolbox/process/execute",
		map[string]any{"command": command, "timeout": timeout}, &r)
}

// waitFor polls until the sandbox has the state.
func (c *client) waitFor(ctx context.Context, id, state string) (sandbox, error) {
	for {
		sb, err := c.get(ctx, id)
		switch {
		case err != nil:
			return sb, err
		case sb.State == state:
			return sb, nil
		case sb.State == "error":
			return sb, fmt.Errorf("sandbox %s: %s", id, sb.ErrorReason)
		}
		if err := pause(ctx); err != nil {
			return sb, fmt.Errorf("sandbox %s is %s, not %s: %w", id, sb.State, state, err)
		}
	}
}

// deleteAll deletes every sandbox and waits until none is listed.
func (c *client) deleteAll(ctx context.Context) error {
	for {
		all, err := c.list(ctx)
		if err != nil {
			return err
		}
		if len(all) == 0 {
			return nil
		}
		for _, sb := range all {
			if err := c.delete(ctx, sb.ID); err != nil {
				return err
			}
		}
		if err := pause(ctx); err != nil {
			return fmt.Errorf("%d sandboxes are left: %w", len(all), err)
		}
	}
}

// pause waits for a moment between two looks at a condition.
func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(100 * time.Millisecond):
		return nil
	}
}

// mustCreate creates a sandbox that is deleted when the test ends.
func mustCreate(t *testing.T, c *client, body map[string]any) sandbox {
	t.Helper()
	sb, err := c.create(t.Context(), body)
	if sb.ID != "" {
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			if err := c.delete(ctx, sb.ID); err != nil {
				t.Errorf("deleting %s: %v", sb.ID, err)
			}
		})
	}
	if err != nil {
		t.Fatalf("creating a sandbox: %v", err)
	}
	return sb
}

// mustExec runs a command that must be answered; its exit code may be any.
func mustExec(t *testing.T, c *client, id, command string) result {
	t.Helper()
	r, err := c.exec(t.Context(), id, command, 60)
	if err != nil {
		t.Fatalf("%s: %v", command, err)
	}
	return r
}
