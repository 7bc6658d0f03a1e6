package proxy

import (
	"crypto/rand"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"daytona/api/proxyapi"
	"daytona/internal/fault"
)

// Paths of every preview's host that are ours.
const (
	signedInPath = "/.daytona/signed-in"
	acceptPath   = "/accept-daytona-preview-warning"
)

func asFault(err error) (*fault.Error, bool) { return errors.AsType[*fault.Error](err) }

// ownRoute answers what is not for the program, and reports whether this was.
func (p *Proxy) ownRoute(w http.ResponseWriter, r *http.Request, t target) bool {
	if t.origin == "" {
		return false
	}
	switch r.URL.Path {
	case signedInPath:
		if err := p.signedIn(w, r, t); err != nil {
			p.fail(w, r, err)
		}
		return true
	case acceptPath:
		if r.Method != http.MethodPost {
			return false
		}
		p.accept(w, r, t)
		return true
	}
	return false
}

// local returns where on the same host a page wants to lead, "/" if it would lead
// elsewhere.
func local(to string) string {
	u, err := url.Parse(to)
	if err != nil || u.Scheme != "" || u.Host != "" || u.Opaque != "" || u.User != nil ||
		!strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//") || strings.ContainsAny(to, "\\\r\n\t") {
		return "/"
	}
	return to
}

// here is the request's own address on its host, without our token.
func here(r *http.Request) string {
	path := r.URL.EscapedPath()
	if strings.HasPrefix(path, "//") || path == "" {
		path = "/" + strings.TrimLeft(path, "/")
	}
	if q := withoutToken(r.URL.RawQuery); q != "" {
		path += "?" + q
	}
	return path
}

// setCookie sets one of our cookies for this host alone.
func (p *Proxy) setCookie(w http.ResponseWriter, name, value string, life time.Duration) {
	http.SetCookie(w, &http.Cookie{
		Name: name, Value: value, Path: "/", MaxAge: int(life.Seconds()), HttpOnly: true,
		Secure: p.Template.Scheme() == "https", SameSite: http.SameSiteLaxMode,
	})
}

const nonceLife = 15 * time.Minute

// toSignIn sends a browser to the page for signing in.
func (p *Proxy) toSignIn(w http.ResponseWriter, r *http.Request, t target) {
	nonce := ""
	if c, err := r.Cookie(p.hostOnly(nonceCookie)); err == nil && len(c.Value) >= 26 {
		nonce = c.Value // of another window, which shall go on
	} else {
		nonce = rand.Text()
		p.setCookie(w, p.hostOnly(nonceCookie), nonce, nonceLife)
	}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Referrer-Policy", "no-referrer")
	http.Redirect(w, r, p.Plane.SignIn(t.origin+here(r), nonce), http.StatusTemporaryRedirect)
}

// signedIn takes what a person brings back from signing in, for a cookie.
func (p *Proxy) signedIn(w http.ResponseWriter, r *http.Request, t target) error {
	nonce, err := r.Cookie(p.hostOnly(nonceCookie))
	if err != nil {
		return fault.New(fault.Unauthenticated, "This browser has not begun to sign in here, or does not take cookies. Open the preview again")
	}
	q := r.URL.Query()
	value, until, err := p.Plane.Session(r.Context(), proxyapi.Ask{Ref: t.ref, Port: t.port}, q.Get("code"), nonce.Value)
	if err != nil {
		return err
	}
	p.setCookie(w, p.cookieName(t), value, time.Until(until))
	p.setCookie(w, p.hostOnly(nonceCookie), "", -time.Second)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Referrer-Policy", "no-referrer")
	http.Redirect(w, r, local(q.Get("to")), http.StatusSeeOther)
	return nil
}

// keepQuery gives a browser that came with the token in its address a cookie for
// what the page will ask for, and takes the token out of the address.
func (p *Proxy) keepQuery(w http.ResponseWriter, r *http.Request, t target, shown proxyapi.Credentials) error {
	value, until, err := p.Plane.Session(r.Context(), proxyapi.Ask{Ref: t.ref, Port: t.port, With: shown}, "", "")
	if err != nil {
		return err
	}
	p.setCookie(w, p.cookieName(t), value, time.Until(until))
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Referrer-Policy", "no-referrer")
	http.Redirect(w, r, here(r), http.StatusSeeOther)
	return nil
}

// warn shows a browser that comes for the first time what it is about to see,
// and reports whether it did.
func (p *Proxy) warn(w http.ResponseWriter, r *http.Request, t target) bool {
	if !p.Warning || t.origin == "" || proxyapi.Guarded(t.port) || !navigates(r) ||
		!strings.Contains(r.UserAgent(), "Mozilla/") || strings.EqualFold(r.Header.Get(headerSkipWarning), "true") {
		return false
	}
	if c, err := r.Cookie(acceptedCookie); err == nil && c.Value == "true" {
		return false
	}
	p.page(w, http.StatusOK, "warning.html", struct{ Host, Action string }{
		Host: r.Host, Action: acceptPath + "?" + url.Values{"redirect": {here(r)}}.Encode(),
	})
	return true
}

// accept takes the answer to the warning.
func (p *Proxy) accept(w http.ResponseWriter, r *http.Request, t target) {
	if origin := r.Header.Get("Origin"); origin != "" && origin != "null" && !strings.EqualFold(origin, t.origin) ||
		r.Header.Get("Sec-Fetch-Site") != "" && r.Header.Get("Sec-Fetch-Site") != "same-origin" {
		p.fail(w, r, fault.New(fault.Forbidden, "Only the person in front of the browser can accept the warning"))
		return
	}
	p.setCookie(w, acceptedCookie, "true", 24*time.Hour)
	http.Redirect(w, r, local(r.URL.Query().Get("redirect")), http.StatusFound)
}
