package httpapi_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"daytona/controlplane/controlplanetest"
	"daytona/internal/fault"

	"daytona/api/runnerapi"
)

type (
	request  = controlplanetest.Request
	response = controlplanetest.Response
	object   = map[string]any
)

// create makes a sandbox and returns it.
func create(t *testing.T, s *controlplanetest.Server, body any) object {
	t.Helper()
	res := s.Do(t, request{Method: "POST", Path: "/api/sandbox", Key: s.Key, Body: body})
	if res.Status != http.StatusOK {
		t.Fatalf("create: %d %s", res.Status, res.Body)
	}
	return res.Object(t)
}

func TestSandboxLife(t *testing.T) {
	s := controlplanetest.New(t)
	sb := create(t, s, object{"name": "first", "labels": object{"a": "1"}, "env": object{"X": "y"}, "public": true})
	id := sb["id"].(string)
	if sb["state"] != "started" || sb["name"] != "first" || sb["user"] != "daytona" || sb["cpu"] != 1.0 || sb["memory"] != 1.0 || sb["disk"] != 3.0 {
		t.Errorf("created: %v", sb)
	}
	if sb["toolboxProxyUrl"] != s.URL+"/toolbox" {
		t.Errorf("toolboxProxyUrl = %v", sb["toolboxProxyUrl"])
	}
	if got := s.Runner.SpecOf(id).Env["X"]; got != "y" {
		t.Errorf("env reached the runner as %q", got)
	}

	steps := []struct {
		name, method, path string
		body               any
		status             int
		want               object
	}{
		{"get by id", "GET", "/api/sandbox/" + id, nil, 200, object{"id": id, "state": "started"}},
		{"get by name", "GET", "/api/sandbox/first", nil, 200, object{"id": id}},
		{"trailing slash", "GET", "/api/sandbox/first/", nil, 200, object{"id": id}},
		{"double slash", "GET", "/api//sandbox/first", nil, 200, object{"id": id}},
		{"start again", "POST", "/api/sandbox/first/start", nil, 200, object{"state": "started"}},
		{"labels", "PUT", "/api/sandbox/first/labels", object{"labels": object{"b": "2"}}, 200, object{"labels": object{"b": "2"}}},
		{"public", "POST", "/api/sandbox/first/public/false", nil, 201, object{"public": false}},
		{"autostop", "POST", "/api/sandbox/first/autostop/0", nil, 201, object{"autoStopInterval": 0.0}},
		{"autoarchive", "POST", "/api/sandbox/first/autoarchive/0", nil, 201, object{"autoArchiveInterval": 43200.0}},
		{"autodelete", "POST", "/api/sandbox/first/autodelete/-1", nil, 201, object{"autoDeleteInterval": -1.0}},
		{"block the network", "POST", "/api/sandbox/first/network-settings", object{"networkBlockAll": true}, 200, object{"networkBlockAll": true}},
		{"open some names", "POST", "/api/sandbox/first/network-settings", object{"domainAllowList": "*.example.com"}, 200, object{"networkBlockAll": false, "domainAllowList": "*.example.com"}},
		{"no network settings", "POST", "/api/sandbox/first/network-settings", object{}, 400, object{"statusCode": 400.0}},
		{"bad network settings", "POST", "/api/sandbox/first/network-settings", object{"networkAllowList": "everything"}, 400, object{"statusCode": 400.0}},
		{"settings of an unknown network", "POST", "/api/sandbox/nobody/network-settings", object{"networkBlockAll": true}, 404, object{"statusCode": 404.0}},
		{"activity", "POST", "/api/sandbox/first/last-activity", nil, 201, nil},
		{"toolbox url", "GET", "/api/sandbox/first/toolbox-proxy-url", nil, 200, object{"url": s.URL + "/toolbox"}},
		{"stop", "POST", "/api/sandbox/first/stop?force=true", nil, 200, object{"state": "stopped", "desiredState": "stopped"}},
		{"stop again", "POST", "/api/sandbox/first/stop", nil, 400, object{"error": "Bad Request"}},
		{"start", "POST", "/api/sandbox/first/start", nil, 200, object{"state": "started"}},
		{"delete", "DELETE", "/api/sandbox/first?force=true", nil, 200, object{"id": id, "state": "destroyed"}},
		{"readable afterwards", "GET", "/api/sandbox/" + id, nil, 200, object{"state": "destroyed"}},
		{"delete again", "DELETE", "/api/sandbox/" + id, nil, 200, object{"state": "destroyed"}},
		{"name is free", "POST", "/api/sandbox", object{"name": "first"}, 200, object{"name": "first"}},
	}
	for _, step := range steps {
		res := s.Do(t, request{Method: step.method, Path: step.path, Key: s.Key, Body: step.body})
		if res.Status != step.status {
			t.Fatalf("%s: %d, want %d: %s", step.name, res.Status, step.status, res.Body)
		}
		if step.want == nil {
			if len(res.Body) > 0 {
				t.Errorf("%s: body %s", step.name, res.Body)
			}
			continue
		}
		got := res.Object(t)
		for k, want := range step.want {
			if fmt.Sprint(got[k]) != fmt.Sprint(want) {
				t.Errorf("%s: %s = %v, want %v", step.name, k, got[k], want)
			}
		}
	}
}

