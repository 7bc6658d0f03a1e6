package httpapi_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"daytona/controlplane/auth"
	"daytona/controlplane/controlplanetest"
	"daytona/controlplane/httpapi"
	"daytona/internal/ratelimit"
)

const strictAgent = "OpenAPI-Generator/1.0.0/go"

func TestUsageOverview(t *testing.T) {
	s := controlplanetest.New(t)
	orgID, key := s.Tenant(t, "ann", auth.WriteSandboxes)
	_, stranger := s.Tenant(t, "bob", auth.WriteSandboxes)
	usage := "/api/organizations/" + orgID + "/usage"
	if res := s.Do(t, request{Method: "POST", Path: "/api/sandbox", Key: key, Body: object{}}); res.Status != 200 {
		t.Fatalf("%d %s", res.Status, res.Body)
	}
	got := s.Do(t, request{Path: usage, Key: key}).Object(t)
	for name, want := range map[string]float64{
		"totalCpuQuota": 1000, "totalMemoryQuota": 2000, "totalDiskQuota": 10000, "currentCpuUsage": 1, "currentMemoryUsage": 1, "currentDiskUsage": 3,
		"totalSnapshotQuota": 100, "currentSnapshotUsage": 0, "totalVolumeQuota": 100, "currentVolumeUsage": 0,
	} {
		if got[name] != want {
			t.Errorf("%s is %v, want %v", name, got[name], want)
		}
	}
	regions := got["regionUsage"].([]any)
	if len(regions) != 1 {
		t.Fatalf("%v", regions)
	}
	us := regions[0].(map[string]any)
	if us["regionId"] != "us" || us["sandboxClass"] != "container" || us["currentDiskUsage"] != 3.0 || us["maxCpuPerSandbox"] != 4.0 || us["totalGpuQuota"] != 0.0 {
		t.Errorf("%v", us)
	}
	for _, name := range []string{"maxDiskPerNonEphemeralSandbox", "maxCpuPerGpuSandbox", "maxMemoryPerGpuSandbox", "maxDiskPerGpuSandbox"} {
		if v, there := us[name]; !there || v != nil {
			t.Errorf("%s is %v, there %v; want null", name, v, there)
		}
	}
	strict := s.Do(t, request{Path: usage, Key: key, Header: map[string]string{"User-Agent": strictAgent}}).Object(t)
	if len(strict) != 10 {
		t.Errorf("the oldest clients get %d members, want 10: %v", len(strict), strict)
	}
	if res := s.Do(t, request{Path: usage, Key: stranger}); res.Status != 404 {
		t.Errorf("a stranger gets %d", res.Status)
	}
	if res := s.Do(t, request{Path: usage, Key: s.Key}); res.Status != 200 {
		t.Errorf("an administrator gets %d", res.Status)
	}
	if res := s.Do(t, request{Path: "/api/organizations/nobody/usage", Key: s.Key}); res.Status != 404 {
		t.Errorf("unknown: %d", res.Status)
	}
}

