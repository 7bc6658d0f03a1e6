package proxy

import (
	"net/http"
	"net/url"
	"strings"

	"daytona/api/proxyapi"
)

// Names by which callers show who they are, and what they want of us. None of
// them reaches a program in a sandbox.
const (
	headerToken        = "X-Daytona-Preview-Token"
	headerOrg          = "X-Daytona-Organization-Id"
	headerSkipWarning  = "X-Daytona-Skip-Preview-Warning"
	headerSkipActivity = "X-Daytona-Skip-Last-Activity-Update"
	headerNoCORS       = "X-Daytona-Disable-Cors"
	queryToken         = "DAYTONA_SANDBOX_AUTH_KEY"

	cookiePrefix   = "daytona-" // begins the names of all cookies of ours
	sessionCookie  = "daytona-sandbox-auth-"
	acceptedCookie = "daytona-preview-page-accepted"
	nonceCookie    = "daytona-preview-nonce"

	keyPrefix = "dtn_" // begins every API key
)

// shown collects what a caller shows. A cookie is shown by a browser also when a
// page of somebody else's makes it ask, so it counts only where no such page
// can be behind the request.
func (p *Proxy) shown(r *http.Request, t target) proxyapi.Credentials {
	c := proxyapi.Credentials{
		OrgID:  r.Header.Get(headerOrg),
		Header: r.Header.Get(headerToken),
		Query:  queryValue(r.URL.RawQuery),
	}
	if scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && strings.EqualFold(scheme, "Bearer") {
		c.Bearer = strings.TrimSpace(token)
	}
	if t.origin != "" && p.own(r, t) {
		// The last one: the browser puts the one with the most specific path
		// first, and ours is the one that this very host has set.
		for _, cookie := range r.CookiesNamed(p.cookieName(t)) {
			c.Cookie = cookie.Value
		}
	}
	return c
}

// cookieName is the name of the cookie that opens a target. Browsers take
// cookies with the prefix __Host- from the host itself alone, over TLS, so that
// a page of another sandbox cannot put one in.
func (p *Proxy) cookieName(t target) string {
	return p.hostOnly(sessionCookie + t.ref)
}

func (p *Proxy) hostOnly(name string) string {
	if p.Template.Scheme() == "https" {
		return "__Host-" + name
	}
	return name
}

// queryValue returns the preview token in a query.
func queryValue(raw string) string {
	for pair := range strings.SplitSeq(raw, "&") {
		name, value, _ := strings.Cut(pair, "=")
		if isQueryToken(name) {
			if plain, err := url.QueryUnescape(value); err == nil {
				return plain
			}
		}
	}
	return ""
}

// isQueryToken recognises the name however it is escaped.
func isQueryToken(name string) bool {
	plain, err := url.QueryUnescape(name)
	return err == nil && plain == queryToken
}

// withoutToken takes the token out of a query, pair by pair, so that the rest
// stays as it was written.
func withoutToken(raw string) string {
	if !strings.Contains(raw, "=") || queryValue(raw) == "" && !strings.Contains(raw, queryToken) {
		return raw
	}
	var keep []string
	for pair := range strings.SplitSeq(raw, "&") {
		if name, _, _ := strings.Cut(pair, "="); !isQueryToken(name) {
			keep = append(keep, pair)
		}
	}
	return strings.Join(keep, "&")
}

// own reports that a request was made by a page of the target itself, or by the
// person who typed an address or followed a link.
func (p *Proxy) own(r *http.Request, t target) bool {
	if origin := r.Header.Get("Origin"); origin != "" {
		return p.sameSandbox(origin, t)
	}
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "same-origin", "none":
		return true
	}
	// From elsewhere: a link is followed with GET, by the person, into the window.
	return (r.Method == http.MethodGet || r.Method == http.MethodHead) &&
		r.Header.Get("Sec-Fetch-Mode") == "navigate" && r.Header.Get("Sec-Fetch-Dest") == "document"
}

// sameSandbox reports that an origin is the target's own or, but for ports that
// give control of the sandbox, that of another port of the same sandbox.
func (p *Proxy) sameSandbox(origin string, t target) bool {
	if strings.EqualFold(origin, t.origin) {
		return true
	}
	if proxyapi.Guarded(t.port) {
		return false
	}
	u, err := url.Parse(origin)
	if err != nil || u.Scheme != p.Template.Scheme() {
		return false
	}
	port, ref, ours := p.Template.Match(u.Host)
	return ours && port != 0 && ref == t.ref && strings.EqualFold(p.Template.Host(port, ref), u.Host)
}

// strip takes out of a request what is between the caller and us. The caller's
// own Authorization stays, for the program may have one too.
func strip(out *http.Request, by proxyapi.By) {
	h := out.Header
	if auth := h.Get("Authorization"); auth != "" && (by == proxyapi.ByBearer || strings.Contains(auth, keyPrefix)) {
		h.Del("Authorization")
	}
	h.Del("Proxy-Authorization")
	for name := range h {
		if strings.HasPrefix(asRead(name), "X-Daytona-") {
			delete(h, name)
		}
	}
	out.URL.RawQuery = withoutToken(out.URL.RawQuery)
	stripCookies(h)
	// A page that was opened with the token in its address names it as the
	// referrer of all that it asks for.
	if ref := h.Get("Referer"); strings.Contains(ref, "=") {
		if u, err := url.Parse(ref); err != nil {
			h.Del("Referer")
		} else if clean := withoutToken(u.RawQuery); clean != u.RawQuery {
			u.RawQuery = clean
			h.Set("Referer", u.String())
		}
	}
}

// stripCookies takes our cookies out of the request's.
func stripCookies(h http.Header) {
	lines := h.Values("Cookie")
	if len(lines) == 0 {
		return
	}
	var keep []string
	for _, line := range lines {
		for c := range strings.SplitSeq(line, ";") {
			if c = strings.TrimSpace(c); c != "" && !isOurs(c) {
				keep = append(keep, c)
			}
		}
	}
	h.Del("Cookie")
	if len(keep) > 0 {
		h.Set("Cookie", strings.Join(keep, "; "))
	}
}

// isOurs reports that a cookie, from its name on, is one of ours.
func isOurs(cookie string) bool {
	name := strings.ToLower(cookie)
	name = strings.TrimPrefix(name, "__host-")
	name = strings.TrimPrefix(name, "__secure-")
	return strings.HasPrefix(name, cookiePrefix)
}
