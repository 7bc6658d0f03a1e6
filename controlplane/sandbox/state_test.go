package sandbox

import (
	"slices"
	"testing"
)

// TestTransitions writes the whole matrix down once more, from the reader's
// side: for each state, where a sandbox in it can go.
func TestTransitions(t *testing.T) {
	want := map[State][]State{
		Creating:         {PullingSnapshot, PendingBuild, Started, Stopped, Error, Destroying},
		PullingSnapshot:  {Creating, PendingBuild, BuildingSnapshot, Started, BuildFailed, Error, Destroying},
		PendingBuild:     {BuildingSnapshot, PullingSnapshot, Creating, Started, BuildFailed, Error, Destroying},
		BuildingSnapshot: {PendingBuild, PullingSnapshot, Creating, Started, BuildFailed, Error, Destroying},
		BuildFailed:      {Destroying},
		Starting:         {Started, Stopped, Error, Destroying},
		Started:          {Stopping, Stopped, Error, Destroying},
		Stopping:         {Stopped, Error, Destroying},
		Stopped:          {Starting, Started, Archiving, Error, Destroying},
		Archiving:        {Archived, Starting, Error, Destroying},
		Archived:         {Archived, Restoring, Destroying},
		Restoring:        {Restoring, Starting, Stopped, Error, Destroying},
		Forking:          {Starting, Error, Destroying},
		Error:            {Starting, Started, Stopped, Archiving, Restoring, Destroying},
		Destroying:       {Destroyed},
	}
	for _, from := range States() {
		for _, to := range States() {
			if got := from.CanBecome(to); got != slices.Contains(want[from], to) {
				t.Errorf("%s can become %s: %v", from, to, got)
			}
		}
	}
}

func TestDeleteWorksFromEveryState(t *testing.T) {
	for from := range transitions {
		if from != Destroying && from != Destroyed && !from.CanBecome(Destroying) {
			t.Errorf("%s is a trap: it cannot be deleted", from)
		}
	}
}

func TestShown(t *testing.T) {
	special := map[[2]State]State{
		{Started, Stopped}: Stopping, {Started, Destroyed}: Destroying, {Stopped, Started}: Starting,
		{Stopped, Destroyed}: Destroying, {Stopped, Archived}: Archiving, {Unknown, Started}: Creating,
	}
	for _, state := range States() {
		for _, desired := range []State{Started, Stopped, Archived, Destroyed} {
			want, ok := special[[2]State{state, desired}]
			if !ok {
				want = state
			}
			if got := (Sandbox{State: state, Desired: desired}).Shown(); got != want {
				t.Errorf("%s, to be %s, is shown as %s, want %s", state, desired, got, want)
			}
		}
	}
}

func TestQuotaStates(t *testing.T) {
	compute := []State{Creating, Restoring, Forking, Started, Starting, Stopping, PendingBuild, BuildingSnapshot, Unknown, PullingSnapshot}
	for _, s := range States() {
		if got, want := s.TakesCompute(), slices.Contains(compute, s); got != want {
			t.Errorf("%s takes CPU and memory: %v, want %v", s, got, want)
		}
		if got, want := s.TakesDisk(), slices.Contains(compute, s) || s == Stopped || s == Archiving; got != want {
			t.Errorf("%s takes disk: %v, want %v", s, got, want)
		}
	}
}
