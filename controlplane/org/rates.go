package org

import (
	"time"

	"daytona/internal/fault"
	"daytona/internal/ratelimit"
)

// Rates are an organization's own, where they differ from those of the
// installation. Nil is as there.
type Rates struct {
	Authenticated, SandboxCreate, SandboxLifecycle OwnRate
}

// OwnRate overrides the parts of a rate that are not nil. A Limit of 0 is none.
type OwnRate struct {
	Limit   *int
	Seconds *int
}

// Over is r with what o says.
func (o OwnRate) Over(r ratelimit.Rate) ratelimit.Rate {
	if o.Limit != nil {
		r.Limit = *o.Limit
	}
	if o.Seconds != nil {
		r.Per = time.Duration(*o.Seconds) * time.Second
	}
	return r
}

// RateChange says which rates become different. Nil stays as it is.
type RateChange = Rates

func (r Rates) changed(c RateChange) Rates {
	for _, f := range []struct{ to, from *OwnRate }{
		{&r.Authenticated, &c.Authenticated},
		{&r.SandboxCreate, &c.SandboxCreate},
		{&r.SandboxLifecycle, &c.SandboxLifecycle},
	} {
		if f.from.Limit != nil {
			f.to.Limit = f.from.Limit
		}
		if f.from.Seconds != nil {
			f.to.Seconds = f.from.Seconds
		}
	}
	return r
}

// maxRateSeconds bounds what one limit counts over.
const maxRateSeconds = 86400

func (r Rates) check() error {
	for name, o := range map[string]OwnRate{
		"authenticatedRateLimit": r.Authenticated, "sandboxCreateRateLimit": r.SandboxCreate, "sandboxLifecycleRateLimit": r.SandboxLifecycle,
	} {
		if err := checkQuota(name, o.Limit); err != nil {
			return err
		}
		if o.Seconds != nil && (*o.Seconds < 1 || *o.Seconds > maxRateSeconds) {
			return fault.New(fault.Invalid, "%sTtlSeconds: must be between 1 and %d", name, maxRateSeconds)
		}
	}
	return nil
}
