package proxyapi

import (
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

// What stands for the port and the sandbox in a template.
const (
	portMark    = "{{PORT}}"
	sandboxMark = "{{sandboxId}}"
)

// Template says where the ports of sandboxes can be reached, as in
//
//	http://{{PORT}}-{{sandboxId}}.proxy.localhost:3986
//
// or, with both in the path, http://localhost:3986/preview/{{sandboxId}}/{{PORT}}.
type Template struct {
	text     string
	scheme   string
	host     *regexp.Regexp // nil when the path has the marks
	suffix   string         // of the hosts, from the first dot after the marks
	authPort string         // of the address, "" for the scheme's own
}

// ParseTemplate reads a template.
func ParseTemplate(text string) (Template, error) {
	wrong := func(why string) (Template, error) {
		return Template{}, fmt.Errorf("%q %s; an example is https://%s-%s.preview.example.org", text, why, portMark, sandboxMark)
	}
	if strings.Count(text, portMark) != 1 || strings.Count(text, sandboxMark) != 1 {
		return wrong("must have " + portMark + " and " + sandboxMark + " once each")
	}
	// Placeholders that a URL can have.
	const aPort, aSandbox = "port--mark", "sandbox--mark"
	u, err := url.Parse(strings.NewReplacer(portMark, aPort, sandboxMark, aSandbox).Replace(text))
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return wrong("is not an http or https address without query")
	}
	t := Template{text: strings.TrimRight(text, "/"), scheme: u.Scheme, authPort: u.Port()}
	name := strings.ToLower(u.Hostname())
	inHost := strings.Contains(name, aPort) && strings.Contains(name, aSandbox)
	if !inHost {
		if strings.Contains(name, aPort) || strings.Contains(name, aSandbox) || strings.Trim(u.Path, "/") != strings.Trim(PathPrefix, "/")+"/"+aSandbox+"/"+aPort {
			return wrong("must have both marks in the host, or the path " + PathPrefix + sandboxMark + "/" + portMark)
		}
		return t, nil
	}
	if strings.Trim(u.Path, "/") != "" {
		return wrong("must have no path")
	}
	first, rest, ok := strings.Cut(name, ".")
	for ok && (strings.Contains(rest, aPort) || strings.Contains(rest, aSandbox)) {
		var more string
		more, rest, ok = strings.Cut(rest, ".")
		first += "." + more
	}
	if !ok || rest == "" {
		return wrong("must have a domain of its own behind the marks")
	}
	t.suffix = "." + rest
	t.host = regexp.MustCompile("^" + strings.NewReplacer(aPort, `(?P<port>[1-9][0-9]{0,4})`, aSandbox, `(?P<ref>[a-z0-9]+(?:-[a-z0-9]+)*)`).
		Replace(regexp.QuoteMeta(first)) + "$")
	return t, nil
}

// DefaultTemplate is {scheme}://{port}-{sandbox}.{domain}.
func DefaultTemplate(scheme, domain string) (Template, error) {
	return ParseTemplate(scheme + "://" + portMark + "-" + sandboxMark + "." + domain)
}

// String returns the text of the template.
func (t Template) String() string { return t.text }

// Scheme is http or https.
func (t Template) Scheme() string { return t.scheme }

// Suffix is what hosts of previews end in, from a dot on; "" when they have none
// of their own.
func (t Template) Suffix() string { return t.suffix }

// URL is where a port can be reached. ref is a sandbox's id or the token of a
// signed link.
func (t Template) URL(port int, ref string) string {
	return strings.NewReplacer(portMark, strconv.Itoa(port), sandboxMark, ref).Replace(t.text)
}

// Host is the host with port of URL.
func (t Template) Host(port int, ref string) string {
	u, err := url.Parse(t.URL(port, ref))
	if err != nil {
		return ""
	}
	return u.Host
}

// Match takes the host of a request apart. ours says that it is a host of
// previews; it is not a valid one when port is 0.
func (t Template) Match(host string) (port int, ref string, ours bool) {
	if t.host == nil {
		return 0, "", false
	}
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	first, ok := strings.CutSuffix(name, t.suffix)
	if !ok {
		return 0, "", name == t.suffix[1:]
	}
	m := t.host.FindStringSubmatch(first)
	if m == nil || len(first) > 128 {
		return 0, "", true
	}
	port, err := strconv.Atoi(m[t.host.SubexpIndex("port")])
	if err != nil || port > 65535 {
		return 0, "", true
	}
	return port, m[t.host.SubexpIndex("ref")], true
}

// PathPrefix begins the paths at which previews are served too, for clients that
// cannot resolve the names of hosts: /preview/{sandboxId}/{port}/…
const PathPrefix = "/preview/"

// MatchPath takes an escaped path apart. rest begins with a slash, or is "" for
// a path without one.
func MatchPath(path string) (port int, ref, rest string, ours bool) {
	tail, ours := strings.CutPrefix(path, PathPrefix)
	if !ours {
		return 0, "", "", false
	}
	ref, tail, _ = strings.Cut(tail, "/")
	number, rest, slash := strings.Cut(tail, "/")
	if slash {
		rest = "/" + rest
	}
	port, err := strconv.Atoi(number)
	if err != nil || port < 1 || port > 65535 || strconv.Itoa(port) != number || !validRef.MatchString(ref) {
		return 0, "", "", true
	}
	return port, ref, rest, true
}

var validRef = regexp.MustCompile(`^[a-z0-9]+(?:-[a-z0-9]+)*$`)
