package httpapi_test

import (
	"slices"
	"strings"
	"testing"

	"daytona/api/runnerapi"
	"daytona/controlplane/auth"
	"daytona/controlplane/controlplanetest"
)

func TestRegistryRoutes(t *testing.T) {
	s := controlplanetest.New(t)
	_, key := s.Tenant(t, "ann", auth.WriteRegistries, auth.DelRegistries, auth.WriteSnapshots)
	_, stranger := s.Tenant(t, "bob", auth.WriteRegistries, auth.DelRegistries)
	body := map[string]any{"name": "mine", "url": "ghcr.io", "username": "ann", "password": "hunter2", "registryType": "organization", "project": ""}
	created := s.Do(t, controlplanetest.Request{Method: "POST", Path: "/api/docker-registry", Key: key, Body: body})
	o := created.Object(t)
	id, _ := o["id"].(string)
	if created.Status != 201 || o["url"] != "ghcr.io" || o["project"] != "" || o["registryType"] != "organization" {
		t.Fatalf("create: %d %s", created.Status, created.Body)
	}
	path := "/api/docker-registry/" + id
	update := map[string]any{"name": "ours", "url": "ghcr.io", "username": "ann"}
	for _, c := range []struct {
		name, method, path, key string
		body                    any
		status                  int
		text                    string
	}{
		{"list", "GET", "/api/docker-registry", key, nil, 200, id},
		{"a stranger lists", "GET", "/api/docker-registry", stranger, nil, 200, "[]"},
		{"get", "GET", path, key, nil, 200, id},
		{"a stranger gets", "GET", path, stranger, nil, 404, id},
		{"a stranger changes", "PATCH", path, stranger, update, 404, id},
		{"a stranger deletes", "DELETE", path, stranger, nil, 404, id},
		{"change", "PATCH", path, key, update, 200, "ours"},
		{"an internal one", "POST", "/api/docker-registry", key, map[string]any{"name": "x", "url": "ghcr.io", "username": "", "password": "", "registryType": "internal"}, 403, "administrators"},
		{"no address", "POST", "/api/docker-registry", key, map[string]any{"name": "x", "username": "", "password": ""}, 400, "url is required"},
		{"a member sets the default", "POST", path + "/set-default", key, nil, 403, "administrators"},
	} {
		got := s.Do(t, controlplanetest.Request{Method: c.method, Path: c.path, Key: c.key, Body: c.body})
		if got.Status != c.status || !strings.Contains(string(got.Body), c.text) || strings.Contains(string(got.Body), "hunter2") {
			t.Errorf("%s: %d %s, want %d %s", c.name, got.Status, got.Body, c.status, c.text)
		}
	}
	// The runner gets what it needs to pull.
	sn := s.Do(t, controlplanetest.Request{Method: "POST", Path: "/api/snapshots", Key: key, Body: map[string]any{"name": "n", "imageName": "ghcr.io/ann/x:1"}}).Object(t)
	controlplanetest.Eventually(t, "the runner was told", func() bool {
		spec, ok := s.Runner.ImageSpecOf(sn["ref"].(string))
		// Beside it is the account for the server's own registry.
		return ok && slices.ContainsFunc(spec.Auths, func(a runnerapi.RegistryAuth) bool { return a.Prefix == "ghcr.io" && a.Password == "hunter2" })
	})
	if got := s.Do(t, controlplanetest.Request{Method: "DELETE", Path: path, Key: key}); got.Status != 204 {
		t.Errorf("delete: %d %s", got.Status, got.Body)
	}
	if strings.Contains(s.Log.String(), "hunter2") {
		t.Error("the password is in the log")
	}
}
