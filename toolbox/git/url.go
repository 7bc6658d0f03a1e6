package git

import (
	"net/url"
	"regexp"
	"slices"
	"strings"

	"daytona/internal/fault"
)

// protocols are those that git may speak, also where a repository's settings
// lead it to another remote. Not among them is ext, which runs a command.
var protocols = []string{"http", "https", "ssh", "git", "file"}

// remote is a repository's address.
type remote struct {
	// address is what git is given and what is saved: it carries no
	// credentials.
	address string
	// scope is "https://host:port", and "" for what is not reached by HTTP.
	scope string
	// What the address as it was given carried, decoded.
	username, password string
	carried            bool
}

var (
	helperForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9+.-]*::`)
	schemeForm = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9+.-]*)://`)
	hostForm   = regexp.MustCompile(`^(?:[A-Za-z0-9._~-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?$`)
)

// parseRemote reads an address: a URL, a path, or host:path for SSH. Its errors
// are faults that do not repeat the address, which may carry a secret.
func parseRemote(text string) (remote, error) {
	invalid := func(format string, args ...any) (remote, error) {
		return remote{}, fault.New(fault.Invalid, format, args...)
	}
	switch {
	case text == "":
		return invalid("url is required")
	case strings.HasPrefix(text, "-"):
		return invalid("url must not begin with '-'")
	case strings.ContainsFunc(text, func(c rune) bool { return c < ' ' || c == 0x7f }):
		return invalid("url must not contain control characters")
	case helperForm.MatchString(text):
		return invalid("protocol %q is not allowed; use one of %s", text[:strings.Index(text, "::")], strings.Join(protocols, ", "))
	}
	found := schemeForm.FindStringSubmatch(text)
	if found == nil {
		return remote{address: text}, nil // a path, or host:path
	}
	scheme, rest := strings.ToLower(found[1]), text[len(found[0]):]
	if !slices.Contains(protocols, scheme) {
		return invalid("protocol %q is not allowed; use one of %s", scheme, strings.Join(protocols, ", "))
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	host, path := rest[:end], rest[end:]
	userinfo := ""
	r := remote{}
	if at := strings.LastIndex(host, "@"); at >= 0 {
		userinfo, host, r.carried = host[:at], host[at+1:], true
	}
	switch scheme {
	case "http", "https":
		if !hostForm.MatchString(host) {
			return invalid("url has no valid host")
		}
		username, password, _ := strings.Cut(userinfo, ":")
		var err, err2 error
		r.username, err = url.PathUnescape(username)
		r.password, err2 = url.PathUnescape(password)
		if err != nil || err2 != nil {
			return invalid("the user or password in url is not encoded correctly")
		}
		r.scope = scheme + "://" + host
		r.address = r.scope + path
		return r, nil
	case "ssh":
		// The user is who to log in as; a password could not be used.
		user, _, _ := strings.Cut(userinfo, ":")
		if r.carried && user != "" {
			host = user + "@" + host
		}
	}
	return remote{address: scheme + "://" + host + path}, nil
}

var inURL = regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*://)[^/\s'"]*@`)

// withoutUserinfo takes credentials out of the URLs in a text of git's.
func withoutUserinfo(text string) string {
	return inURL.ReplaceAllString(text, "$1")
}
