package warmpool

import (
	"context"
	"errors"
	"time"

	"daytona/api/runnerapi"
	"daytona/controlplane/fleet"
	"daytona/controlplane/snapshot"
	"daytona/internal/fault"
)

// Run tells the runners again and again, until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	tick := time.NewTicker(s.Every)
	defer tick.Stop()
	for {
		if _, err := s.tell(ctx); err != nil && ctx.Err() == nil {
			s.Log.Warn("runners are not told of the warm pools", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// tell tells every runner which pools there shall be, and returns all pools as
// they are. A runner that does not answer has none ready.
func (s *Service) tell(ctx context.Context) ([]View, error) {
	s.telling.Lock()
	defer s.telling.Unlock()
	pools, err := s.Store.WarmPools(ctx, "")
	if err != nil {
		return nil, err
	}
	views := make([]View, len(pools))
	at := make(map[string]int, len(pools))
	weakest := make([]string, len(pools)) // isolation that the snapshot asks for
	image := make([]string, len(pools))   // "" for a pool that is empty for now
	for i, p := range pools {
		views[i], at[p.ID] = View{Pool: p, Snapshot: p.SnapshotID}, i
		sn, err := s.usable(ctx, p)
		if sn.ID != "" {
			views[i].Snapshot = sn.Name
		}
		if f, ok := errors.AsType[*fault.Error](err); ok && f.Kind != fault.Internal {
			views[i].Reason = f.Text
			continue
		} else if err != nil {
			return nil, err
		}
		image[i], weakest[i] = sn.Image, sn.Isolation
	}
	members := s.Runners.Members()
	inRegion, number := map[string]int{}, map[string]int{}
	for _, m := range members {
		inRegion[m.Region]++
	}
	for _, m := range members {
		var wanted []runnerapi.Pool
		for i, p := range pools {
			if p.Target != m.Region || image[i] == "" {
				continue
			}
			isolation, err := fleet.Isolate(m.Info.Isolations, "", weakest[i])
			if err != nil {
				views[i].Reason = "No runner of the region offers the isolation that the snapshot asks for"
				continue
			}
			wanted = append(wanted, runnerapi.Pool{ID: p.ID, Target: share(p.Size, number[m.Region], inRegion[m.Region]), Spec: runnerapi.Spec{
				OrgID: p.OrgID, Snapshot: image[i], Isolation: isolation,
				CPU: float64(p.CPU), MemoryMiB: int64(p.MemoryGiB) << 10, DiskMiB: int64(p.DiskGiB) << 10,
			}})
		}
		number[m.Region]++
		states, err := m.Runner.SetPools(ctx, wanted)
		if err != nil {
			s.Log.Debug("a runner does not hear of the warm pools", "runner", m.ID, "error", err)
			for _, w := range wanted {
				views[at[w.ID]].Reason = "A runner cannot be reached at the moment"
			}
			continue
		}
		for _, state := range states {
			if i, ok := at[state.ID]; ok {
				views[i].Ready += state.Ready
				if state.Reason != "" {
					views[i].Reason = state.Reason
				}
			}
		}
	}
	return views, nil
}

// usable returns the snapshot of a pool; the error says why nothing may wait.
func (s *Service) usable(ctx context.Context, p Pool) (snapshot.Snapshot, error) {
	o, err := s.Store.Organization(ctx, p.OrgID)
	if err != nil {
		return snapshot.Snapshot{}, err
	}
	sn, err := s.Store.FindSnapshot(ctx, p.OrgID, p.SnapshotID)
	if fault.Is(err, fault.NotFound) {
		return sn, fault.New(fault.NotFound, "The snapshot does not exist any more")
	}
	if err != nil {
		return sn, err
	}
	if err := o.CheckActive(s.Now()); err != nil {
		return sn, err
	}
	if sn.State != snapshot.Active {
		return sn, fault.New(fault.Unavailable, "The snapshot is %s", sn.State)
	}
	return sn, nil
}
