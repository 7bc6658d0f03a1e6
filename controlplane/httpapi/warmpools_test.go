package httpapi_test

import (
	"errors"
	"strings"
	"sync"
	"testing"

	"daytona/controlplane/auth"
	"daytona/controlplane/controlplanetest"
)

func TestWarmPoolRoutes(t *testing.T) {
	s := controlplanetest.New(t)
	org, key := s.Tenant(t, "ann", auth.WriteSandboxes)
	reader := s.KeyFor(t, "ann", org)
	_, stranger := s.Tenant(t, "bob", auth.WriteSandboxes)
	const base = "/api/warm-pools"
	want := map[string]any{"snapshot": controlplanetest.Snapshot, "pool": 3}
	created := s.Do(t, request{Method: "POST", Path: base, Key: key, Body: want})
	o := created.Object(t)
	id, _ := o["id"].(string)
	if created.Status != 201 || o["organizationId"] != org || o["snapshot"] != controlplanetest.Snapshot || o["target"] != "us" || o["pool"] != 3.0 ||
		o["currentSize"] != 3.0 || o["cpu"] != 1.0 || o["mem"] != 1.0 || o["disk"] != 3.0 || o["osUser"] != "daytona" || o["errorReason"] != nil {
		t.Fatalf("create: %d %s", created.Status, created.Body)
	}
	if env, ok := o["env"].(map[string]any); !ok || len(env) != 0 {
		t.Errorf("env %v", o["env"])
	}
	// The runner was told before the answer, and of whose they are.
	pools := s.Runner.Pools()
	if len(pools) != 1 || pools[0].ID != id || pools[0].Target != 3 || pools[0].Spec.OrgID != org || pools[0].Spec.CPU != 1 ||
		pools[0].Spec.MemoryMiB != 1024 || pools[0].Spec.DiskMiB != 3072 {
		t.Errorf("the runner was asked for %+v", pools)
	}
	path := base + "/" + id
	for _, c := range []struct {
		name, method, path, key string
		body                    any
		status                  int
		text                    string
	}{
		{"list", "GET", base, key, nil, 200, id},
		{"list with a key that may only read", "GET", base, reader, nil, 200, id},
		{"a stranger lists", "GET", base, stranger, nil, 200, "[]"},
		{"a stranger resizes", "PATCH", path, stranger, map[string]any{"pool": 1}, 404, id},
		{"a stranger deletes", "DELETE", path, stranger, nil, 404, id},
		{"an unknown one", "PATCH", base + "/nothing", key, map[string]any{"pool": 1}, 404, "not found"},
		{"a second of the snapshot", "POST", base, key, want, 409, "already"},
		{"with a key that may only read", "POST", base, reader, want, 403, ""},
		{"an unknown snapshot", "POST", base, key, map[string]any{"snapshot": "none", "pool": 1}, 404, "none"},
		{"an unknown region", "POST", base, key, map[string]any{"snapshot": controlplanetest.Snapshot, "pool": 1, "target": "moon"}, 400, "moon"},
		{"no snapshot", "POST", base, key, map[string]any{"pool": 1}, 400, "snapshot"},
		{"no size", "POST", base, key, map[string]any{"snapshot": controlplanetest.Snapshot}, 400, "pool"},
		{"half a sandbox", "PATCH", path, key, map[string]any{"pool": 1.5}, 400, "pool"},
		{"less than none", "PATCH", path, key, map[string]any{"pool": -1}, 400, "pool"},
		{"more than the quota", "PATCH", path, key, map[string]any{"pool": 1000}, 200, `"pool":1000`},
		{"far too many", "PATCH", path, key, map[string]any{"pool": 1001}, 400, "pool"},
		{"drain", "PATCH", path, key, map[string]any{"pool": 0}, 200, `"currentSize":0`},
	} {
		got := s.Do(t, request{Method: c.method, Path: c.path, Key: c.key, Body: c.body})
		if got.Status != c.status || !strings.Contains(string(got.Body), c.text) {
			t.Errorf("%s: %d %s, want %d %s", c.name, got.Status, got.Body, c.status, c.text)
		}
	}
	// A runner that is away is no error: what was asked for is stored.
	s.Runner.SetDown(errors.New("away"))
	if got := s.Do(t, request{Method: "PATCH", Path: path, Key: key, Body: map[string]any{"pool": 2}}); got.Status != 200 || !strings.Contains(string(got.Body), "cannot be reached") {
		t.Errorf("%d %s", got.Status, got.Body)
	}
	s.Runner.SetDown(nil)
	if got := s.Do(t, request{Path: base, Key: key}); !strings.Contains(string(got.Body), `"currentSize":2`) || !strings.Contains(string(got.Body), `"errorReason":null`) {
		t.Errorf("%s", got.Body)
	}
	if got := s.Do(t, request{Method: "DELETE", Path: path, Key: key}); got.Status != 204 || len(s.Runner.Pools()) != 0 {
		t.Errorf("delete: %d, the runner has %v", got.Status, s.Runner.Pools())
	}
	if got := s.Do(t, request{Method: "DELETE", Path: path, Key: key}); got.Status != 404 {
		t.Errorf("delete again: %d", got.Status)
	}
}

// Of many who ask for the same pool at once one gets it.
func TestWarmPoolsAtOnce(t *testing.T) {
	s := controlplanetest.New(t)
	var all sync.WaitGroup
	var mu sync.Mutex
	seen := map[int]int{}
	for range 20 {
		all.Go(func() {
			got := s.Do(t, request{Method: "POST", Path: "/api/warm-pools", Key: s.Key, Body: map[string]any{"snapshot": controlplanetest.Snapshot, "pool": 1}})
			mu.Lock()
			defer mu.Unlock()
			seen[got.Status]++
		})
	}
	all.Wait()
	if seen[201] != 1 || seen[409] != 19 {
		t.Errorf("%v", seen)
	}
}
