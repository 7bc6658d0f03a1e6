package runner

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"daytona/api/runnerapi"
	"daytona/internal/fault"
)

// tokenHeader opens the toolbox.
const tokenHeader = "X-Daytona-Toolbox-Token"

// forwardedHeader tells the toolbox that a request is a client's, not ours.
const forwardedHeader = "X-Daytona-Toolbox-Forwarded"

// link is the way to the toolbox of one container: connections that are kept,
// and the secret.
type link struct {
	token     string
	transport *http.Transport
	dial      func(ctx context.Context, port int) (net.Conn, error)
}

func newLink(d Driver, b Bundle, token string) *link {
	l := &link{token: token}
	l.dial = func(ctx context.Context, port int) (net.Conn, error) { return d.Dial(ctx, b, port) }
	l.transport = &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return l.dial(ctx, toolboxPort)
		},
		DisableCompression:  true, // bytes pass as they are
		MaxIdleConns:        16,
		MaxIdleConnsPerHost: 16,
		IdleConnTimeout:     5 * time.Minute,
		WriteBufferSize:     32 << 10,
		ReadBufferSize:      32 << 10,
	}
	return l
}

func (l *link) close() { l.transport.CloseIdleConnections() }

// call sends one request to the toolbox and decodes a JSON answer into out,
// when out is not nil.
func (l *link) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://toolbox"+path, body)
	if err != nil {
		return err
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return l.do(req, out)
}

func (l *link) do(req *http.Request, out any) error {
	req.Header.Set(tokenHeader, l.token)
	res, err := l.transport.RoundTrip(req)
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, "the sandbox's toolbox cannot be reached")
	}
	defer res.Body.Close()
	data, err := io.ReadAll(io.LimitReader(res.Body, 16<<20))
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, "the sandbox's toolbox went away")
	}
	if res.StatusCode >= 300 {
		return fault.Wrap(fmt.Errorf("%s %s: %s: %.500s", req.Method, req.URL.Path, res.Status, data),
			fault.Internal, "the sandbox's toolbox refused a request of the runner")
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(data, out); err != nil {
		return fmt.Errorf("%s %s: %w", req.Method, req.URL.Path, err)
	}
	return nil
}

// ping says whether the toolbox answers.
func (l *link) ping(ctx context.Context) error {
	return l.call(ctx, http.MethodGet, "/version", nil, nil)
}

// identity is what a toolbox learns of its sandbox.
type identity struct {
	SandboxID      string            `json:"sandboxId"`
	OrganizationID string            `json:"organizationId"`
	RegionID       string            `json:"regionId"`
	Snapshot       string            `json:"snapshot"`
	User           string            `json:"user"`
	Env            map[string]string `json:"env"`
}

func identityOf(spec runnerapi.Spec, user string) identity {
	env := spec.Env
	if env == nil {
		env = map[string]string{}
	}
	return identity{
		SandboxID: spec.ID, OrganizationID: spec.OrgID, RegionID: spec.Region,
		Snapshot: spec.Snapshot, User: user, Env: env,
	}
}

// init gives the toolbox its identity.
func (l *link) init(ctx context.Context, id identity) error {
	return l.call(ctx, http.MethodPost, "/init", id, nil)
}

// First and longest pause between two attempts to reach a toolbox that starts.
const (
	firstPause = time.Millisecond
	longPause  = 15 * time.Millisecond
)

// waitReady blocks until the toolbox answers. It gives up when the container
// ended, or when ctx does.
func (l *link) waitReady(ctx context.Context, w *watch) error {
	pause := firstPause
	start := time.Now()
	for {
		// A connection that is asked for while the other side is not there
		// yet may get no answer at all, and the kernel repeats the question
		// only after a second: ask anew, with more patience as time goes on.
		patience := min(max(time.Since(start)/2, 50*time.Millisecond), 5*time.Second)
		attempt, cancel := context.WithTimeout(ctx, patience)
		err := l.ping(attempt)
		cancel()
		if err == nil {
			return nil
		}
		select {
		case <-w.ended:
			return &endedError{w.end}
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		case <-time.After(pause):
		}
		pause = min(pause+pause/4+1, longPause)
	}
}

// endedError says that the container ended before its toolbox answered.
type endedError struct{ end runnerapi.End }

func (e *endedError) Error() string {
	return fmt.Sprintf("the container ended with exit code %d (%s): %s", e.end.ExitCode, e.end.Cause, e.end.Evidence)
}
