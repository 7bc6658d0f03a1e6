package sandbox_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"daytona/api/runnerapi"
	"daytona/controlplane/org"
	"daytona/controlplane/sandbox"
	"daytona/internal/fault"
)

// policy is what the runner was last told of a sandbox.
func (w *world) policy(id string) runnerapi.NetworkPolicy {
	w.t.Helper()
	spec, ok := w.runner.Spec(id)
	if !ok {
		w.t.Fatal("the runner does not know the sandbox")
	}
	return spec.Network
}

func TestSetNetwork(t *testing.T) {
	w := newWorld(t)
	sb := w.create(sandbox.CreateRequest{DomainAllowList: ptr("example.com")})
	if d := cmp.Diff(runnerapi.NetworkPolicy{Domains: []string{"example.com"}}, w.policy(sb.ID)); d != "" {
		t.Errorf("policy at create:\n%s", d)
	}
	got, err := w.m.SetNetwork(w.ctx, w.org, sb.ID, sandbox.NetworkChange{AllowList: ptr("10.0.0.0/8")})
	w.must(err)
	if *got.NetworkAllowList != "10.0.0.0/8" || *got.DomainAllowList != "example.com" || got.NetworkBlockAll || got.NetworkPending {
		t.Errorf("answer: %+v", got)
	}
	if d := cmp.Diff(runnerapi.NetworkPolicy{AllowList: []string{"10.0.0.0/8"}, Domains: []string{"example.com"}}, w.policy(sb.ID)); d != "" {
		t.Errorf("policy when it answers:\n%s", d)
	}

	// A stopped one starts with it: the runner knows before the start.
	_, err = w.m.Stop(w.ctx, w.org, sb.ID, false)
	w.must(err)
	_, err = w.m.SetNetwork(w.ctx, w.org, sb.ID, sandbox.NetworkChange{BlockAll: ptr(true)})
	w.must(err)
	var atStart runnerapi.NetworkPolicy
	w.runner.On("Start", func(context.Context, string) error { atStart = w.policy(sb.ID); return nil })
	got, err = w.m.Start(w.ctx, w.org, sb.ID)
	w.must(err)
	if !atStart.BlockAll || got.NetworkPending {
		t.Errorf("started with %+v, %+v", atStart, got)
	}

	_, err = w.m.SetNetwork(w.ctx, "another", sb.ID, sandbox.NetworkChange{BlockAll: ptr(false)})
	w.wantKind(err, fault.NotFound)
	_, err = w.m.SetNetwork(w.ctx, w.org, sb.ID, sandbox.NetworkChange{})
	w.wantKind(err, fault.Invalid)
	_, err = w.m.Delete(w.ctx, w.org, sb.ID)
	w.must(err)
	_, err = w.m.SetNetwork(w.ctx, w.org, sb.ID, sandbox.NetworkChange{BlockAll: ptr(false)})
	w.wantKind(err, fault.Invalid)
}

// TestSetNetworkThatFails must not say that a policy holds which does not, and
// must make it hold later.
func TestSetNetworkThatFails(t *testing.T) {
	w := newWorld(t)
	w.run(w.m)
	sb := w.create(sandbox.CreateRequest{})
	w.runner.On("SetNetwork", func(context.Context, string) error {
		return fault.New(fault.Unavailable, "the host cannot set the sandbox's network policy")
	})
	_, err := w.m.SetNetwork(w.ctx, w.org, sb.ID, sandbox.NetworkChange{BlockAll: ptr(true)})
	w.wantKind(err, fault.Unavailable)
	if got := w.get(sb.ID); !got.NetworkBlockAll || !got.NetworkPending {
		t.Errorf("stored: %+v", got)
	}
	w.runner.On("SetNetwork", nil)
	for deadline := time.Now().Add(20 * time.Second); w.get(sb.ID).NetworkPending; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it was never tried again")
		}
		w.pass(time.Second)
	}
	if !w.policy(sb.ID).BlockAll {
		t.Error("the runner was not told")
	}
}

