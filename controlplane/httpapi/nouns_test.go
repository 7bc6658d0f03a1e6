package httpapi_test

import (
	"net/url"
	"strings"
	"testing"

	"daytona/api/runnerapi"
	"daytona/controlplane/auth"
	"daytona/controlplane/controlplanetest"
	"daytona/internal/fault"
)

func TestAPIKeys(t *testing.T) {
	s := controlplanetest.New(t)
	const odd = "ci/main: 50% ✓"
	post := func(b any) response {
		return s.Do(t, request{Method: "POST", Path: "/api/api-keys", Key: s.Key, Body: b})
	}
	made := post(object{"name": odd, "permissions": []string{"write:sandboxes"}, "expiresAt": "2099-01-02T03:04:05Z"})
	if made.Status != 201 {
		t.Fatalf("%d %s", made.Status, made.Body)
	}
	key := made.Object(t)
	value := key["value"].(string)
	if len(value) != 68 || key["expiresAt"] != "2099-01-02T03:04:05.000Z" {
		t.Errorf("%v", key)
	}
	for _, tt := range []struct {
		name   string
		body   any
		status int
	}{
		{"taken", object{"name": odd, "permissions": []string{"write:sandboxes"}}, 409},
		{"no permissions", object{"name": "a", "permissions": []string{}}, 400},
		{"permissions missing", object{"name": "a"}, 400},
		{"unknown permission", object{"name": "a", "permissions": []string{"rule:world"}}, 400},
		{"no name", object{"name": " ", "permissions": []string{"write:sandboxes"}}, 400},
		{"bad date", object{"name": "a", "permissions": []string{"write:sandboxes"}, "expiresAt": "soon"}, 400},
		{"null date", object{"name": "forever", "permissions": []string{"write:sandboxes"}, "expiresAt": nil}, 201},
	} {
		if res := post(tt.body); res.Status != tt.status {
			t.Errorf("%s: %d %s", tt.name, res.Status, res.Body)
		}
	}
	surplus := s.Do(t, request{Method: "POST", Path: "/api/api-keys", Key: value, Body: object{"name": "b", "permissions": []string{"delete:sandboxes"}}})
	if surplus.Status != 403 {
		t.Errorf("granting more than held: %d %s", surplus.Status, surplus.Body)
	}
	current := s.Do(t, request{Path: "/api/api-keys/current", Key: value}).Object(t)
	if current["name"] != odd || current["value"] != "dtn"+strings.Repeat("*", 20)+value[65:] || current["userId"] != auth.AdminID {
		t.Errorf("current: %v", current)
	}
	path := "/api/api-keys/" + url.PathEscape(odd)
	if got := s.Do(t, request{Path: path, Key: s.Key}); got.Status != 200 || got.Object(t)["name"] != odd {
		t.Errorf("by name: %d %s", got.Status, got.Body)
	}
	var list []object
	s.Do(t, request{Path: "/api/api-keys", Key: s.Key}).JSON(t, &list)
	if len(list) != 3 {
		t.Errorf("list: %v", list)
	}
	if res := s.Do(t, request{Method: "DELETE", Path: path, Key: s.Key}); res.Status != 204 || len(res.Body) > 0 {
		t.Errorf("delete: %d %s", res.Status, res.Body)
	}
	if res := s.Do(t, request{Path: "/api/api-keys/current", Key: value}); res.Status != 401 {
		t.Errorf("a deleted key: %d", res.Status)
	}
	if res := s.Do(t, request{Method: "DELETE", Path: path, Key: s.Key}); res.Status != 404 {
		t.Errorf("delete again: %d", res.Status)
	}
	if res := s.Do(t, request{Method: "DELETE", Path: "/api/api-keys/" + auth.AdminID + "/forever", Key: s.Key}); res.Status != 204 {
		t.Errorf("delete of a member's key: %d %s", res.Status, res.Body)
	}
}

func TestOrganizationsAndUser(t *testing.T) {
	s := controlplanetest.New(t)
	var list []object
	s.Do(t, request{Path: "/api/organizations", Key: s.Key}).JSON(t, &list)
	if len(list) != 1 || list[0]["personal"] != true || list[0]["suspendedAt"] != nil || list[0]["authenticatedRateLimit"] != nil {
		t.Errorf("%v", list)
	}
	one := s.Do(t, request{Path: "/api/organizations/" + list[0]["id"].(string), Key: s.Key}).Object(t)
	if one["id"] != list[0]["id"] || one["defaultRegionId"] != "us" {
		t.Errorf("%v", one)
	}
	me := s.Do(t, request{Path: "/api/users/me", Key: s.Key}).Object(t)
	if keys, ok := me["publicKeys"].([]any); me["id"] != auth.AdminID || !ok || len(keys) != 0 {
		t.Errorf("%v", me)
	}
}

