package httpapi

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"daytona/api"
	"daytona/controlplane/org"
	"daytona/internal/clientip"
	"daytona/internal/fault"
	"daytona/internal/ratelimit"
)

// RateLimits say how often the API may be called. A limit of 0 is none. They
// count in this process: where several serve one database, each lets through as
// much.
type RateLimits struct {
	// Organization bounds the requests of an organization, Key those of one of
	// its API keys. Requests to toolboxes do not count.
	Organization, Key ratelimit.Rate
	// Of those: creating sandboxes, starting and stopping them and so on, and
	// listing them, by organization.
	SandboxCreate, SandboxLifecycle, SandboxList ratelimit.Rate
	// FailedAuth bounds requests with credentials that nobody has, by address.
	FailedAuth ratelimit.Rate
}

// The names of limits, as headers spell them.
const (
	rateAuthenticated = "authenticated"
	rateCreate        = "sandbox-create"
	rateLifecycle     = "sandbox-lifecycle"
	rateList          = "sandbox-list"
	rateFailedAuth    = "failed-auth"
)

const (
	// rateBuckets bounds memory: some 10 MB when all are in use.
	rateBuckets = 1 << 16
	// ownRatesTTL is how long an organization's own limits may be out of date
	// when another process has changed them.
	ownRatesTTL  = 10 * time.Second
	ownRatesSize = 10_000
)

type rates struct {
	RateLimits
	limiter *ratelimit.Limiter
	find    func(ctx context.Context, orgID string) (org.Organization, error)

	mu  sync.Mutex
	own map[string]ownRates
}

type ownRates struct {
	org.Rates
	until time.Time
}

func newRates(limits RateLimits, find func(ctx context.Context, orgID string) (org.Organization, error)) *rates {
	return &rates{RateLimits: limits, limiter: ratelimit.New(rateBuckets), find: find, own: map[string]ownRates{}}
}

// of returns the limits of an organization. Where they cannot be found out those
// of the server count.
func (l *rates) of(ctx context.Context, orgID string, now time.Time) RateLimits {
	l.mu.Lock()
	own, ok := l.own[orgID]
	l.mu.Unlock()
	if !ok || !now.Before(own.until) {
		o, err := l.find(ctx, orgID)
		if err != nil {
			return l.RateLimits
		}
		own = ownRates{o.Rates, now.Add(ownRatesTTL)}
		l.mu.Lock()
		if len(l.own) >= ownRatesSize {
			clear(l.own)
		}
		l.own[orgID] = own
		l.mu.Unlock()
	}
	out := l.RateLimits
	out.Organization = own.Authenticated.Over(out.Organization)
	out.SandboxCreate = own.SandboxCreate.Over(out.SandboxCreate)
	out.SandboxLifecycle = own.SandboxLifecycle.Over(out.SandboxLifecycle)
	return out
}

// forget lets the limits of an organization be looked up anew, and what it did
// until now not count against them.
func (l *rates) forget(orgID string) {
	for _, name := range []string{rateAuthenticated, rateCreate, rateLifecycle} {
		l.limiter.Forget(ratelimit.Key{What: name, Who: orgID})
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.own, orgID)
}

// check counts a request of a caller who is known, and is TooMany when there
// were too many. It writes the headers that tell how many are left.
func (l *rates) check(h http.Header, r *http.Request, rt route, c call) error {
	now := time.Now()
	limits := l.of(r.Context(), c.OrgID, now)
	if c.Key != nil {
		if err := l.take(h, r, rateAuthenticated, "API key", c.Key.Hash, limits.Key, now); err != nil {
			return err
		}
	}
	if err := l.take(h, r, rateAuthenticated, "organization", c.OrgID, limits.Organization, now); err != nil {
		return err
	}
	switch rt.rate() {
	case rateCreate:
		return l.take(h, r, rateCreate, "organization", c.OrgID, limits.SandboxCreate, now)
	case rateLifecycle:
		return l.take(h, r, rateLifecycle, "organization", c.OrgID, limits.SandboxLifecycle, now)
	case rateList:
		return l.take(h, r, rateList, "organization", c.OrgID, limits.SandboxList, now)
	}
	return nil
}

