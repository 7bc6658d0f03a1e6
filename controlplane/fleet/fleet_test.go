package fleet_test

import (
	"testing"

	"daytona/api/runnerapi"
	"daytona/controlplane/fleet"
	"daytona/controlplane/fleet/fleettest"
	"daytona/internal/fault"
)

func TestPlace(t *testing.T) {
	f := fleet.New()
	busy, idle, eu := fleettest.New("busy", "s"), fleettest.New("idle", "s"), fleettest.New("eu", "s")
	for _, id := range []string{"a", "b"} {
		if _, err := busy.Create(t.Context(), runnerapi.Spec{ID: id, Snapshot: "s"}); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range []struct {
		region string
		r      runnerapi.Runner
	}{{"us", busy}, {"us", idle}, {"eu", eu}} {
		if err := f.Add(t.Context(), m.region, m.r); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name string
		w    fleet.Want
		want string // "" is refused
	}{
		{"the least busy", fleet.Want{Region: "us"}, "idle"},
		{"the region's", fleet.Want{Region: "eu"}, "eu"},
		{"no such region", fleet.Want{Region: "mars"}, ""},
		{"isolation that it offers", fleet.Want{Region: "us", Isolation: "fake"}, "idle"},
		{"isolation that none offers", fleet.Want{Region: "us", Isolation: "gvisor"}, ""},
		{"a disk that none has", fleet.Want{Region: "us", DiskGiB: 2000}, ""},
	} {
		m, err := f.Place(t.Context(), c.w)
		if c.want == "" {
			if !fault.Is(err, fault.Invalid) {
				t.Errorf("%s: %v, want a refusal", c.name, err)
			}
			continue
		}
		if err != nil || m.ID != c.want {
			t.Errorf("%s: %s, %v, want %s", c.name, m.ID, err, c.want)
		}
	}
}

func TestMember(t *testing.T) {
	f := fleet.New()
	for range 2 { // the second replaces the first
		if err := f.Add(t.Context(), "us", fleettest.New("r1")); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(f.Members()); n != 1 {
		t.Errorf("%d members, want 1", n)
	}
	if _, err := f.Member("r1"); err != nil {
		t.Error(err)
	}
	if _, err := f.Member("r2"); !fault.Is(err, fault.Unavailable) {
		t.Errorf("unknown runner: %v", err)
	}
}