func TestPreviewURL(t *testing.T) {
	s := controlplanetest.New(t)
	id := create(t, s, nil)["id"].(string)
	got := s.Do(t, request{Path: "/api/sandbox/" + id + "/ports/3000/preview-url", Key: s.Key}).Object(t)
	port := s.URL[strings.LastIndex(s.URL, ":")+1:]
	if want := "http://3000-" + id + ".proxy.localhost:" + port; got["url"] != want || got["sandboxId"] != id || len(got["token"].(string)) != 32 {
		t.Errorf("got %v, want url %s", got, want)
	}
	for _, port := range []string{"0", "65536", "-1", "x", "99999999999"} {
		if res := s.Do(t, request{Path: "/api/sandbox/" + id + "/ports/" + port + "/preview-url", Key: s.Key}); res.Status != 400 {
			t.Errorf("port %s: %d %s", port, res.Status, res.Body)
		}
	}
}

func TestCreateRefusals(t *testing.T) {
	s := controlplanetest.New(t)
	create(t, s, object{"name": "taken"})
	for _, tt := range []struct {
		name   string
		body   any
		status int
		words  []string
	}{
		{"not JSON", "{", 400, []string{"JSON"}},
		{"an array", "[]", 400, []string{"object"}},
		{"two documents", "{} {}", 400, []string{"JSON"}},
		{"wrong types are all named", `{"cpu":"2","labels":{"a":1},"public":"yes","name":7}`, 400, []string{"cpu must be an integer", "labels.a must be a string", "public must be a boolean", "name must be a string"}},
		{"null among strings", `{"env":{"A":null}}`, 400, []string{"env.A must be a string"}},
		{"fraction", `{"autoStopInterval":1.5}`, 400, []string{"autoStopInterval must be an integer"}},
		{"huge", `{"autoStopInterval":1e300}`, 400, []string{"autoStopInterval must be between"}},
		{"NUL", `{"name":"a\u0000b"}`, 400, []string{"name", "NUL"}},
		{"nested", `{"volumes":[{"volumeId":"v"}]}`, 400, []string{"volumes[0].mountPath is required"}},
		{"unknown snapshot", object{"snapshot": "nope"}, 404, []string{"nope"}},
		{"resources with a snapshot", object{"snapshot": controlplanetest.Snapshot, "cpu": 2}, 400, []string{"cpu"}},
		{"negative interval", object{"autoStopInterval": -1}, 400, []string{"autoStopInterval"}},
		{"bad class", object{"class": "huge"}, 400, []string{"class"}},
		{"unknown region", object{"target": "mars"}, 400, []string{"mars"}},
		{"bad network", object{"networkAllowList": "10.0.0.1"}, 400, []string{"networkAllowList"}},
		{"name taken", object{"name": "taken"}, 409, []string{"taken"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			res := s.Do(t, request{Method: "POST", Path: "/api/sandbox", Key: s.Key, Body: tt.body})
			if res.Status != tt.status {
				t.Fatalf("%d, want %d: %s", res.Status, tt.status, res.Body)
			}
			for _, word := range tt.words {
				if msg := res.Object(t)["message"].(string); !strings.Contains(msg, word) {
					t.Errorf("%q is not in %q", word, msg)
				}
			}
		})
	}
	t.Run("too large", func(t *testing.T) {
		res := s.Do(t, request{Method: "POST", Path: "/api/sandbox", Key: s.Key, Body: `{"name":"` + strings.Repeat("x", 2<<20) + `"}`})
		if res.Status != 400 || res.Object(t)["code"] != "PAYLOAD_TOO_LARGE" {
			t.Errorf("%d %s", res.Status, res.Body)
		}
	})
	t.Run("what is harmless", func(t *testing.T) {
		create(t, s, `{"name":null,"cpu":null,"autoStopInterval":30.0,"unknownMember":[1],"Name":"not ours"}`)
		create(t, s, "")
	})
}