// TestSetNetworkAtOnce changes different settings from many sides: none is lost,
// and the runner ends with what is stored.
func TestSetNetworkAtOnce(t *testing.T) {
	w := newWorld(t)
	sb := w.create(sandbox.CreateRequest{})
	other := w.manager(w.db) // another server
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			c, m := sandbox.NetworkChange{AllowList: ptr(fmt.Sprintf("10.%d.0.0/16", i))}, w.m
			if i%2 == 1 {
				c, m = sandbox.NetworkChange{Domains: ptr(fmt.Sprintf("n%d.example.com", i))}, other
			}
			if _, err := m.SetNetwork(w.ctx, w.org, sb.ID, c); err != nil && !fault.Is(err, fault.Unavailable) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	w.resync(w.m)
	got := w.get(sb.ID)
	if got.NetworkAllowList == nil || got.DomainAllowList == nil || got.NetworkPending {
		t.Fatalf("a change was lost: %+v", got)
	}
	want := runnerapi.NetworkPolicy{AllowList: []string{*got.NetworkAllowList}, Domains: []string{*got.DomainAllowList}}
	if d := cmp.Diff(want, w.policy(sb.ID)); d != "" {
		t.Errorf("the runner has another policy than is stored:\n%s", d)
	}
}

// TestCrashInSetNetwork kills the process at every call of the store.
func TestCrashInSetNetwork(t *testing.T) {
	acknowledged := false
	for calls := 0; !acknowledged; calls++ {
		if calls > 30 {
			t.Fatal("never acknowledged")
		}
		w := newWorld(t)
		sb := w.create(sandbox.CreateRequest{})
		dying := w.manager(&dyingStore{Store: w.db, calls: calls})
		_, err := dying.SetNetwork(w.ctx, w.org, sb.ID, sandbox.NetworkChange{BlockAll: ptr(true)})
		acknowledged = err == nil
		dying.Close()
		w.resync(w.manager(w.db))
		got := w.get(sb.ID)
		if got.NetworkPending || got.NetworkBlockAll != w.policy(sb.ID).BlockAll || acknowledged && !got.NetworkBlockAll {
			t.Errorf("dead at call %d (acknowledged %v): row %v, pending %v, runner %+v",
				calls, acknowledged, got.NetworkBlockAll, got.NetworkPending, w.policy(sb.ID))
		}
	}
}

func (d *dyingStore) SetSandboxNetwork(ctx context.Context, from sandbox.Sandbox, n sandbox.Network, pending bool, admit sandbox.Admit, now time.Time) (sandbox.Sandbox, error) {
	if d.dead() {
		return sandbox.Sandbox{}, errDead
	}
	return d.Store.SetSandboxNetwork(ctx, from, n, pending, admit, now)
}

// limitedStore is one whose organizations have their egress limited.
type limitedStore struct{ sandbox.Store }

func (s limitedStore) SetSandboxNetwork(ctx context.Context, from sandbox.Sandbox, n sandbox.Network, pending bool, admit sandbox.Admit, now time.Time) (sandbox.Sandbox, error) {
	if admit == nil {
		return sandbox.Sandbox{}, errors.New("nobody asked what the organization may")
	}
	return s.Store.SetSandboxNetwork(ctx, from, n, pending, func(o org.Organization, used org.Usage) error {
		o.LimitedNetworkEgress = true
		return admit(o, used)
	}, now)
}

func TestLimitedEgressCannotBeChanged(t *testing.T) {
	w := newWorld(t)
	sb := w.create(sandbox.CreateRequest{})
	_, err := w.manager(limitedStore{w.db}).SetNetwork(w.ctx, w.org, sb.ID, sandbox.NetworkChange{BlockAll: ptr(true)})
	w.wantKind(err, fault.Invalid)
	if got := w.get(sb.ID); got.NetworkBlockAll || got.NetworkPending {
		t.Error("it was stored")
	}
}