func TestSnapshots(t *testing.T) {
	s := controlplanetest.New(t)
	s.Runner.SetSnapshots(
		runnerapi.Snapshot{Name: controlplanetest.Snapshot, State: runnerapi.SnapshotReady, SizeBytes: 1},
		runnerapi.Snapshot{Name: "ghcr.io/team/image:1.2", State: runnerapi.SnapshotReady, SizeBytes: 2_500_000_000, Entrypoint: []string{"sh"}},
	)
	path := "/api/snapshots/" + url.PathEscape("ghcr.io/team/image:1.2")
	controlplanetest.Eventually(t, "the new snapshot shows", func() bool {
		return s.Do(t, request{Path: path, Key: s.Key}).Status == 200
	})
	sn := s.Do(t, request{Path: path, Key: s.Key}).Object(t)
	if sn["name"] != "ghcr.io/team/image:1.2" || sn["general"] != true {
		t.Errorf("%v", sn)
	}
	if got := s.Do(t, request{Path: "/api/snapshots/" + sn["id"].(string), Key: s.Key}); got.Status != 200 {
		t.Errorf("by id: %d", got.Status)
	}
	for query, want := range map[string]int{"": 2, "?page=1&limit=1": 1, "?page=3&limit=1": 0, "?name=TEAM": 1, "?limit=5000": 2, "?sort=name&order=asc": 2} {
		var page struct {
			Items                   []object
			Total, Page, TotalPages int
		}
		res := s.Do(t, request{Path: "/api/snapshots" + query, Key: s.Key})
		if res.JSON(t, &page); res.Status != 200 || len(page.Items) != want {
			t.Errorf("%s: %d %s", query, res.Status, res.Body)
		}
	}
	for _, query := range []string{"page=0", "limit=0", "limit=-1", "page=x", "page=99999999", "sort=x", "order=x"} {
		if res := s.Do(t, request{Path: "/api/snapshots?" + query, Key: s.Key}); res.Status != 400 {
			t.Errorf("%s: %d", query, res.Status)
		}
	}
	if res := s.Do(t, request{Path: "/api/snapshots/nothing", Key: s.Key}); res.Status != 404 {
		t.Errorf("unknown: %d", res.Status)
	}
}

func TestServerRoutes(t *testing.T) {
	s := controlplanetest.New(t)
	config := s.Do(t, request{Path: "/api/config"}).Object(t)
	for _, name := range strings.Fields("version oidc linkedAccountsEnabled announcements proxyTemplateUrl proxyToolboxUrl defaultSnapshot dashboardUrl maxAutoArchiveInterval maintananceMode environment") {
		if config[name] == nil {
			t.Errorf("config: %s is missing", name)
		}
	}
	if template := config["proxyTemplateUrl"].(string); !strings.HasPrefix(template, "http://{{PORT}}-{{sandboxId}}.proxy.localhost:") {
		t.Errorf("proxyTemplateUrl %s", template)
	}
	for _, path := range []string{"/api/shared-regions", "/api/regions"} {
		var regions []object
		s.Do(t, request{Path: path, Key: s.Key}).JSON(t, &regions)
		if len(regions) != 1 || regions[0]["id"] != "us" || regions[0]["regionType"] != "shared" {
			t.Errorf("%s: %v", path, regions)
		}
	}
	doc := s.Do(t, request{Path: "/api-json"}).Object(t)
	if doc["openapi"] == nil || doc["paths"].(object)["/sandbox/{sandboxIdOrName}"] == nil {
		t.Errorf("the document lacks what it should describe")
	}
	for path, want := range map[string]string{
		"/api": "openapi.json", "/api/": "openapi.json", "/api/openapi.json": `"openapi"`, "/api/openapi.yaml": "openapi: 3.", "/": "/api", "/health": `"ok"`, "/api/health": `"ok"`,
	} {
		if res := s.Do(t, request{Path: path}); res.Status != 200 || !strings.Contains(string(res.Body), want) {
			t.Errorf("%s: %d %.80s", path, res.Status, res.Body)
		}
	}
	s.Do(t, request{Path: "/api/sandbox/unknown", Key: s.Key})
	metrics := string(s.Do(t, request{Path: "/metrics"}).Body)
	for _, want := range []string{
		`daytona_http_requests_total{method="GET",route="/api/sandbox/{sandboxIdOrName}",status="404"} 1`,
		`daytona_http_request_duration_seconds_bucket{method="GET",route="/api/config"`, "daytona_http_requests_in_flight 1",
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("metrics lack %s", want)
		}
	}
}

func TestReadiness(t *testing.T) {
	s := controlplanetest.New(t)
	ready := func() response { return s.Do(t, request{Path: "/api/health/ready"}) }
	s.Runner.SetDown(fault.Wrap(http500{}, fault.Unavailable, "gone fishing"))
	res := ready()
	details := res.Object(t)["details"].(object)
	if res.Status != 503 || details["runner"].(object)["status"] != "down" || details["database"].(object)["status"] != "up" {
		t.Errorf("%d %s", res.Status, res.Body)
	}
	if strings.Contains(string(res.Body), "secret cause") {
		t.Errorf("the cause shows: %s", res.Body)
	}
	s.Runner.SetDown(nil)
	if res := ready(); res.Status != 200 {
		t.Errorf("%d %s", res.Status, res.Body)
	}
	if res := s.Do(t, request{Path: "/api/health"}); res.Status != 200 {
		t.Errorf("liveness: %d", res.Status)
	}
}

type http500 struct{}

func (http500) Error() string { return "secret cause" }
