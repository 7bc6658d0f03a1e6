package proxy

import (
	"net/http"
	"strings"
)

// preflight reports that a browser asks whether a page may make a request.
func preflight(r *http.Request) bool {
	return r.Method == http.MethodOptions && r.Header.Get("Origin") != "" && r.Header.Get("Access-Control-Request-Method") != ""
}

// allowOrigins lets pages of any origin read the answer, unless the program has
// said itself who may, or the caller does not want that. A page of another
// sandbox, or of anybody else, cannot make use of the user's cookies: those it
// may send along are for the sandbox's own pages.
func (p *Proxy) allowOrigins(res *http.Response, t *trip) {
	origin := t.in.Header.Get("Origin")
	if origin == "" || strings.EqualFold(t.in.Header.Get(headerNoCORS), "true") || res.Header.Get("Access-Control-Allow-Origin") != "" {
		return
	}
	res.Header.Set("Access-Control-Allow-Origin", origin)
	res.Header.Add("Vary", "Origin")
	if t.origin != "" && p.sameSandbox(origin, t.target) {
		res.Header.Set("Access-Control-Allow-Credentials", "true")
	}
	if preflight(t.in) {
		// The program does not know of the question: it is answered for it.
		allowAll(res.Header, t.in)
		_ = res.Body.Close()
		res.Body, res.ContentLength, res.StatusCode = http.NoBody, 0, http.StatusNoContent
		res.Header.Del("Content-Length")
		res.Header.Del("Content-Type")
	}
}

// answerPreflight answers for a sandbox that the browser cannot reach without
// credentials, which it does not send along with the question.
func answerPreflight(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Access-Control-Allow-Origin", r.Header.Get("Origin"))
	w.Header().Add("Vary", "Origin")
	allowAll(w.Header(), r)
	w.WriteHeader(http.StatusNoContent)
}

func allowAll(h http.Header, r *http.Request) {
	h.Set("Access-Control-Allow-Methods", "GET, HEAD, PUT, PATCH, POST, DELETE, OPTIONS")
	if asked := r.Header.Get("Access-Control-Request-Headers"); asked != "" {
		h.Set("Access-Control-Allow-Headers", asked)
		h.Add("Vary", "Access-Control-Request-Headers")
	}
	h.Set("Access-Control-Max-Age", "600")
}
