package httpapi_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"daytona/api/runnerapi"
	"daytona/controlplane/auth"
	"daytona/controlplane/controlplanetest"
)

const newSDK, oldSDK, oldGo = "sdk-typescript", "typescript-sdk", "OpenAPI-Generator/1.0.0/go"

func TestCanCleanUpImage(t *testing.T) {
	s := controlplanetest.New(t)
	_, key := s.Tenant(t, "ann", auth.WriteSnapshots, auth.WriteRunners)
	body := map[string]any{"name": "pushed", "imageName": "r.example/daytona/o/tools:1.4"}
	if res := s.Do(t, controlplanetest.Request{Method: "POST", Path: "/api/snapshots", Key: key, Body: body}); res.Status != 200 {
		t.Fatalf("create: %d %s", res.Status, res.Body)
	}
	for _, c := range []struct {
		key, query string
		status     int
		text       string
	}{
		{s.Key, "imageName=r.example/daytona/o/tools:1.4", 200, "false"},
		{s.Key, "imageName=r.example/daytona/o/tools:1.5", 200, "true"},
		{s.Key, "", 400, "imageName is required"},
		{key, "imageName=x", 403, ""},
	} {
		for _, path := range []string{"/api/snapshots/can-cleanup-image?", "/api/admin/snapshots/can-cleanup-image?"} {
			res := s.Do(t, controlplanetest.Request{Path: path + c.query, Key: c.key})
			if res.Status != c.status || !strings.Contains(string(res.Body), c.text) {
				t.Errorf("%s%s: %d %s", path, c.query, res.Status, res.Body)
			}
		}
	}
}

func TestSnapshotRoutes(t *testing.T) {
	s := controlplanetest.New(t)
	all := []auth.Permission{auth.WriteSnapshots, auth.DelSnapshots, auth.WriteSandboxes}
	_, key := s.Tenant(t, "ann", all...)
	_, stranger := s.Tenant(t, "bob", all...)
	weak := s.KeyFor(t, "ann", "ann-org", auth.WriteSandboxes)
	body := map[string]any{"name": "team/tools:1", "imageName": "debian:12.11", "entrypoint": []string{"sleep", "9"}, "cpu": 2}
	path := "/api/snapshots/team%2Ftools:1"

	created := s.Do(t, controlplanetest.Request{Method: "POST", Path: "/api/snapshots", Key: key, Body: body})
	if created.Status != 200 {
		t.Fatalf("create: %d %s", created.Status, created.Body)
	}
	o := created.Object(t)
	id := o["id"].(string)
	for _, member := range strings.Fields("id general name state size entrypoint cpu gpu mem disk errorReason createdAt updatedAt lastUsedAt") {
		if _, ok := o[member]; !ok {
			t.Errorf("%s is missing in %s", member, created.Body)
		}
	}
	controlplanetest.Eventually(t, "the snapshot is active", func() bool {
		return s.Do(t, controlplanetest.Request{Path: path, Key: key}).Object(t)["state"] == "active"
	})
	if spec, ok := s.Runner.ImageSpecOf(o["ref"].(string)); !ok || spec.Pull.Ref != "debian:12.11" || len(spec.Entrypoint) != 2 {
		t.Errorf("the runner was told %+v", spec)
	}
	for _, c := range []struct {
		name, method, path, key string
		body                    any
		status                  int
		text                    string
	}{
		{"create without permission", "POST", "/api/snapshots", weak, body, 403, "write:snapshots"},
		{"a taken name", "POST", "/api/snapshots", key, body, 409, "already exists"},
		{"a moving tag", "POST", "/api/snapshots", key, map[string]any{"name": "x", "imageName": "debian:latest"}, 400, "not allowed"},
		{"no name", "POST", "/api/snapshots", key, map[string]any{"imageName": "debian:12"}, 400, "name is required"},
		{"general", "POST", "/api/snapshots", key, map[string]any{"name": "g", "imageName": "debian:12", "general": true}, 403, "administrators"},
		{"an unknown isolation", "POST", "/api/snapshots", key, map[string]any{"name": "i", "imageName": "debian:12", "isolation": "moon"}, 400, "isolation"},
		{"a stranger gets", "GET", "/api/snapshots/" + id, stranger, nil, 404, id},
		{"a stranger deletes", "DELETE", "/api/snapshots/" + id, stranger, nil, 404, id},
		{"a stranger activates", "POST", "/api/snapshots/" + id + "/activate", stranger, nil, 404, id},
		{"a stranger deactivates", "POST", "/api/snapshots/" + id + "/deactivate", stranger, nil, 404, id},
		{"a stranger reads the log", "GET", "/api/snapshots/" + id + "/build-logs", stranger, nil, 404, id},
		{"a stranger asks for the log", "GET", "/api/snapshots/" + id + "/build-logs-url", stranger, nil, 404, id},
		{"a member makes it general", "PATCH", "/api/snapshots/" + id + "/general", key, map[string]any{"general": true}, 403, "administrators"},
		{"delete without permission", "DELETE", path, weak, nil, 403, "delete:snapshots"},
		{"activate what is active", "POST", path + "/activate", key, nil, 400, "already active"},
		{"deactivate", "POST", path + "/deactivate", key, nil, 204, ""},
		{"deactivate again", "POST", path + "/deactivate", key, nil, 204, ""},
		{"a sandbox of it", "POST", "/api/sandbox", key, map[string]any{"snapshot": "team/tools:1"}, 400, "Activate it first"},
		{"activate", "POST", path + "/activate", key, nil, 200, ""},
		{"an administrator makes it general", "PATCH", "/api/snapshots/" + id + "/general", s.Key, map[string]any{"general": true}, 200, `"general":true`},
		{"a stranger gets a general one", "GET", "/api/snapshots/" + id, stranger, nil, 200, id},
		{"its maker deletes a general one", "DELETE", path, key, nil, 403, "general"},
		{"no longer general", "PATCH", "/api/admin/snapshots/" + id + "/general", s.Key, map[string]any{"general": false}, 200, `"general":false`},
		{"delete", "DELETE", path, key, nil, 200, ""},
		{"delete again", "DELETE", path, key, nil, 404, ""},
	} {
		got := s.Do(t, controlplanetest.Request{Method: c.method, Path: c.path, Key: c.key, Body: c.body})
		if got.Status != c.status || !strings.Contains(string(got.Body), c.text) {
			t.Errorf("%s: %d %s, want %d %s", c.name, got.Status, got.Body, c.status, c.text)
		}
	}
}

