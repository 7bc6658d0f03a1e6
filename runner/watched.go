package runner

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"time"

	"daytona/internal/fault"
)

// probes say when a toolbox that does not answer a request is given up. A
// command may take as long as it likes, so the request itself proves nothing;
// a toolbox that does not answer a ping either was stopped (by `kill -STOP 1`,
// say) or starved, and its caller must not wait for ever.
type probes struct {
	after time.Duration // silence before the first ping
	limit time.Duration // for one ping
	times int           // failed pings in a row that mean the end
}

var defaultProbes = probes{after: 30 * time.Second, limit: 10 * time.Second, times: 3}

// errSilent is the end of a request whose toolbox answers nobody.
var errSilent = fault.New(fault.Unavailable, "the sandbox's toolbox answers nothing, not even a ping: "+
	"it was stopped or has no processor time; stop and start the sandbox")

// watched sends requests to a toolbox, and pings it while there is no answer.
type watched struct {
	link   *link
	probes probes
}

// RoundTrip implements http.RoundTripper.
func (t watched) RoundTrip(req *http.Request) (*http.Response, error) {
	// Cancelled for good with the caller's own request, since the answer's
	// body lives on this context.
	ctx, giveUp := context.WithCancelCause(req.Context())
	watching, stop := context.WithCancel(ctx)
	// Answered or given up, whichever comes first: a request that was answered
	// at the last moment must not lose its body.
	var decided atomic.Bool
	timer := time.AfterFunc(t.probes.after, func() {
		if t.silent(watching) && decided.CompareAndSwap(false, true) {
			giveUp(errSilent)
		}
	})
	res, err := t.link.transport.RoundTrip(req.WithContext(ctx))
	timer.Stop()
	stop()
	if !decided.CompareAndSwap(false, true) {
		if err == nil {
			err = res.Body.Close()
		}
		return nil, errors.Join(errSilent, err)
	}
	if err != nil {
		giveUp(err)
	}
	return res, err
}

// silent pings until the toolbox has failed to answer often enough, or watching
// ends.
func (t watched) silent(watching context.Context) bool {
	for failed := 0; failed < t.probes.times; {
		ctx, cancel := context.WithTimeout(watching, t.probes.limit)
		err := t.link.ping(ctx)
		cancel()
		if err != nil {
			failed++
			if watching.Err() != nil {
				return false
			}
			continue
		}
		failed = 0
		select {
		case <-watching.Done():
			return false
		case <-time.After(t.probes.after):
		}
	}
	return true
}