func TestIdempotencyKey(t *testing.T) {
	s := controlplanetest.New(t)
	post := func(key string, body any) response {
		return s.Do(t, request{Method: "POST", Path: "/api/sandbox", Key: s.Key, Body: body, Header: map[string]string{"Idempotency-Key": key}})
	}
	first, again, other := post("k1", object{"user": "root"}), post("k1", object{"user": "root"}), post("k1", object{"user": "daytona"})
	if first.Status != 200 || again.Status != 200 || first.Object(t)["id"] != again.Object(t)["id"] {
		t.Errorf("the same request: %d %s, then %d %s", first.Status, first.Body, again.Status, again.Body)
	}
	if other.Status != 409 {
		t.Errorf("another body: %d %s", other.Status, other.Body)
	}
}

func TestAFailedSandboxSaysWhy(t *testing.T) {
	s := controlplanetest.New(t)
	s.Runner.OnCreate(func(runnerapi.Spec) error { return fault.New(fault.Invalid, "no room for this kind of sandbox") })
	res := s.Do(t, request{Method: "POST", Path: "/api/sandbox", Key: s.Key})
	if res.Status != 200 || res.Object(t)["state"] != "error" || !strings.Contains(fmt.Sprint(res.Object(t)["errorReason"]), "no room") {
		t.Errorf("%d %s", res.Status, res.Body)
	}
}

func TestASandboxThatEndedSaysWhy(t *testing.T) {
	s := controlplanetest.New(t)
	id := fmt.Sprint(create(t, s, "")["id"])
	s.Runner.Die(id, runnerapi.CauseOutOfMemory)
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		got := s.Do(t, request{Method: "GET", Path: "/api/sandbox/" + id, Key: s.Key}).Object(t)
		if got["state"] == "stopped" && got["endCause"] == "out_of_memory" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("state %v, endCause %v", got["state"], got["endCause"])
		}
	}
}