// TestAdministratorRoutes: who may change quotas and suspensions, and what of it
// is refused.
func TestAdministratorRoutes(t *testing.T) {
	s := controlplanetest.New(t)
	orgID, key := s.Tenant(t, "ann", auth.WriteSandboxes, auth.WriteRunners)
	var list []object
	s.Do(t, request{Path: "/api/organizations", Key: s.Key}).JSON(t, &list)
	lesser := s.KeyFor(t, auth.AdminID, list[0]["id"].(string), auth.WriteSandboxes) // as the administrator would make for a program
	base := "/api/organizations/" + orgID
	for _, c := range []struct {
		method, path string
		body         any
		status       int
	}{
		{"PATCH", base + "/quota", object{"totalCpuQuota": 2, "maxCpuPerSandbox": nil, "authenticatedRateLimit": 500}, 200},
		{"PATCH", "/api/organizations/nobody/quota", object{"totalCpuQuota": 2}, 404},
		{"PATCH", base + "/quota", object{"totalCpuQuota": -1}, 400},
		{"PATCH", base + "/quota", object{"totalCpuQuota": "many"}, 400},
		{"PATCH", base + "/quota", object{"sandboxCreateRateLimitTtlSeconds": 0}, 400},
		{"PATCH", base + "/quota/us", object{"totalDiskQuota": 6}, 204},
		{"PATCH", "/api/admin/organizations/" + orgID + "/quota/us", object{"totalDiskQuota": 6}, 204},
		{"PATCH", "/api/admin/organizations/" + orgID + "/quota/us/container", object{"totalDiskQuota": 6}, 204},
		{"PATCH", "/api/admin/organizations/" + orgID + "/quota/us/linux-vm", object{"totalDiskQuota": 6}, 400},
		{"PATCH", base + "/quota/us", object{"totalGpuQuota": 1}, 400},
		{"PATCH", base + "/quota/mars", object{"totalDiskQuota": 6}, 404},
		{"PATCH", "/api/organizations/nobody/quota/us", object{"totalDiskQuota": 6}, 404},
		{"POST", base + "/suspend", object{"reason": "unpaid", "until": "2020-01-01T00:00:00Z"}, 400},
		{"POST", base + "/suspend", object{"reason": "unpaid", "suspensionCleanupGracePeriodHours": -1}, 400},
		{"POST", base + "/suspend", object{"reason": "unpaid", "suspensionCleanupGracePeriodHours": 2}, 201},
		{"POST", "/api/organizations/nobody/suspend", object{}, 404},
		{"GET", "/api/admin/organizations", nil, 200},
	} {
		for who, k := range map[string]string{"a user": key, "a lesser key of the administrator": lesser} {
			if res := s.Do(t, request{Method: c.method, Path: c.path, Key: k, Body: c.body}); res.Status != 403 {
				t.Errorf("%s %s by %s: %d, want 403", c.method, c.path, who, res.Status)
			}
		}
		if res := s.Do(t, request{Method: c.method, Path: c.path, Key: s.Key, Body: c.body}); res.Status != c.status {
			t.Errorf("%s %s %v: %d %s, want %d", c.method, c.path, c.body, res.Status, res.Body, c.status)
		}
	}
	o := s.Do(t, request{Path: base, Key: key}).Object(t)
	for name, want := range map[string]any{
		"totalCpuQuota": 2.0, "totalMemoryQuota": 2000.0, "maxCpuPerSandbox": 4.0, "authenticatedRateLimit": 500.0, "sandboxCreateRateLimit": nil,
		"suspended": true, "suspensionReason": "unpaid", "suspendedUntil": nil, "suspensionCleanupGracePeriodHours": 2.0,
	} {
		if o[name] != want {
			t.Errorf("%s is %v, want %v", name, o[name], want)
		}
	}
	refused := s.Do(t, request{Method: "POST", Path: "/api/sandbox", Key: key, Body: object{}})
	if refused.Status != 403 || !strings.HasPrefix(refused.Object(t)["message"].(string), "Organization is suspended: unpaid") {
		t.Errorf("%d %s", refused.Status, refused.Body)
	}
	if res := s.Do(t, request{Path: "/api/sandbox", Key: key}); res.Status != 200 {
		t.Errorf("reading while suspended: %d", res.Status)
	}
	if res := s.Do(t, request{Method: "POST", Path: base + "/unsuspend", Key: key}); res.Status != 403 {
		t.Errorf("lifting one's own suspension: %d", res.Status)
	}
	if res := s.Do(t, request{Method: "POST", Path: base + "/unsuspend", Key: s.Key}); res.Status != 201 {
		t.Errorf("lifting: %d %s", res.Status, res.Body)
	}
	made := s.Do(t, request{Method: "POST", Path: "/api/sandbox", Key: key, Body: object{}})
	if made.Status != 200 {
		t.Fatalf("%d %s", made.Status, made.Body)
	}
	id := made.Object(t)["id"].(string)
	q := s.Do(t, request{Path: "/api/sandbox/" + id + "/region-quota", Key: key}).Object(t)
	if q["totalDiskQuota"] != 6.0 || q["totalCpuQuota"] != 2.0 || q["regionId"] != "us" || q["organizationId"] != orgID {
		t.Errorf("%v", q)
	}
	if res := s.Do(t, request{Path: "/api/sandbox/" + id + "/organization", Key: s.Key}); res.Status != 200 || res.Object(t)["id"] != orgID {
		t.Errorf("an administrator asks whose it is: %d %s", res.Status, res.Body)
	}
	if res := s.Do(t, request{Path: "/api/sandbox/" + id + "/organization", Key: lesser}); res.Status != 404 {
		t.Errorf("another organization asks whose it is: %d", res.Status)
	}
	if res := s.Do(t, request{Method: "POST", Path: "/api/sandbox", Key: key, Body: object{}}); res.Status != 200 {
		t.Errorf("the second: %d %s", res.Status, res.Body)
	}
	full := s.Do(t, request{Method: "POST", Path: "/api/sandbox", Key: key, Body: object{}})
	if full.Status != 400 || full.Object(t)["code"] != "QUOTA_EXCEEDED" || !strings.Contains(full.Object(t)["message"].(string), "Total CPU limit exceeded. Maximum allowed: 2, in use: 2, requested: 1") {
		t.Errorf("the third: %d %s", full.Status, full.Body)
	}
}

