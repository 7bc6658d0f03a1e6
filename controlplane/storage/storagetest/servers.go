package storagetest

import (
	"sync"
	"testing"

	"daytona/controlplane/auth"
	"daytona/controlplane/org"
)

// racingStarts: whoever migrates, every server ends up with the same tables, and
// one of them plants.
func racingStarts(t *testing.T, open Open) {
	const servers = 4
	var wg sync.WaitGroup
	planted := make([]bool, servers)
	for i := range servers {
		wg.Go(func() {
			s, err := open()
			if err != nil {
				t.Errorf("server %d: %v", i, err)
				return
			}
			defer func() {
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			}()
			o := org.Organization{ID: string(rune('a' + i)), CreatedBy: "admin", Personal: true, CreatedAt: epoch, UpdatedAt: epoch}
			planted[i], err = s.Plant(t.Context(), auth.Seed{
				User: auth.User{ID: "admin", CreatedAt: epoch}, Organization: o,
				Owner: org.Membership{OrgID: o.ID, UserID: "admin", Role: org.Owner, CreatedAt: epoch, UpdatedAt: epoch},
				Key:   auth.Key{OrgID: o.ID, UserID: "admin", Name: "admin", Hash: o.ID, CreatedAt: epoch},
			})
			if err != nil {
				t.Errorf("server %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	n := 0
	for _, p := range planted {
		if p {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d servers planted, want 1", n)
	}
}

func secondServer(t *testing.T, w *world) {
	o := w.org("u", org.DefaultQuota())
	sb := w.put(row(o, "one"))
	other := w.open()
	got, err := other.Sandbox(w.ctx, sb.ID)
	w.must(err)
	w.same("sandbox", got, sb)
	w.must(w.Close())
	moved, err := other.MoveSandbox(w.ctx, got, "started", sandboxChange(), at(1))
	w.must(err)
	third := w.open()
	got, err = third.Sandbox(w.ctx, sb.ID)
	w.must(err)
	w.same("moved sandbox", got, moved)
	w.must(third.Ping(w.ctx))
}