func TestListDialects(t *testing.T) {
	s := controlplanetest.New(t)
	for i := range 3 {
		create(t, s, object{"name": fmt.Sprintf("box-%d", i), "labels": object{"n": fmt.Sprint(i), "all": "yes"}})
	}
	q := url.QueryEscape
	arrays := []struct {
		name, query string
		header      map[string]string
		count       int
	}{
		{"plain", "", nil, 3},
		{"labels", "?labels=" + q(`{"n":"1"}`), nil, 1},
		{"labels null", "?labels=null", map[string]string{"X-Daytona-Source": "python-sdk"}, 3},
		{"verbose", "?verbose=true&includeErroredDeleted=false", nil, 3},
		{"old SDK", "?labels=" + q(`{"all":"yes"}`), map[string]string{"X-Daytona-Source": "typescript-sdk", "X-Daytona-SDK-Version": "0.27.1"}, 3},
		{"strict Go", "", map[string]string{"User-Agent": "OpenAPI-Generator/1.0.0/go", "X-Daytona-Source": "cli"}, 3},
	}
	for _, tt := range arrays {
		res := s.Do(t, request{Path: "/api/sandbox" + tt.query, Key: s.Key, Header: tt.header})
		var list []object
		if res.JSON(t, &list); res.Status != 200 || len(list) != tt.count {
			t.Errorf("%s: %d %s", tt.name, res.Status, res.Body)
		}
	}
	sdk := map[string]string{"X-Daytona-Source": "sdk-typescript", "X-Daytona-SDK-Version": "0.218.0"}
	cursors := []struct {
		name, query string
		header      map[string]string
		count       int
	}{
		{"new SDK", "", sdk, 3},
		{"new CLI", "", map[string]string{"User-Agent": "api-client-go/0.190.0", "X-Daytona-Source": "cli"}, 3},
		{"by parameter", "?limit=200", nil, 3},
		{"name prefix", "?name=BOX-1", sdk, 1},
		{"states", "?states=started&states=stopped", sdk, 3},
		{"no such state now", "?states=stopped", sdk, 0},
		{"sizes", "?minCpu=0.5&maxCpu=1&minMemoryGiB=1&maxDiskGiB=3", sdk, 3},
		{"too small", "?maxCpu=0.5", sdk, 0},
		{"dates", "?createdAtAfter=2020-01-01&createdAtBefore=2020-01-02T00:00:00Z", sdk, 0},
		{"public", "?isPublic=false", sdk, 3},
	}
	for _, tt := range cursors {
		res := s.Do(t, request{Path: "/api/sandbox" + tt.query, Key: s.Key, Header: tt.header})
		var page struct {
			Items      []object
			NextCursor *string
		}
		res.JSON(t, &page)
		if _, there := res.Object(t)["nextCursor"]; res.Status != 200 || len(page.Items) != tt.count || !there {
			t.Errorf("%s: %d %s", tt.name, res.Status, res.Body)
		}
	}
	t.Run("cursor", func(t *testing.T) {
		var names []string
		path := "/api/sandbox?limit=1&sort=name&order=asc"
		for next := path; next != ""; {
			var page struct {
				Items      []struct{ Name string }
				NextCursor *string
			}
			s.Do(t, request{Path: next, Key: s.Key, Header: sdk}).JSON(t, &page)
			for _, item := range page.Items {
				names = append(names, item.Name)
			}
			if next = ""; page.NextCursor != nil {
				next = path + "&cursor=" + q(*page.NextCursor)
			}
		}
		if want := []string{"box-0", "box-1", "box-2"}; !slices.Equal(names, want) {
			t.Errorf("got %v, want %v", names, want)
		}
	})
	t.Run("pages", func(t *testing.T) {
		var page struct {
			Items                   []object
			Total, Page, TotalPages int
		}
		s.Do(t, request{Path: "/api/sandbox/paginated?page=2&limit=2", Key: s.Key, Header: sdk}).JSON(t, &page)
		if len(page.Items) != 1 || page.Total != 3 || page.Page != 2 || page.TotalPages != 2 {
			t.Errorf("%+v", page)
		}
		if page.Items[0]["name"] != "box-0" || page.Items[0]["env"] == nil {
			t.Errorf("last page: %v", page.Items[0])
		}
	})
	for _, query := range []string{
		"limit=0", "limit=201", "limit=x", "labels={", "labels=[]", "labels=" + q(`{"a":1}`), "states=flying", "sort=height", "order=up",
		"isPublic=perhaps", "minCpu=many", "minCpu=NaN", "createdAtAfter=yesterday", "cursor=%21%21", "name=a%00b", "includeWarm=2", "a=%zz",
	} {
		res := s.Do(t, request{Path: "/api/sandbox?" + query, Key: s.Key, Header: sdk})
		if res.Status != 400 {
			t.Errorf("%s: %d %s", query, res.Status, res.Body)
		} else if name, _, _ := strings.Cut(query, "="); name != "a" && !strings.Contains(string(res.Body), name) {
			t.Errorf("%s is not named: %s", name, res.Body)
		}
	}
}

// memberSets are the members that the strict Go client allows, those in the
// first half demanded.
var memberSets = map[string][2]string{
	"sandbox": {"id organizationId user env labels public networkBlockAll target cpu gpu memory disk",
		"snapshot networkAllowList state desiredState errorReason backupState backupCreatedAt autoStopInterval autoArchiveInterval autoDeleteInterval runnerDomain volumes buildInfo createdAt updatedAt class daemonVersion"},
	"snapshot": {"id general name state size entrypoint cpu gpu mem disk errorReason createdAt updatedAt lastUsedAt",
		"organizationId imageName buildInfo"},
	"organization": {"id name createdBy personal createdAt updatedAt suspended suspendedAt suspensionReason suspendedUntil suspensionCleanupGracePeriodHours totalCpuQuota totalMemoryQuota totalDiskQuota maxCpuPerSandbox maxMemoryPerSandbox maxDiskPerSandbox", ""},
	"preview":      {"url token", "legacyProxyUrl"},
	"page":         {"items total page totalPages", ""},
}

