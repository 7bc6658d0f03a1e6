package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"daytona/internal/fault"
)

// registryPatience is how long a registry may be silent, before its answer
// begins and between two pieces of it.
const registryPatience = time.Minute

// impatient is a transport that gives up on a server which has been silent for
// too long. A large answer may take as long as it likes, while it moves.
type impatient struct {
	http.RoundTripper
	patience time.Duration
}

func (t impatient) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(req.Context())
	silent := fault.New(fault.Unavailable, "the registry at %s has not answered for %s", req.URL.Host, t.patience)
	alarm := time.AfterFunc(t.patience, func() { cancel(silent) })
	res, err := t.RoundTripper.RoundTrip(req.WithContext(ctx))
	if err != nil {
		alarm.Stop()
		defer cancel(nil)
		if errors.Is(context.Cause(ctx), silent) {
			return nil, fmt.Errorf("%w: %w", silent, err)
		}
		return nil, err
	}
	alarm.Reset(t.patience)
	res.Body = &impatientBody{ReadCloser: res.Body, ctx: ctx, cancel: cancel, alarm: alarm, patience: t.patience, silent: silent}
	return res, nil
}

type impatientBody struct {
	io.ReadCloser
	ctx      context.Context
	cancel   context.CancelCauseFunc
	alarm    *time.Timer
	patience time.Duration
	silent   error
}

func (b *impatientBody) Read(p []byte) (int, error) {
	b.alarm.Reset(b.patience)
	n, err := b.ReadCloser.Read(p)
	b.alarm.Stop() // a slow reader is no fault of the server
	if err != nil && !errors.Is(err, io.EOF) && errors.Is(context.Cause(b.ctx), b.silent) {
		err = fmt.Errorf("%w: %w", b.silent, err)
	}
	return n, err
}

func (b *impatientBody) Close() error {
	b.alarm.Stop()
	err := b.ReadCloser.Close()
	b.cancel(nil)
	return err
}
