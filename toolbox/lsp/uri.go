package lsp

import (
	"net/url"
	"path/filepath"
	"strings"

	"daytona/internal/fault"
)

// fileURI returns the URI of an absolute path.
func fileURI(path string) string {
	return (&url.URL{Scheme: "file", Path: path}).String()
}

// pathOf returns the path that a server's URI names. Servers encode the same
// path in different ways, so paths are what is compared.
func pathOf(uri string) (string, error) {
	u, err := url.Parse(uri)
	if err != nil || u.Scheme != "file" || !strings.HasPrefix(u.Path, "/") {
		return "", fault.New(fault.Invalid, "not the URI of a file: %s", uri)
	}
	return filepath.Clean(u.Path), nil
}

// clientPath returns the path in a URI as clients write it: "file://" and a
// path that is absolute or relative, encoded or not. The path alone will do.
func clientPath(uri string) (string, error) {
	if uri == "" {
		return "", fault.New(fault.Invalid, "uri is required")
	}
	path, isFile := strings.CutPrefix(uri, "file://")
	if scheme, _, ok := strings.Cut(uri, "://"); !isFile && ok && !strings.Contains(scheme, "/") {
		return "", fault.New(fault.Invalid, "unsupported uri: %s (only file:// is)", uri)
	}
	if path == "" || strings.ContainsRune(path, 0) {
		return "", fault.New(fault.Invalid, "invalid uri: %q", uri)
	}
	return path, nil
}

// candidates returns the absolute paths that a client's path may mean, the
// likeliest first. A relative path starts from the work directory, or else from
// the project. Clients of the first era put the project's path in front of what
// already has it. And any path may be percent-encoded.
func candidates(path, project string, resolve func(string) string) []string {
	var all []string
	add := func(p string) {
		for _, have := range all {
			if have == p {
				return
			}
		}
		all = append(all, p)
	}
	forms := []string{path}
	if decoded, err := url.PathUnescape(path); err == nil && decoded != path && !strings.ContainsRune(decoded, 0) {
		forms = append(forms, decoded)
	}
	for _, form := range forms {
		add(filepath.Clean(resolve(form)))
	}
	for _, form := range forms {
		if !filepath.IsAbs(form) && !strings.HasPrefix(form, "~") {
			add(filepath.Join(project, form))
		}
		if rest, ok := strings.CutPrefix(filepath.Clean(resolve(form)), project+"/"); ok {
			add(filepath.Clean(resolve(rest)))
		}
	}
	return all
}