func TestStrictGoClient(t *testing.T) {
	s := controlplanetest.New(t)
	id := create(t, s, nil)["id"].(string)
	header := map[string]string{"User-Agent": "OpenAPI-Generator/1.0.0/go", "X-Daytona-Source": "cli"}
	for _, tt := range []struct{ method, path, set string }{
		{"GET", "/api/sandbox/" + id, "sandbox"},
		{"GET", "/api/sandbox", "sandbox"},
		{"POST", "/api/sandbox/" + id + "/start", "sandbox"},
		{"POST", "/api/sandbox", "sandbox"},
		{"GET", "/api/snapshots", "page"},
		{"GET", "/api/snapshots/" + controlplanetest.Snapshot, "snapshot"},
		{"GET", "/api/organizations", "organization"},
		{"GET", "/api/sandbox/" + id + "/ports/80/preview-url", "preview"},
	} {
		res := s.Do(t, request{Method: tt.method, Path: tt.path, Key: s.Key, Header: header})
		var members object
		if res.Body[0] == '[' {
			var list []object
			res.JSON(t, &list)
			members = list[0]
		} else {
			members = res.Object(t)
		}
		checkMembers(t, tt.path, members, tt.set)
		if tt.set == "page" {
			checkMembers(t, tt.path, members["items"].([]any)[0].(object), "snapshot")
		}
	}
}

func checkMembers(t *testing.T, path string, members object, set string) {
	t.Helper()
	must, may := strings.Fields(memberSets[set][0]), strings.Fields(memberSets[set][1])
	for _, name := range must {
		if _, ok := members[name]; !ok {
			t.Errorf("%s: %s is missing", path, name)
		}
	}
	for name := range members {
		if !slices.Contains(must, name) && !slices.Contains(may, name) {
			t.Errorf("%s: %s is not known to the client", path, name)
		}
	}
}

// TestRequiredMembers: what generated clients of either era demand is there and
// not null.
func TestRequiredMembers(t *testing.T) {
	s := controlplanetest.New(t)
	sb := create(t, s, nil)
	for _, name := range strings.Fields("id organizationId name user env labels public networkBlockAll kvm target cpu gpu memory disk toolboxProxyUrl volumes sandboxClass class createdAt updatedAt") {
		if sb[name] == nil {
			t.Errorf("sandbox: %s is missing or null", name)
		}
	}
	var list struct{ Items []object }
	s.Do(t, request{Path: "/api/sandbox?limit=5", Key: s.Key}).JSON(t, &list)
	for _, name := range strings.Fields("id organizationId name target user public cpu gpu memory disk labels toolboxProxyUrl networkBlockAll") {
		if list.Items[0][name] == nil {
			t.Errorf("list item: %s is missing or null", name)
		}
	}
	sn := s.Do(t, request{Path: "/api/snapshots/" + controlplanetest.Snapshot, Key: s.Key}).Object(t)
	for _, name := range strings.Fields("id general name state size entrypoint cpu gpu mem disk createdAt updatedAt") {
		if sn[name] == nil {
			t.Errorf("snapshot: %s is missing or null", name)
		}
	}
	for _, name := range strings.Fields("errorReason lastUsedAt sourceSandboxId organizationId") {
		if _, ok := sn[name]; !ok {
			t.Errorf("snapshot: %s is missing", name)
		}
	}
	if created := sb["createdAt"].(string); len(created) != len("2006-01-02T15:04:05.000Z") || !strings.HasSuffix(created, "Z") {
		t.Errorf("createdAt = %s", created)
	}
	var raw map[string]json.RawMessage
	s.Do(t, request{Path: "/api/sandbox/" + sb["id"].(string), Key: s.Key}).JSON(t, &raw)
	if string(raw["errorReason"]) != "null" || string(raw["networkAllowList"]) != "null" {
		t.Errorf("errorReason %s, networkAllowList %s", raw["errorReason"], raw["networkAllowList"])
	}
}
