package httpapi

import (
	"html/template"
	"net/http"
	"net/url"
	"strings"

	"daytona/internal/fault"
)

// SignInPath is the page at which people sign in before they see what is not
// public. It asks for an API key; an identity provider would be sent to from
// here, and come back to here.
const SignInPath = "/sign-in"

// maxForm bounds what the page's form sends.
const maxForm = 16 << 10

// signIn shows the page and takes its form.
func (a *API) signIn(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	page := signInPage{Back: q.Get("back"), Nonce: q.Get("nonce")}
	u, port, ref, ok := a.previewOf(page.Back)
	if !ok || len(page.Nonce) != 64 {
		a.showSignIn(w, http.StatusBadRequest, signInPage{Problem: "This address is not complete. Open the preview again."})
		return
	}
	page.Host = u.Host
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		a.showSignIn(w, http.StatusOK, page)
		return
	case http.MethodPost:
	default:
		a.fail(w, r, errNoRoute(r))
		return
	}
	if origin := r.Header.Get("Origin"); origin != "" && origin != "null" && !strings.EqualFold(origin, a.origin()) && !strings.EqualFold(origin, "http://"+r.Host) && !strings.EqualFold(origin, "https://"+r.Host) {
		a.fail(w, r, fault.New(fault.Forbidden, "The form was sent by another site"))
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	id, err := a.Auth.Authenticate(r.Context(), strings.TrimSpace(r.PostFormValue("key")))
	code := ""
	if err == nil {
		i := infoOf(r)
		i.orgID, i.userID, i.sandboxID = id.OrgID, id.User.ID, ref
		code, err = a.Gate.Code(r.Context(), id, ref, port, page.Nonce)
	}
	switch {
	case err == nil:
		to := url.URL{Scheme: u.Scheme, Host: u.Host, Path: "/.daytona/signed-in"}
		back := url.URL{Path: u.Path, RawPath: u.RawPath, RawQuery: u.RawQuery}
		to.RawQuery = url.Values{"code": {code}, "to": {back.String()}}.Encode()
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("Referrer-Policy", "no-referrer")
		http.Redirect(w, r, to.String(), http.StatusSeeOther)
	case fault.Is(err, fault.Unauthenticated):
		page.Problem = "This is not a valid API key."
		a.showSignIn(w, http.StatusUnauthorized, page)
	case fault.Is(err, fault.NotFound), fault.Is(err, fault.Forbidden):
		page.Problem = publicText(err) + "."
		a.showSignIn(w, http.StatusForbidden, page)
	default:
		a.fail(w, r, err)
	}
}

// previewOf takes the address of a preview apart: only to such a one does the
// page lead.
func (a *API) previewOf(text string) (u *url.URL, port int, ref string, ok bool) {
	u, err := url.Parse(text)
	if err != nil || u.User != nil || u.Scheme != a.Previews.Scheme() {
		return nil, 0, "", false
	}
	port, ref, _ = a.Previews.Match(u.Host)
	if port == 0 || !strings.EqualFold(u.Host, a.Previews.Host(port, ref)) {
		return nil, 0, "", false
	}
	return u, port, ref, true
}

type signInPage struct{ Host, Back, Nonce, Problem string }

func (a *API) showSignIn(w http.ResponseWriter, status int, page signInPage) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	// A form's answer may redirect to a preview, which form-action covers.
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'")
	h.Set("X-Frame-Options", "DENY")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin") // the form names its own origin
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = signInTemplate.Execute(w, page) // the person has gone when this fails
}

var signInTemplate = template.Must(template.New("sign-in").Parse(`<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>Sign in</title><style>
:root{color-scheme:light dark}body{font:16px/1.55 system-ui,sans-serif;max-width:34rem;margin:12vh auto;padding:0 1.25rem}
h1{font-size:1.4rem}label{display:block;margin:.75rem 0 .25rem}code{overflow-wrap:anywhere}
input{font:inherit;width:100%;box-sizing:border-box;padding:.45rem}button{font:inherit;margin-top:1rem;padding:.5rem 1.1rem}
.problem{border-left:4px solid #c33;padding-left:.75rem}</style></head><body>
<h1>Sign in to see this preview</h1>
{{if .Problem}}<p class="problem" role="alert">{{.Problem}}</p>{{end}}
{{if .Host}}<p><code>{{.Host}}</code> is private: only members of the sandbox's organization can see it.</p>
<form method="post"><label for="key">API key of your organization</label>
<input id="key" name="key" type="password" autocomplete="current-password" spellcheck="false" required autofocus placeholder="dtn_…">
<button>Sign in</button></form>
<p><small>The key stays with this server; the sandbox never sees it. This browser can then see this one port for an hour.</small></p>{{end}}
</body></html>
`))
