package proxy

import (
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"daytona/api/proxyapi"
)

// modify keeps an answer from acting on anything but its own sandbox and port.
func (f *forwarder) modify(res *http.Response) error {
	t := tripOf(res.Request)
	h := res.Header
	// These act on more than the host from which they come, or have a web server in
	// front of this one send files and pages of its own.
	for _, name := range []string{
		"Clear-Site-Data", "Strict-Transport-Security", "Public-Key-Pins", "Alt-Svc", "Nel", "Report-To", "Reporting-Endpoints",
		"X-Accel-Redirect", "X-Sendfile", "X-Lighttpd-Send-File", "X-Reproxy-Url",
	} {
		h.Del(name)
	}
	if location := h.Get("Location"); location != "" {
		h.Set("Location", f.proxy.relocate(location, t))
	}
	if t.origin == "" {
		guardShared(h)
	} else {
		confineCookies(h)
		if h.Get("Origin-Agent-Cluster") == "" {
			h.Set("Origin-Agent-Cluster", "?1") // not of one mind with other sandboxes
		}
	}
	f.proxy.allowOrigins(res, t)
	return nil
}

// confineCookies makes a program's cookies those of its own host: a domain would
// hand them to every sandbox. Cookies by our names are dropped.
func confineCookies(h http.Header) {
	lines := h.Values("Set-Cookie")
	if len(lines) == 0 {
		return
	}
	h.Del("Set-Cookie")
	for _, line := range lines {
		if isOurs(strings.TrimSpace(line)) {
			continue
		}
		parts := strings.Split(line, ";")
		keep := parts[:1]
		for _, part := range parts[1:] {
			name, _, _ := strings.Cut(part, "=")
			if !strings.EqualFold(strings.TrimSpace(name), "domain") {
				keep = append(keep, part)
			}
		}
		h.Add("Set-Cookie", strings.Join(keep, ";"))
	}
}

// guardShared makes an answer harmless that comes from an origin which is not
// the sandbox's alone.
func guardShared(h http.Header) {
	for _, name := range []string{"Set-Cookie", "Www-Authenticate", "Service-Worker-Allowed"} {
		h.Del(name)
	}
	h.Set("Content-Security-Policy", "sandbox allow-scripts allow-forms allow-popups allow-downloads allow-modals")
	h.Set("X-Content-Type-Options", "nosniff")
}

// relocate turns a redirect to a name that means something inside the sandbox
// only into one that the caller can follow.
func (p *Proxy) relocate(location string, t *trip) string {
	u, err := url.Parse(location)
	if err != nil {
		return location
	}
	if u.Host == "" {
		if t.prefix != "" && strings.HasPrefix(u.Path, "/") {
			return t.prefix + location
		}
		return location
	}
	if u.Scheme != "" && u.Scheme != "http" && u.Scheme != "https" || !loopback(u.Hostname()) {
		return location
	}
	port := t.port
	if text := u.Port(); text != "" {
		if port, err = strconv.Atoi(text); err != nil || port < 1 || port > 65535 {
			return location
		}
	} else if u.Scheme == "http" {
		port = 80
	} else if u.Scheme == "https" {
		port = 443
	}
	rest := u.EscapedPath() + query(u)
	if u.Fragment != "" {
		rest += "#" + u.EscapedFragment()
	}
	switch {
	case !strings.HasPrefix(rest, "/"):
		rest = "/" + rest
	case strings.HasPrefix(rest, "//"): // would name another host
		rest = "/." + rest
	}
	switch {
	case port == t.port:
		return t.prefix + rest
	case t.prefix != "":
		return proxyapi.PathPrefix + t.ref + "/" + strconv.Itoa(port) + rest
	case t.ref != t.pass.SandboxID: // a signed link is for one port
		return location
	}
	return p.Template.URL(port, t.ref) + rest
}

func loopback(host string) bool {
	if host == "localhost" || host == "0.0.0.0" || host == "::" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
