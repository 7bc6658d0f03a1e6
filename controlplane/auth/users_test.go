package auth_test

import (
	"sync"
	"testing"
	"time"

	"daytona/controlplane/auth"
	"daytona/internal/fault"
)

func TestUsersOfTheOperator(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		n    auth.NewUser
		kind fault.Kind // "" is none
	}{
		{auth.NewUser{Email: "ann@example.org"}, ""},
		{auth.NewUser{Email: " Bob@example.org ", Name: "Bob", Role: auth.RoleAdmin}, ""},
		{auth.NewUser{Email: "ANN@example.org"}, fault.Conflict},
		{auth.NewUser{Email: "bob@example.org"}, fault.Conflict},
		{auth.NewUser{}, fault.Invalid},
		{auth.NewUser{Email: "ann"}, fault.Invalid},
		{auth.NewUser{Email: "Ann <ann@example.com>"}, fault.Invalid},
		{auth.NewUser{Email: "c@example.org", Name: "a\nb"}, fault.Invalid},
		{auth.NewUser{Email: "c@example.org", Role: "king"}, fault.Invalid},
	} {
		u, value, err := w.s.CreateUser(w.ctx, c.n)
		if c.kind != "" {
			w.wantKind(err, c.kind)
			continue
		}
		if err != nil {
			t.Errorf("%+v: %v", c.n, err)
			continue
		}
		id, err := w.s.Authenticate(w.ctx, value)
		if err != nil || id.User.ID != u.ID || id.Admin() != (c.n.Role == auth.RoleAdmin) || id.OrgID == w.admin().OrgID || !id.Can(auth.WriteSandboxes) {
			t.Errorf("%+v: %+v, %v", c.n, id, err)
		}
	}
	ann, err := w.s.Find(w.ctx, "Ann@Example.org")
	if err != nil || ann.User.Name != "ann" || ann.Organization.CreatedBy != ann.User.ID {
		t.Errorf("%+v, %v", ann, err)
	}
	if again, err := w.s.Find(w.ctx, ann.User.ID); err != nil || again.User != ann.User {
		t.Errorf("%+v, %v", again, err)
	}
	_, err = w.s.Find(w.ctx, "nobody@example.org")
	w.wantKind(err, fault.NotFound)
}

func TestOneUserOfTwoAtOnce(t *testing.T) {
	w := newWorld(t)
	var group sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		group.Go(func() { _, _, errs[i] = w.service().CreateUser(w.ctx, auth.NewUser{Email: "ann@example.org"}) })
	}
	group.Wait()
	made := 0
	for _, err := range errs {
		if err == nil {
			made++
		} else {
			w.wantKind(err, fault.Conflict)
		}
	}
	if made != 1 {
		t.Errorf("%d were made", made)
	}
}

func TestKeysOfAUser(t *testing.T) {
	w := newWorld(t)
	if _, _, err := w.s.CreateUser(w.ctx, auth.NewUser{Email: "ann@example.org"}); err != nil {
		t.Fatal(err)
	}
	ann, err := w.s.Find(w.ctx, "ann@example.org")
	if err != nil {
		t.Fatal(err)
	}
	end := w.now.Add(time.Hour)
	_, value, err := w.s.CreateKeyOf(w.ctx, ann, "for an hour", &end)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.s.Authenticate(w.ctx, value); err != nil {
		t.Error(err)
	}
	keys, err := w.s.KeysOf(w.ctx, ann)
	if err != nil || len(keys) != 2 {
		t.Errorf("%+v, %v", keys, err)
	}
	if err := w.s.DeleteKeyOf(w.ctx, ann, "for an hour"); err != nil {
		t.Error(err)
	}
	_, err = w.s.Authenticate(w.ctx, value)
	w.wantKind(err, fault.Unauthenticated)
	w.wantKind(w.s.DeleteKeyOf(w.ctx, ann, "admin"), fault.NotFound) // the administrator's
	past := w.now.Add(-time.Second)
	_, _, err = w.s.CreateKeyOf(w.ctx, ann, "late", &past)
	w.wantKind(err, fault.Invalid)
}