// take counts one request. Of two limits of one name the headers show that which
// is nearer.
func (l *rates) take(h http.Header, r *http.Request, name, whose, id string, rate ratelimit.Rate, now time.Time) error {
	if rate.Limit <= 0 {
		return nil
	}
	got := l.limiter.Take(ratelimit.Key{What: name, Who: id}, rate, now)
	remaining := "X-RateLimit-Remaining-" + name
	if left, err := strconv.Atoi(h.Get(remaining)); err != nil || got.Remaining <= left || !got.OK {
		h.Set("X-RateLimit-Limit-"+name, strconv.Itoa(rate.Limit))
		h.Set(remaining, strconv.Itoa(got.Remaining))
		h.Set("X-RateLimit-Reset-"+name, seconds(got.Reset))
	}
	if got.OK {
		return nil
	}
	return refused(r, name, whose, rate, got.RetryAfter)
}

func refused(r *http.Request, name, whose string, rate ratelimit.Rate, wait time.Duration) error {
	infoOf(r).limited = &limited{name: name, wait: wait}
	what := map[string]string{rateCreate: " to create sandboxes", rateLifecycle: " to change sandboxes", rateList: " to list sandboxes", rateFailedAuth: " with invalid credentials"}[name]
	return fault.New(fault.TooMany, "Rate limit exceeded: %d requests%s in %s are allowed for one %s. Try again in %s s",
		rate.Limit, what, rate.Per, whose, seconds(wait)).WithCode("RATE_LIMIT_EXCEEDED")
}

// limited is the limit that a request ran into.
type limited struct {
	name string
	wait time.Duration
}

func (l *limited) headers(h http.Header) {
	h.Set("Retry-After", seconds(l.wait))
	h.Set("Retry-After-"+l.name, seconds(l.wait))
}

// seconds rounds up, so that whoever waits for so long has waited long enough.
func seconds(d time.Duration) string {
	return strconv.Itoa(int((d + time.Second - 1) / time.Second))
}

// stranger is TooMany for an address that has shown too many invalid
// credentials, and may not have more looked up.
func (l *rates) stranger(r *http.Request, address string) error {
	wait, yes := l.limiter.Exhausted(ratelimit.Key{What: rateFailedAuth, Who: clientip.Network(address)}, l.FailedAuth, time.Now())
	if !yes {
		return nil
	}
	return refused(r, rateFailedAuth, "address", l.FailedAuth, wait)
}

// failed counts invalid credentials.
func (l *rates) failed(address string) {
	l.limiter.Take(ratelimit.Key{What: rateFailedAuth, Who: clientip.Network(address)}, l.FailedAuth, time.Now())
}

// rate names the limit that a route counts against, beside that on all requests.
func (rt route) rate() string {
	const sandboxes, one = "/sandbox", "/sandbox/{sandboxIdOrName}"
	rest, ofOne := strings.CutPrefix(rt.path, one)
	switch {
	case rt.method == http.MethodPost && rt.path == sandboxes, ofOne && rest == "/fork":
		return rateCreate
	case rt.method == http.MethodGet && (rt.path == sandboxes || rt.path == sandboxes+"/paginated"):
		return rateList
	case ofOne && rt.method == http.MethodDelete && rest == "":
		return rateLifecycle
	case ofOne && rt.method == http.MethodPost:
		switch strings.Trim(rest, "/") {
		case "start", "stop", "archive", "recover", "resize", "backup", "snapshot", "pause", "resume":
			return rateLifecycle
		}
	}
	return ""
}

// config shows clients the limits of the server.
func (l *rates) config() *api.RateLimitConfig {
	entry := func(r ratelimit.Rate) *api.RateLimitEntry {
		if r.Limit <= 0 {
			return nil
		}
		return &api.RateLimitEntry{TTL: int(r.Per / time.Second), Limit: r.Limit}
	}
	out := api.RateLimitConfig{
		FailedAuth: entry(l.FailedAuth), Authenticated: entry(l.Organization), SandboxCreate: entry(l.SandboxCreate),
		SandboxLifecycle: entry(l.SandboxLifecycle), SandboxList: entry(l.SandboxList),
	}
	if out == (api.RateLimitConfig{}) {
		return nil
	}
	return &out
}