// TestLastPlace: of a hundred requests for the last place one gets it.
func TestLastPlace(t *testing.T) {
	s := controlplanetest.New(t)
	orgID, key := s.Tenant(t, "ann", auth.WriteSandboxes)
	if res := s.Do(t, request{Method: "PATCH", Path: "/api/organizations/" + orgID + "/quota", Key: s.Key, Body: object{"totalMemoryQuota": 1}}); res.Status != 200 {
		t.Fatalf("%d %s", res.Status, res.Body)
	}
	var mu sync.Mutex
	var all sync.WaitGroup
	statuses := map[int]int{}
	for range 100 {
		all.Go(func() {
			res := s.Do(t, request{Method: "POST", Path: "/api/sandbox", Key: key, Body: object{}})
			mu.Lock()
			defer mu.Unlock()
			statuses[res.Status]++
		})
	}
	all.Wait()
	if statuses[200] != 1 || statuses[400] != 99 {
		t.Errorf("answers by status: %v, want one 200 and 99 times 400", statuses)
	}
}

func TestRateLimits(t *testing.T) {
	minute := func(n int) ratelimit.Rate { return ratelimit.Rate{Limit: n, Per: time.Minute} }
	s := controlplanetest.NewWith(t, controlplanetest.Options{Rates: httpapi.RateLimits{
		Organization: minute(30), Key: minute(20), SandboxCreate: minute(2), SandboxLifecycle: minute(1), SandboxList: minute(3), FailedAuth: minute(5),
	}})
	orgID, key := s.Tenant(t, "ann", auth.WriteSandboxes, auth.DelSandboxes)
	list := func(k string) response { return s.Do(t, request{Path: "/api/sandbox", Key: k}) }
	res := list(key)
	for name, want := range map[string]string{
		"X-RateLimit-Limit-authenticated": "20", "X-RateLimit-Remaining-authenticated": "19", "X-RateLimit-Reset-authenticated": "3",
		"X-RateLimit-Limit-sandbox-list": "3", "X-RateLimit-Remaining-sandbox-list": "2", "Retry-After": "",
	} {
		if got := res.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	list(key)
	list(key)
	refused := list(key)
	if refused.Status != 429 || refused.Header.Get("Retry-After") != "20" || refused.Header.Get("Retry-After-sandbox-list") != "20" || refused.Header.Get("X-RateLimit-Remaining-sandbox-list") != "0" {
		t.Errorf("%d %v %s", refused.Status, refused.Header, refused.Body)
	}
	checkError(t, refused, "/api/sandbox")
	if text := refused.Object(t)["message"]; text != "Rate limit exceeded: 3 requests to list sandboxes in 1m0s are allowed for one organization. Try again in 20 s" {
		t.Errorf("%v", text)
	}
	// Another organization has limits of its own.
	_, other := s.Tenant(t, "bob", auth.WriteSandboxes)
	if res := list(other); res.Status != 200 {
		t.Errorf("somebody else: %d", res.Status)
	}
	// Lifecycle and creates count apart.
	id := ""
	for i, want := range []int{200, 200, 429} {
		res := s.Do(t, request{Method: "POST", Path: "/api/sandbox", Key: key, Body: object{}})
		if res.Status != want {
			t.Errorf("create %d: %d %s", i, res.Status, res.Body)
		}
		if res.Status == 200 {
			id = res.Object(t)["id"].(string)
		}
	}
	for i, want := range []int{200, 429} {
		if res := s.Do(t, request{Method: "DELETE", Path: "/api/sandbox/" + id, Key: key}); res.Status != want {
			t.Errorf("delete %d: %d %s", i, res.Status, res.Body)
		}
	}
	// An organization's own limits take the place of the server's at once.
	if res := s.Do(t, request{Method: "PATCH", Path: "/api/organizations/" + orgID + "/quota", Key: s.Key, Body: object{"sandboxLifecycleRateLimit": 0, "authenticatedRateLimit": 1000}}); res.Status != 200 {
		t.Fatalf("%d %s", res.Status, res.Body)
	}
	if res := s.Do(t, request{Method: "DELETE", Path: "/api/sandbox/" + id, Key: key}); res.Status != 200 || res.Header.Get("X-RateLimit-Limit-sandbox-lifecycle") != "" {
		t.Errorf("without a limit: %d %s", res.Status, res.Body)
	}
	// A key has a limit of its own, others of the organization go on.
	second := s.KeyFor(t, "ann", orgID, auth.WriteSandboxes)
	get := func(k string) response { return s.Do(t, request{Path: "/api/users/me", Key: k}) }
	last := response{}
	for range 20 {
		last = get(key)
	}
	if last.Status != 429 || last.Header.Get("X-RateLimit-Limit-authenticated") != "20" {
		t.Errorf("a key that calls all the time: %d %v", last.Status, last.Header)
	}
	if res := get(second); res.Status != 200 {
		t.Errorf("the other key: %d", res.Status)
	}
	// What clients are told beforehand.
	config := s.Do(t, request{Path: "/api/config"}).Object(t)
	if got := fmt.Sprint(config["rateLimit"]); got != "map[authenticated:map[limit:30 ttl:60] failedAuth:map[limit:5 ttl:60] sandboxCreate:map[limit:2 ttl:60] sandboxLifecycle:map[limit:1 ttl:60] sandboxList:map[limit:3 ttl:60]]" {
		t.Errorf("%v", got)
	}
}

func TestFailedAuthIsLimited(t *testing.T) {
	s := controlplanetest.NewWith(t, controlplanetest.Options{Rates: httpapi.RateLimits{FailedAuth: ratelimit.Rate{Limit: 3, Per: time.Hour}}})
	_, key := s.Tenant(t, "ann", auth.WriteSandboxes)
	if res := s.Do(t, request{Path: "/api/users/me", Key: key}); res.Status != 200 {
		t.Fatalf("%d", res.Status)
	}
	for i, want := range []int{401, 401, 401, 429, 429} {
		res := s.Do(t, request{Path: "/api/users/me", Key: fmt.Sprint("dtn_", i)})
		if res.Status != want {
			t.Errorf("guess %d: %d, want %d", i, res.Status, want)
		}
		if want == http.StatusTooManyRequests && res.Header.Get("Retry-After-failed-auth") == "" {
			t.Errorf("without Retry-After: %v", res.Header)
		}
	}
	if res := s.Do(t, request{Path: "/api/users/me", Key: key}); res.Status != 200 {
		t.Errorf("a key that works, from the same address: %d", res.Status)
	}
}
