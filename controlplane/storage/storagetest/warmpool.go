package storagetest

import (
	"testing"

	"daytona/controlplane/org"
	"daytona/controlplane/warmpool"
	"daytona/internal/fault"
)

func warmPools(_ *testing.T, w *world) {
	a, b := w.org("a", org.DefaultQuota()), w.org("b", org.DefaultQuota())
	pool := func(id string, o, snapshot, target string, minutes int) warmpool.Pool {
		return warmpool.Pool{ID: id, OrgID: o, SnapshotID: snapshot, Target: target, Size: 2, CPU: 1, MemoryGiB: 2, DiskGiB: 3, CreatedAt: at(minutes), UpdatedAt: at(minutes)}
	}
	yes := func(org.Quota, []warmpool.Pool) error { return nil }
	first, other, far := pool("first", a, "s1", "us", 0), pool("other", b, "s1", "us", 1), pool("far", a, "s1", "eu", 2)
	for _, p := range []warmpool.Pool{first, other, far} {
		w.must(w.CreateWarmPool(w.ctx, p, yes))
	}
	w.wantKind(w.CreateWarmPool(w.ctx, pool("again", a, "s1", "us", 3), yes), fault.Conflict)
	asked := 0
	refuse := func(q org.Quota, pools []warmpool.Pool) error {
		asked++
		w.same("quota", q, org.DefaultQuota())
		w.same("pools of the region", len(pools), 2)
		return fault.New(fault.Forbidden, "no")
	}
	w.wantKind(w.CreateWarmPool(w.ctx, pool("second", a, "s2", "us", 4), refuse), fault.Forbidden)
	w.same("asked", asked, 1)
	list, err := w.WarmPools(w.ctx, a)
	w.must(err)
	w.same("those of a", list, []warmpool.Pool{first, far})
	list, err = w.WarmPools(w.ctx, "")
	w.must(err)
	w.same("all", list, []warmpool.Pool{first, other, far})

	_, err = w.ResizeWarmPool(w.ctx, b, first.ID, 5, at(9), yes)
	w.wantKind(err, fault.NotFound)
	resized, err := w.ResizeWarmPool(w.ctx, a, first.ID, 5, at(9), func(_ org.Quota, pools []warmpool.Pool) error {
		w.same("as it will be", len(pools) == 1 && pools[0].Size == 5, true)
		return nil
	})
	w.must(err)
	first.Size, first.UpdatedAt = 5, at(9)
	w.same("resized", resized, first)
	w.wantKind(w.DeleteWarmPool(w.ctx, b, first.ID), fault.NotFound)
	w.must(w.DeleteWarmPool(w.ctx, a, first.ID))
	w.wantKind(w.DeleteWarmPool(w.ctx, a, first.ID), fault.NotFound)
	list, err = w.WarmPools(w.ctx, a)
	w.must(err)
	w.same("what is left of a", list, []warmpool.Pool{far})
}
