package httpapi

import (
	"fmt"
	"html"
	"net/http"
)

// frontPage tells a person who opens the server's address where the API is.
func (a *API) frontPage(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintf(w, "Daytona %s\nAPI: %s%s\n", a.Version, a.origin(), basePath)
}

// docsPage lists the routes and links the OpenAPI document. It needs nothing
// from elsewhere.
func (a *API) docsPage(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
	fmt.Fprint(w, `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Daytona API</title><style>
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem}
td{padding:.2rem .8rem .2rem 0;vertical-align:top}code{font-family:ui-monospace,monospace}</style></head><body><h1>Daytona API</h1>`)
	fmt.Fprintf(w, `<p>Version %s. OpenAPI document: <a href="%s/openapi.json">JSON</a>, <a href="%s/openapi.yaml">YAML</a>.
Send an API key as <code>Authorization: Bearer &lt;key&gt;</code>.</p><table>`, html.EscapeString(a.Version), basePath, basePath)
	for _, rt := range routes() {
		fmt.Fprintf(w, "<tr><td><code>%s</code></td><td><code>%s</code></td><td>%s</td></tr>\n",
			rt.method, html.EscapeString(basePath+rt.path), html.EscapeString(rt.doc))
	}
	fmt.Fprint(w, "</table></body></html>\n")
}