// TestBuildLogs: several readers from the first byte, in the way of both eras.
func TestBuildLogs(t *testing.T) {
	s := controlplanetest.New(t)
	_, key := s.Tenant(t, "ann", auth.WriteSnapshots, auth.WriteSandboxes)
	steps := make(chan string)
	s.Runner.OnImage(func(_ context.Context, _ runnerapi.ImageSpec, log io.Writer) error {
		for line := range steps {
			fmt.Fprintln(log, line)
		}
		return errors.New("exit code 7")
	})
	build := map[string]any{"dockerfileContent": "FROM x\nRUN false"}
	sb := s.Do(t, controlplanetest.Request{Method: "POST", Path: "/api/sandbox", Key: key, Body: map[string]any{"buildInfo": build}}).Object(t)
	sn := s.Do(t, controlplanetest.Request{Method: "POST", Path: "/api/snapshots", Key: key, Body: map[string]any{"name": "n", "buildInfo": build}}).Object(t)
	if sb["state"] != "pending_build" || sn["state"] != "building" {
		t.Fatalf("sandbox %v, snapshot %v", sb["state"], sn["state"])
	}
	if b := sb["buildInfo"].(map[string]any); b["snapshotRef"] == "" || b["dockerfileContent"] != build["dockerfileContent"] {
		t.Errorf("build info %v", b)
	}
	paths := []string{}
	for _, p := range []string{"/api/sandbox/" + sb["id"].(string), "/api/snapshots/" + sn["id"].(string)} {
		url := s.Do(t, controlplanetest.Request{Path: p + "/build-logs-url", Key: key}).Object(t)["url"].(string)
		paths = append(paths, p+"/build-logs?follow=true", strings.TrimPrefix(url, s.URL)+"?follow=true")
	}
	answers := make(chan controlplanetest.Response, len(paths))
	for _, p := range paths {
		go func() { answers <- s.Do(t, controlplanetest.Request{Path: p, Key: key}) }()
	}
	steps <- "step 1"
	steps <- "step 2"
	close(steps)
	for range paths {
		got := <-answers
		if got.Status != 200 || string(got.Body) != "step 1\nstep 2\n" || got.Header.Get("Content-Type") != "application/octet-stream" {
			t.Errorf("log: %d %q %s", got.Status, got.Body, got.Header.Get("Content-Type"))
		}
	}
	later := s.Do(t, controlplanetest.Request{Path: strings.TrimSuffix(paths[0], "?follow=true"), Key: key})
	if string(later.Body) != "step 1\nstep 2\n" {
		t.Errorf("afterwards %q", later.Body)
	}
	for client, want := range map[string]string{newSDK: "build_failed", oldSDK: "error"} { // the old one waits for error alone
		controlplanetest.Eventually(t, client+" sees the failure", func() bool {
			got := s.Do(t, controlplanetest.Request{Path: "/api/sandbox/" + sb["id"].(string), Key: key, Header: map[string]string{"X-Daytona-Source": client}}).Object(t)
			return got["state"] == want && got["errorReason"] == "exit code 7"
		})
	}
	controlplanetest.Eventually(t, "the snapshot has failed", func() bool {
		got := s.Do(t, controlplanetest.Request{Path: "/api/snapshots/n", Key: key}).Object(t)
		return got["state"] == "build_failed" && got["errorReason"] == "exit code 7"
	})
	strict := s.Do(t, controlplanetest.Request{Path: "/api/snapshots/n", Key: key, Header: map[string]string{"User-Agent": oldGo}})
	if text := string(strict.Body); strings.Contains(text, "snapshotRef") || strings.Contains(text, "sandboxClass") || !strings.Contains(text, "buildInfo") {
		t.Errorf("for the strict client: %s", text)
	}
	none := s.Do(t, controlplanetest.Request{Path: "/api/snapshots/" + controlplanetest.Snapshot + "/build-logs?follow=true", Key: key})
	if none.Status != http.StatusOK || len(none.Body) != 0 { // clients would print an error as part of the log
		t.Errorf("no log: %d %q", none.Status, none.Body)
	}
}
