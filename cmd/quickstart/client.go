package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// client speaks the few routes that the quickstart needs.
type client struct {
	url string // ends in /api
	key string
}

type sandbox struct {
	ID              string `json:"id"`
	State           string `json:"state"`
	ErrorReason     string `json:"errorReason"`
	ToolboxProxyURL string `json:"toolboxProxyUrl"`
}

type snapshotState struct {
	State       string `json:"state"`
	ErrorReason string `json:"errorReason"`
	Progress    string `json:"-"`
}

type runResult struct {
	ExitCode  int    `json:"exitCode"`
	Result    string `json:"result"`
	Artifacts struct {
		Charts []struct {
			Type  string `json:"type"`
			Title string `json:"title"`
			PNG   string `json:"png"`
		} `json:"charts"`
	} `json:"artifacts"`
}

// snapshot reports a snapshot's state, with a line on how its build goes.
func (c *client) snapshot(ctx context.Context, name string) (snapshotState, error) {
	var s snapshotState
	if err := c.call(ctx, http.MethodGet, c.url+"/snapshots/"+name, nil, &s); err != nil {
		return s, err
	}
	if s.State != "active" {
		// The readiness report carries the line; it answers 503 until all is
		// ready.
		var health struct {
			Details map[string]struct {
				Message string `json:"message"`
			} `json:"details"`
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url+"/health/ready", nil)
		if err != nil {
			return s, err
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return s, err
		}
		defer res.Body.Close()
		if json.NewDecoder(res.Body).Decode(&health) == nil {
			for _, d := range health.Details {
				if d.Message != "" {
					s.Progress = d.Message
				}
			}
		}
	}
	return s, nil
}

// create makes a sandbox and waits until it has started.
func (c *client) create(ctx context.Context) (sandbox, error) {
	var box sandbox
	if err := c.call(ctx, http.MethodPost, c.url+"/sandbox", map[string]any{}, &box); err != nil {
		return box, err
	}
	for box.State != "started" {
		if box.State == "error" {
			return box, fmt.Errorf("sandbox %s: %s", box.ID, box.ErrorReason)
		}
		select {
		case <-ctx.Done():
			return box, ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
		if err := c.call(ctx, http.MethodGet, c.url+"/sandbox/"+box.ID, nil, &box); err != nil {
			return box, err
		}
	}
	return box, nil
}

func (c *client) delete(ctx context.Context, id string) error {
	return c.call(ctx, http.MethodDelete, c.url+"/sandbox/"+id, nil, nil)
}

// codeRun runs Python code and fails when it does not exit with 0.
func (c *client) codeRun(ctx context.Context, box sandbox, code string) (runResult, error) {
	var r runResult
	body := map[string]any{"code": code, "language": "python"}
	if err := c.call(ctx, http.MethodPost, box.ToolboxProxyURL+"/"+box.ID+"/process/code-run", body, &r); err != nil {
		return r, err
	}
	if r.ExitCode != 0 {
		return r, fmt.Errorf("the program ended with code %d: %s", r.ExitCode, r.Result)
	}
	return r, nil
}

func (c *client) call(ctx context.Context, method, url string, body, answer any) error {
	var r io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return err
		}
		r = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, url, r)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+c.key)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode >= 300 {
		text, _ := io.ReadAll(io.LimitReader(res.Body, 2000))
		return fmt.Errorf("%s %s: %s: %s", method, url, res.Status, bytes.TrimSpace(text))
	}
	if answer == nil {
		return nil
	}
	return json.NewDecoder(res.Body).Decode(answer)
}
