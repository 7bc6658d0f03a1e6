package ports

import (
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// relocate makes a redirect of a program lead to the program again. The program
// thinks that it is at the root of its host, and we don't know what the path of
// the request was before it came to us: a reference that is relative to the
// request's path is right for everybody.
func relocate(res *http.Response, port int, path string) {
	for _, name := range []string{"Location", "Content-Location"} {
		if v := res.Header.Get(name); v != "" {
			res.Header.Set(name, relative(v, port, path))
		}
	}
}

// relative rewrites a reference that leads to the program on the port. path is
// what followed /proxy/{port} in the request, escaped; it may be empty.
func relative(reference string, port int, path string) string {
	u, err := url.Parse(reference)
	if err != nil || u.Opaque != "" {
		return reference
	}
	if u.Host != "" {
		if !here(u, port) {
			return reference
		}
	} else if !strings.HasPrefix(u.Path, "/") {
		return reference // relative already
	}
	out := strings.TrimPrefix(u.EscapedPath(), "/")
	switch up := strings.Count(path, "/") - 1; {
	case up < 0:
		out = strconv.Itoa(port) + "/" + out
	case up == 0:
		out = "./" + out // not empty, and no scheme where the path has a colon
	default:
		out = strings.Repeat("../", up) + out
	}
	if u.RawQuery != "" || u.ForceQuery {
		out += "?" + u.RawQuery
	}
	if u.Fragment != "" {
		out += "#" + u.EscapedFragment()
	}
	return out
}

// here reports whether an absolute URL names this machine and the port.
func here(u *url.URL, port int) bool {
	if u.Scheme != "" && u.Scheme != "http" {
		return false
	}
	number := u.Port()
	if number == "" {
		number = "80"
	}
	if number != strconv.Itoa(port) {
		return false
	}
	if strings.EqualFold(u.Hostname(), "localhost") {
		return true
	}
	ip := net.ParseIP(u.Hostname())
	return ip != nil && (ip.IsLoopback() || ip.IsUnspecified())
}
