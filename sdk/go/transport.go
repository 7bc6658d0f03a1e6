package daytona

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	mrand "math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// request is one call to the server.
type request struct {
	method string
	url    string // absolute
	query  url.Values
	in     any // JSON; nil is no body
	out    any // JSON; nil means that the answer does not matter
	// again: the request has the same effect however often it is sent.
	again bool
	key   string // Idempotency-Key
}

const (
	firstPause  = 200 * time.Millisecond
	longestWait = 10 * time.Second
)

// call sends a request with a JSON body and reads a JSON answer.
func (c *Client) call(ctx context.Context, r request) error {
	res, err := c.send(ctx, r)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if r.out == nil {
		_, err := io.Copy(io.Discard, res.Body)
		return err
	}
	if err := json.NewDecoder(res.Body).Decode(r.out); err != nil {
		return fmt.Errorf("daytona: the answer to %s %s cannot be read: %w", r.method, res.Request.URL.Path, err)
	}
	return nil
}

// send sends a request, again where that is safe, and returns an answer with a
// status below 400. Its body is the caller's to close.
func (c *Client) send(ctx context.Context, r request) (*http.Response, error) {
	var body []byte
	if r.in != nil {
		var err error
		if body, err = json.Marshal(r.in); err != nil {
			return nil, err
		}
	}
	for attempt := 0; ; attempt++ {
		res, err := c.once(ctx, r, body)
		if err == nil {
			return res, nil
		}
		if attempt >= c.retries || ctx.Err() != nil || !worthwhile(err, r.again) {
			return nil, err
		}
		if err := sleep(ctx, pauseAfter(attempt, err)); err != nil {
			return nil, err
		}
	}
}

func (c *Client) once(ctx context.Context, r request, body []byte) (*http.Response, error) {
	var in io.Reader
	if body != nil {
		in = bytes.NewReader(body)
	}
	req, err := c.request(ctx, r.method, r.url, r.query, in)
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if r.key != "" {
		req.Header.Set("Idempotency-Key", r.key)
	}
	return c.do(req)
}

// request makes a request with the client's headers.
func (c *Client) request(ctx context.Context, method, target string, query url.Values, body io.Reader) (*http.Request, error) {
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		return nil, fmt.Errorf("daytona: %w", err)
	}
	req.Header = c.headers()
	return req, nil
}

func (c *Client) headers() http.Header {
	h := http.Header{}
	if c.jwt != "" {
		h.Set("Authorization", "Bearer "+c.jwt)
		h.Set("X-Daytona-Organization-ID", c.organization)
	} else {
		h.Set("Authorization", "Bearer "+c.apiKey)
	}
	h.Set("X-Daytona-Source", c.source)
	h.Set("X-Daytona-SDK-Version", Version)
	h.Set("User-Agent", c.agent)
	return h
}

// do sends a request once. A status of 400 or more is an error.
func (c *Client) do(req *http.Request) (*http.Response, error) {
	res, err := c.http.Do(req)
	if err != nil {
		var wrapped *url.Error
		if errors.As(err, &wrapped) {
			err = wrapped.Err // the method and URL say nothing to a person
		}
		if ctxErr := req.Context().Err(); ctxErr != nil {
			return nil, ctxErr
		}
		return nil, &ConnectionError{Address: req.URL.Scheme + "://" + req.URL.Host, Err: err}
	}
	if res.StatusCode >= 400 {
		err := errorOf(res)
		if after := res.Header.Get("Retry-After"); after != "" {
			if seconds, parseErr := strconv.Atoi(after); parseErr == nil && seconds >= 0 {
				return nil, &retryAfter{err, time.Duration(seconds) * time.Second}
			}
		}
		return nil, err
	}
	return res, nil
}

// ConnectionError says that no answer came from a server. It is an
// [ErrUnavailable].
type ConnectionError struct {
	Address string // scheme, host and port
	Err     error
}

// Error names the server and what happened.
func (e *ConnectionError) Error() string {
	return fmt.Sprintf("no answer from %s: %v", e.Address, e.Err)
}

// Unwrap returns the cause.
func (e *ConnectionError) Unwrap() error { return e.Err }

// Is makes a ConnectionError an ErrUnavailable.
func (e *ConnectionError) Is(target error) bool { return target == ErrUnavailable }

// retryAfter is an answer that says when to try again.
type retryAfter struct {
	error
	pause time.Duration
}

func (r *retryAfter) Unwrap() error { return r.error }

// worthwhile says whether a request that failed so may be sent again.
func worthwhile(err error, again bool) bool {
	var lost *ConnectionError
	if errors.As(err, &lost) {
		// What never left may be sent again, whatever it is.
		var dial *net.OpError
		return again || errors.As(lost.Err, &dial) && dial.Op == "dial"
	}
	return again && (errors.Is(err, ErrUnavailable) || errors.Is(err, ErrRateLimited))
}

// pauseAfter grows with each attempt and varies, so that clients which failed
// together do not come back together.
func pauseAfter(attempt int, err error) time.Duration {
	var said *retryAfter
	if errors.As(err, &said) {
		return min(said.pause, longestWait)
	}
	pause := min(firstPause<<attempt, longestWait)
	return pause/2 + mrand.N(pause/2+1)
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// newKey returns an Idempotency-Key.
func newKey() string { return rand.Text() }
