package httpapi_test

import (
	"net/http"
	"strings"
	"testing"

	"daytona/controlplane/auth"
	"daytona/controlplane/controlplanetest"
	"daytona/controlplane/httpapi"
)

// fill replaces a path's parameters.
func fill(path, sandbox, org string) string {
	return "/api" + strings.NewReplacer(
		"{sandboxIdOrName}", sandbox, "{isPublic}", "true", "{interval}", "1", "{port}", "80",
		"{idOrName}", "nothing", "{id}", "nothing", "{organizationId}", org, "{name}", "nothing", "{userId}", "nobody",
		"{token}", "nothing", "{authToken}", "nothing", "{sandboxId}", sandbox, "{regionId}", "us", "{sandboxClass}", "container",
	).Replace(path)
}

// body is something that every route with a body accepts.
const body = `{"labels":{},"name":"x","permissions":["write:sandboxes"]}`

func TestEveryRouteChecksTheCaller(t *testing.T) {
	s := controlplanetest.New(t)
	id := create(t, s, map[string]any{"public": true})["id"].(string)
	all := auth.Permissions()
	otherOrg, otherKey := s.Tenant(t, "stranger", all...)
	without := func(permission string) string {
		var held []auth.Permission
		for _, p := range all {
			if string(p) != permission {
				held = append(held, p)
			}
		}
		return s.KeyFor(t, auth.AdminID, ownOrg(t, s), held...)
	}
	keys := map[string]string{}
	for _, line := range httpapi.Lines() {
		if p := line.Permission; p != "" && keys[p] == "" {
			keys[p] = without(p)
		}
	}
	for _, line := range httpapi.Lines() {
		path := fill(line.Path, id, ownOrg(t, s))
		q := request{Method: line.Method, Path: path, Body: body}
		if line.Method == "GET" || line.Method == "DELETE" {
			q.Body = nil
		}
		try := func(what string, want int, change func(*request)) {
			t.Helper()
			q := q
			change(&q)
			res := s.Do(t, q)
			if res.Status != want {
				t.Errorf("%s %s, %s: %d, want %d: %s", line.Method, line.Path, what, res.Status, want, res.Body)
				return
			}
			checkError(t, res, q.Path)
		}
		if line.Public {
			want := 200
			if strings.Contains(line.Path, "{authToken}") { // which is not the right one
				want = 404
			}
			if res := s.Do(t, q); res.Status != want {
				t.Errorf("%s: %d %s", path, res.Status, res.Body)
			}
			continue
		}
		try("no key", 401, func(*request) {})
		try("unknown key", 401, func(q *request) { q.Key = "dtn_" + strings.Repeat("0", 64) })
		try("odd key", 401, func(q *request) { q.Key = "🐟 \t" })
		try("another scheme", 401, func(q *request) { q.Header = map[string]string{"Authorization": "Basic " + s.Key} })
		try("unknown key before another organization", 401, func(q *request) {
			q.Key, q.Header = "no", map[string]string{"X-Daytona-Organization-ID": otherOrg}
		})
		try("another organization", 403, func(q *request) {
			q.Key, q.Header = s.Key, map[string]string{"X-Daytona-Organization-ID": otherOrg}
		})
		if line.Permission != "" {
			try("without permission", 403, func(q *request) { q.Key = keys[line.Permission] })
			try("without permission and unknown", 403, func(q *request) {
				q.Key, q.Path = keys[line.Permission], fill(line.Path, "unknown", "unknown")
			})
		}
		if strings.Contains(line.Path, "{sandboxIdOrName}") || strings.Contains(line.Path, "{organizationId}") {
			notMine := 404
			if line.Admin { // nobody learns what there is
				notMine = 403
			}
			try("of another organization", notMine, func(q *request) { q.Key = otherKey })
			foreign := s.Do(t, with(q, otherKey)).Object(t)["message"].(string)
			q2 := q
			q2.Path = fill(line.Path, "00000000-0000-4000-8000-000000000000", "00000000-0000-4000-8000-000000000000")
			unknown := s.Do(t, with(q2, otherKey)).Object(t)["message"].(string)
			if strip(foreign) != strip(unknown) {
				t.Errorf("%s: foreign %q and unknown %q differ", line.Path, foreign, unknown)
			}
		}
	}
}

func with(q request, key string) request { q.Key = key; return q }

// strip removes the id from a message.
func strip(message string) string {
	var words []string
	for _, w := range strings.Fields(message) {
		if !strings.Contains(w, "-") {
			words = append(words, w)
		}
	}
	return strings.Join(words, " ")
}

func ownOrg(t *testing.T, s *controlplanetest.Server) string {
	t.Helper()
	var list []struct{ ID string }
	s.Do(t, request{Path: "/api/organizations", Key: s.Key}).JSON(t, &list)
	return list[0].ID
}

// checkError checks the body of a refusal.
func checkError(t *testing.T, res response, path string) {
	t.Helper()
	e := res.Object(t)
	if e["statusCode"] != float64(res.Status) || e["error"] != http.StatusText(res.Status) || e["source"] != "DAYTONA_API" ||
		e["code"] == "" || e["path"] != path || e["timestamp"] == "" || e["requestId"] != res.Header.Get("X-Request-Id") {
		t.Errorf("error body of %s: %s", path, res.Body)
	}
	if _, ok := e["message"].(string); !ok {
		t.Errorf("message of %s is no string: %s", path, res.Body)
	}
}

func TestSecretsAreNotLogged(t *testing.T) {
	s := controlplanetest.New(t)
	id := create(t, s, nil)["id"].(string)
	token := s.Do(t, request{Path: "/api/sandbox/" + id + "/ports/1/preview-url", Key: s.Key}).Object(t)["token"].(string)
	s.Do(t, request{Path: "/toolbox/" + id + "/x?DAYTONA_SANDBOX_AUTH_KEY=" + token})
	value := s.Do(t, request{Method: "POST", Path: "/api/api-keys", Key: s.Key, Body: body}).Object(t)["value"].(string)
	log := s.Log.String()
	for _, secret := range []string{s.Key, token, value} {
		if strings.Contains(log, secret) {
			t.Errorf("the log contains a secret")
		}
	}
	for _, want := range []string{"request_id=", "route=/api/sandbox/{sandboxIdOrName}/ports/{port}/preview-url", "sandbox_id=" + id, "org_id=", "status=200", "duration_ms="} {
		if !strings.Contains(log, want) {
			t.Errorf("the log lacks %s", want)
		}
	}
}
