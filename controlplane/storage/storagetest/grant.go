package storagetest

import (
	"sync"
	"testing"

	"daytona/controlplane/grant"
	"daytona/controlplane/org"
	"daytona/controlplane/sandbox"
	"daytona/internal/fault"
)

func grants(t *testing.T, w *world) {
	o := w.org("u", org.DefaultQuota())
	a, b := w.put(row(o, "a")), w.put(row(o, "b"))
	token := func(name string, kind grant.Kind, sb sandbox.Sandbox, minutes int) grant.Token {
		return grant.Token{ID: name, Hash: "hash of " + name, Kind: kind, SandboxID: sb.ID, Port: 3000, CreatedAt: at(minutes), ExpiresAt: at(minutes + 60)}
	}
	first, second := token("first", grant.SSH, a, 0), token("second", grant.SSH, a, 1)
	link, other := token("link", grant.Link, a, 2), token("other", grant.SSH, b, 3)
	for _, x := range []grant.Token{first, link, other} {
		w.must(w.PutToken(w.ctx, x, false))
	}
	got, err := w.Token(w.ctx, first.Hash)
	w.must(err)
	w.same("token", got, first)
	_, err = w.Token(w.ctx, "no such hash")
	w.wantKind(err, fault.NotFound)

	w.must(w.PutToken(w.ctx, second, true)) // takes first's place, and nobody else's
	list, err := w.Tokens(w.ctx, a.ID, grant.SSH)
	w.must(err)
	first.ExpiresAt = second.CreatedAt
	w.same("logins of a", list, []grant.Token{second, first})
	for _, hash := range []string{link.Hash, other.Hash} {
		_, err = w.Token(w.ctx, hash)
		w.must(err)
	}
	n, err := w.RevokeTokens(w.ctx, a.ID, grant.SSH, other.Hash)
	w.must(err)
	w.same("another sandbox's token", n, 0)
	n, err = w.RevokeTokens(w.ctx, a.ID, grant.SSH, second.Hash)
	w.must(err)
	w.same("one of a", n, 1)
	n, err = w.RevokeTokens(w.ctx, a.ID, grant.SSH, "")
	w.must(err)
	w.same("the others of a", n, 1)
	first.Revoked, second.Revoked = true, true
	list, err = w.Tokens(w.ctx, a.ID, grant.SSH)
	w.must(err)
	w.same("revoked", list, []grant.Token{second, first})
	n, err = w.PurgeTokens(w.ctx, grant.Link, at(62))
	w.must(err)
	w.same("purged at the very end", n, 0)
	n, err = w.PurgeTokens(w.ctx, grant.Link, at(63))
	w.must(err)
	w.same("purged", n, 1)
	n, err = w.PurgeTokens(w.ctx, grant.SSH, at(62))
	w.must(err)
	w.same("logins purged", n, 2)
	list, err = w.Tokens(w.ctx, b.ID, grant.SSH)
	w.must(err)
	w.same("logins of b", list, []grant.Token{other})
	w.wantKind(w.PutToken(w.ctx, token("lost", grant.Link, row(o, "unknown"), 0), false), fault.Internal)
}

func serverKeys(_ *testing.T, w *world) {
	values := make([]string, 8)
	var all sync.WaitGroup
	for i := range values {
		all.Go(func() {
			var err error
			if values[i], err = w.ServerKey(w.ctx, "key", string(rune('a'+i))); err != nil {
				w.t.Error(err)
			}
		})
	}
	all.Wait()
	for _, v := range values {
		w.same("key", v, values[0])
	}
	again, err := w.open().ServerKey(w.ctx, "key", "other")
	w.must(err)
	w.same("key of a second server", again, values[0])
}
