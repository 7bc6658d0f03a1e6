package rootfs

import (
	"strings"

	"daytona/api/runnerapi"
)

// FindAuth returns the credentials for an image of a registry: those with the
// longest prefix of "host/path", whole path elements counted. Docker Hub
// has several names, which mean the same. Its prefix never fits another host, so
// that a mirror is not shown what is meant for its origin.
func FindAuth(auths []runnerapi.RegistryAuth, host, path string) (best runnerapi.RegistryAuth, ok bool) {
	have := hubName(host) + "/" + path
	length := -1
	for _, a := range auths {
		prefix := cleanPrefix(a.Prefix)
		if len(prefix) > length && (have == prefix || strings.HasPrefix(have, prefix+"/")) {
			best, ok, length = a, true, len(prefix)
		}
	}
	return best, ok
}

// cleanPrefix brings a prefix, as people write it, to the form "host[/path]".
func cleanPrefix(prefix string) string {
	for _, scheme := range []string{"https://", "http://"} {
		prefix = strings.TrimPrefix(prefix, scheme)
	}
	host, path, _ := strings.Cut(strings.Trim(prefix, "/"), "/")
	host = hubName(strings.ToLower(host))
	path = strings.Trim(path, "/")
	if host == "docker.io" && (path == "v1" || path == "v2") { // as in https://index.docker.io/v1/
		path = ""
	}
	if path == "" {
		return host
	}
	return host + "/" + path
}

// hubName is the one name for the hosts of Docker Hub.
func hubName(host string) string {
	switch host {
	case "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com", "hub.docker.com", "":
		return "docker.io"
	}
	return host
}
