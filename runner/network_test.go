package runner_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"daytona/api/runnerapi"
	"daytona/internal/fault"
)

func TestSetNetwork(t *testing.T) {
	w := newWorld(t, nil)
	s := spec()
	w.create(s)
	set := func(p runnerapi.NetworkPolicy) {
		t.Helper()
		if err := w.SetNetwork(t.Context(), s.ID, p); err != nil {
			t.Fatal(err)
		}
	}
	holds := func(want runnerapi.NetworkPolicy) {
		t.Helper()
		got, err := w.net.Policy(s.ID)
		if d := cmp.Diff(want, got); err != nil || d != "" {
			t.Errorf("%v\n%s", err, d)
		}
	}
	names := runnerapi.NetworkPolicy{Domains: []string{"example.com", "*.example.org"}}
	set(names)
	holds(names)

	// A stopped sandbox has no network, and starts with the policy that was set last.
	if _, err := w.Stop(t.Context(), s.ID, true); err != nil {
		t.Fatal(err)
	}
	block := runnerapi.NetworkPolicy{BlockAll: true}
	set(block)
	if _, err := w.net.Policy(s.ID); !fault.Is(err, fault.NotFound) {
		t.Errorf("a stopped sandbox has a network: %v", err)
	}
	if _, err := w.Start(t.Context(), s.ID); err != nil {
		t.Fatal(err)
	}
	holds(block)

	for name, p := range map[string]runnerapi.NetworkPolicy{
		"IPv6": {AllowList: []string{"::/0"}}, "a host": {AllowList: []string{"1.2.3.4"}}, "an address as name": {Domains: []string{"1.2.3.4"}},
	} {
		if err := w.SetNetwork(t.Context(), s.ID, p); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := w.SetNetwork(t.Context(), "nobody", block); !fault.Is(err, fault.NotFound) {
		t.Errorf("an unknown sandbox: %v", err)
	}
	holds(block)
}

// TestSetNetworkAtOnce checks that calls at once are not taken for one: each
// returns only when its own policy, or a later one, was set.
func TestSetNetworkAtOnce(t *testing.T) {
	w := newWorld(t, nil)
	s := spec()
	w.create(s)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			p := runnerapi.NetworkPolicy{AllowList: []string{fmt.Sprintf("10.%d.0.0/16", i)}}
			if err := w.SetNetwork(t.Context(), s.ID, p); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	last := runnerapi.NetworkPolicy{AllowList: []string{"192.0.2.0/24"}}
	if err := w.SetNetwork(t.Context(), s.ID, last); err != nil {
		t.Fatal(err)
	}
	if got, err := w.net.Policy(s.ID); err != nil || !cmp.Equal(got, last) {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestSetNetworkKilled ends the runner between the record of a policy and the
// rules: the next one sets them.
func TestSetNetworkKilled(t *testing.T) {
	w := newWorld(t, nil)
	s := spec()
	w.create(s)
	w.net.Fail("SetPolicy", errors.New("killed here"))
	block := runnerapi.NetworkPolicy{BlockAll: true}
	if err := w.SetNetwork(t.Context(), s.ID, block); err == nil {
		t.Fatal("it says that a policy holds which does not")
	}
	w.close()
	next := reopen(t, w.dir, nil)
	if got, err := next.net.Policy(s.ID); err != nil || !cmp.Equal(got, block) {
		t.Errorf("after the restart: %+v, %v", got, err)
	}
	if _, out := next.run(s.ID, "echo fine"); out != "fine" {
		t.Errorf("the sandbox: %q", out)
	}
}
