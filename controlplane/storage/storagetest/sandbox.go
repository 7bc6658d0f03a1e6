package storagetest

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"daytona/controlplane/org"
	"daytona/controlplane/sandbox"
	"daytona/internal/chunkstore"
	"daytona/internal/fault"
)

func sandboxChange() sandbox.Change { return sandbox.Change{} }

func roundTrip(t *testing.T, w *world) {
	o := w.org("u", org.DefaultQuota())
	sb := row(o, "everything")
	sb.BuildInfo = &sandbox.BuildInfo{DockerfileContent: "FROM x\n", ContextHashes: []string{"h"}, SnapshotRef: "r", CreatedAt: epoch, UpdatedAt: epoch}
	sb.Isolation, sb.Public, sb.NetworkBlockAll, sb.NetworkAllowList = "gvisor", true, true, ptr("10.0.0.0/8,1.2.3.4/32")
	sb.DomainAllowList, sb.NetworkPending = ptr("example.com,*.example.org"), true
	sb.Env = map[string]string{"A": "1", "QUOTE": `"'\ $?` + "\n\t€😀"}
	sb.Labels = map[string]string{"code-toolbox-language": "python", `odd "key"`: ""}
	sb.GPU, sb.ErrorReason, sb.Recoverable = 2, ptr("because"), true
	sb.EndCause, sb.EndEvidence, sb.EndedAt = "exit", "code 3", ptr(at(4))
	sb.ForkOf, sb.Snapshotting = "another", "some snapshot"
	sb.Resize = &sandbox.Resize{From: org.Resources{CPU: 1}, To: org.Resources{CPU: 2, DiskGiB: 5}, Since: at(6)}
	sb.Backup = &sandbox.Backup{State: sandbox.BackupCompleted, At: at(5), Base: "b", Ref: chunkstore.Ref{Manifest: "m", Size: 7, Digest: "d", Sent: 3}}
	sb.DaemonVersion, sb.Version = ptr("1.2"), 7
	w.put(sb)
	got, err := w.Sandbox(w.ctx, sb.ID)
	w.must(err)
	w.same("full row", got, sb)

	bare := w.put(row(o, "bare"))
	got, err = w.Sandbox(w.ctx, bare.ID)
	w.must(err)
	w.same("bare row", got, bare)

	on, err := w.SandboxesOn(w.ctx, "r1")
	w.must(err)
	if len(on) != 2 {
		t.Errorf("%d rows on the runner, want 2", len(on))
	}
}

func findSandbox(t *testing.T, w *world) {
	o1, o2 := w.org("u1", org.DefaultQuota()), w.org("u2", org.DefaultQuota())
	a := w.put(row(o1, "a"))
	namesake := w.put(row(o2, "a"))
	spoof := row(o1, a.ID) // a name that is another sandbox's id
	w.put(spoof)
	for _, c := range []struct {
		org, by, want string
	}{{o1, "a", a.ID}, {o1, a.ID, a.ID}, {o2, "a", namesake.ID}, {o1, namesake.ID, ""}, {o2, a.ID, ""}, {o1, "b", ""}, {o1, "", ""}} {
		got, err := w.FindSandbox(w.ctx, c.org, c.by)
		if c.want == "" {
			w.wantKind(err, fault.NotFound)
			continue
		}
		w.must(err)
		if got.ID != c.want {
			t.Errorf("find %q found %s, want %s", c.by, got.ID, c.want)
		}
	}
	_, err := w.Sandbox(w.ctx, "nothing")
	w.wantKind(err, fault.NotFound)
}

// race runs n creates at once, half of them as another server, and returns the
// ids of those that created and the errors of the others.
func (w *world) race(n int, sb func(i int) sandbox.Sandbox, key func(i int) *sandbox.Idempotency, admit sandbox.Admit) (made []string, got []sandbox.Sandbox, errs []error) {
	servers := []Store{w.Store, w.open()}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			var k *sandbox.Idempotency
			s := sb(i)
			if key != nil {
				k = key(i)
				k.SandboxID = s.ID
			}
			out, created, err := servers[i%2].CreateSandbox(w.ctx, s, k, admit)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err != nil:
				errs = append(errs, err)
			case created:
				made = append(made, out.ID)
				fallthrough
			default:
				got = append(got, out)
			}
		})
	}
	wg.Wait()
	return made, got, errs
}

const racers = 12

// crowd is how many race for the last place in a quota.
const crowd = 100

func racingNames(t *testing.T, w *world) {
	o := w.org("u", org.DefaultQuota())
	made, _, errs := w.race(racers, func(int) sandbox.Sandbox { return row(o, "taken") }, nil, nil)
	if len(made) != 1 {
		t.Errorf("%d created, want 1", len(made))
	}
	for _, err := range errs {
		w.wantKind(err, fault.Conflict)
	}
}

func admitOne(o org.Organization, used org.Usage) error {
	return o.Quota.Admit(used, org.Resources{CPU: 1, MemoryGiB: 1, DiskGiB: 3})
}

func racingQuota(t *testing.T, w *world) {
	q := org.DefaultQuota()
	q.TotalDiskGiB = 3 * 5
	o := w.org("u", q)
	for i := range 4 {
		w.put(row(o, fmt.Sprint("before ", i)))
	}
	made, _, errs := w.race(crowd, func(i int) sandbox.Sandbox { return row(o, fmt.Sprint(i)) }, nil, admitOne)
	if len(made) != 1 || len(errs) != crowd-1 {
		t.Errorf("%d created and %d refused, want 1 and %d", len(made), len(errs), crowd-1)
	}
	for _, err := range errs {
		w.wantKind(err, fault.Invalid)
	}
	u, err := w.OrganizationUsage(w.ctx, o)
	w.must(err)
	w.same("usage", u, map[string]org.Usage{"": {}, "us": {CPU: 5, MemoryGiB: 5, DiskGiB: 15}})
}

func idempotency(t *testing.T, w *world) {
	o1, o2 := w.org("u1", org.DefaultQuota()), w.org("u2", org.DefaultQuota())
	first := row(o1, "first")
	key := &sandbox.Idempotency{Key: "k", BodyHash: "h", SandboxID: first.ID}
	_, created, err := w.CreateSandbox(w.ctx, first, key, nil)
	w.must(err)
	if !created {
		t.Error("the first was not created")
	}
	got, err := w.IdempotencyKey(w.ctx, o1, "k")
	w.must(err)
	w.same("key", got, *key)

	second := row(o1, "second")
	out, created, err := w.CreateSandbox(w.ctx, second, &sandbox.Idempotency{Key: "k", BodyHash: "h", SandboxID: second.ID}, nil)
	w.must(err)
	if created || out.ID != first.ID {
		t.Errorf("the repeat made %s (created %v), want %s", out.ID, created, first.ID)
	}
	_, _, err = w.CreateSandbox(w.ctx, second, &sandbox.Idempotency{Key: "k", BodyHash: "other", SandboxID: second.ID}, nil)
	w.wantKind(err, fault.Conflict)
	other := row(o2, "first")
	_, created, err = w.CreateSandbox(w.ctx, other, &sandbox.Idempotency{Key: "k", BodyHash: "h", SandboxID: other.ID}, nil)
	w.must(err)
	if !created {
		t.Error("a key of one organization answered another")
	}
	// A refused create must not use the key up.
	refuse := func(org.Organization, org.Usage) error { return fault.New(fault.Invalid, "no") }
	third := row(o1, "third")
	_, _, err = w.CreateSandbox(w.ctx, third, &sandbox.Idempotency{Key: "k3", BodyHash: "h", SandboxID: third.ID}, refuse)
	w.wantKind(err, fault.Invalid)
	_, err = w.IdempotencyKey(w.ctx, o1, "k3")
	w.wantKind(err, fault.NotFound)
}

func racingKeys(t *testing.T, w *world) {
	o := w.org("u", org.DefaultQuota())
	made, got, errs := w.race(racers, func(i int) sandbox.Sandbox { return row(o, fmt.Sprint(i)) },
		func(int) *sandbox.Idempotency { return &sandbox.Idempotency{Key: "k", BodyHash: "h"} }, nil)
	if len(made) != 1 || len(errs) != 0 {
		t.Fatalf("%d created, errors %v; want 1 and none", len(made), errs)
	}
	for _, sb := range got {
		if sb.ID != made[0] {
			t.Errorf("answered with %s, want %s", sb.ID, made[0])
		}
	}
}

func usageByState(t *testing.T, w *world) {
	for _, state := range sandbox.States() {
		o := w.org("u-"+string(state), org.DefaultQuota())
		sb := row(o, "x")
		sb.State, sb.CPU, sb.MemoryGiB, sb.DiskGiB = state, 2, 4, 8
		w.put(sb)
		want := org.Usage{}
		if state.TakesCompute() {
			want.CPU, want.MemoryGiB = 2, 4
		}
		if state.TakesDisk() {
			want.DiskGiB = 8
		}
		got, err := w.OrganizationUsage(w.ctx, o)
		w.must(err)
		w.same("usage in state "+string(state), got["us"], want)
	}
}

func staleMoves(t *testing.T, w *world) {
	o := w.org("u", org.DefaultQuota())
	sb := w.put(row(o, "x"))
	moved, err := w.MoveSandbox(w.ctx, sb, sandbox.Started, sandbox.Change{}, at(1))
	w.must(err)
	if moved.State != sandbox.Started || moved.Version != sb.Version+1 || !moved.StateSince.Equal(at(1)) {
		t.Errorf("moved to %s, version %d, since %v", moved.State, moved.Version, moved.StateSince)
	}
	_, err = w.MoveSandbox(w.ctx, sb, sandbox.Error, sandbox.Change{}, at(2))
	w.wantKind(err, fault.Conflict)
	wrong := moved
	wrong.State = sandbox.Stopped
	_, err = w.MoveSandbox(w.ctx, wrong, sandbox.Error, sandbox.Change{}, at(2))
	w.wantKind(err, fault.Conflict)
	_, err = w.SetSandbox(w.ctx, sb.ID, sandbox.Settings{Public: ptr(true)}, at(2))
	w.must(err)
	_, err = w.MoveSandbox(w.ctx, moved, sandbox.Stopping, sandbox.Change{}, at(2))
	w.wantKind(err, fault.Conflict)
	wrong.ID = "nothing"
	_, err = w.MoveSandbox(w.ctx, wrong, sandbox.Error, sandbox.Change{}, at(2))
	w.wantKind(err, fault.NotFound)
	got, err := w.Sandbox(w.ctx, sb.ID)
	w.must(err)
	if got.State != sandbox.Started {
		t.Errorf("state %s after refused moves, want started", got.State)
	}
}

func racingMoves(t *testing.T, w *world) {
	o := w.org("u", org.DefaultQuota())
	sb := w.put(row(o, "x"))
	servers := []Store{w.Store, w.open()}
	var wg sync.WaitGroup
	var mu sync.Mutex
	won := 0
	for i := range racers {
		wg.Go(func() {
			_, err := servers[i%2].MoveSandbox(w.ctx, sb, sandbox.Destroying, sandbox.Change{Desired: ptr(sandbox.Destroyed)}, at(1))
			if err != nil {
				w.wantKind(err, fault.Conflict)
				return
			}
			mu.Lock()
			won++
			mu.Unlock()
		})
	}
	wg.Wait()
	if won != 1 {
		t.Errorf("%d moves won, want 1", won)
	}
}

func admittedMoves(t *testing.T, w *world) {
	q := org.DefaultQuota()
	q.TotalCPU = 1
	o := w.org("u", q)
	var rows []sandbox.Sandbox
	for i := range crowd {
		sb := row(o, fmt.Sprint(i))
		sb.State, sb.Desired = sandbox.Stopped, sandbox.Stopped
		rows = append(rows, w.put(sb))
	}
	servers := []Store{w.Store, w.open()}
	var wg sync.WaitGroup
	var mu sync.Mutex
	won := 0
	for i, sb := range rows {
		wg.Go(func() {
			_, err := servers[i%2].MoveSandbox(w.ctx, sb, sandbox.Starting, sandbox.Change{Desired: ptr(sandbox.Started), Admit: admitOne}, at(1))
			if err != nil {
				w.wantKind(err, fault.Invalid)
				return
			}
			mu.Lock()
			won++
			mu.Unlock()
		})
	}
	wg.Wait()
	if won != 1 {
		t.Errorf("%d started, want 1", won)
	}
}

func moveChanges(t *testing.T, w *world) {
	o := w.org("u", org.DefaultQuota())
	sb := w.put(row(o, "x"))
	want := sb
	want.State, want.StateSince, want.UpdatedAt, want.Version = sandbox.Error, at(1), at(1), 2
	want.Desired, want.Isolation, want.DaemonVersion, want.PreviewToken = sandbox.Stopped, "runc", ptr("9"), "new"
	want.ErrorReason, want.Recoverable = ptr("why"), true
	want.EndCause, want.EndEvidence, want.EndedAt = "out_of_memory", "limit 1 GiB", ptr(at(1))
	want.RunnerID, want.Backup = "", &sandbox.Backup{State: sandbox.BackupPending}
	want.Name, want.LastActivityAt = "renamed", at(1)
	got, err := w.MoveSandbox(w.ctx, sb, sandbox.Error, sandbox.Change{
		Desired: ptr(sandbox.Stopped), Isolation: ptr("runc"), DaemonVersion: ptr("9"), PreviewToken: ptr("new"),
		RunnerID: ptr(""), Backup: want.Backup,
		ErrorReason: ptr("why"), Recoverable: ptr(true), End: &sandbox.End{Cause: "out_of_memory", Evidence: "limit 1 GiB", At: at(1)},
		Name: ptr("renamed"), Active: ptr(at(1)),
	}, at(1))
	w.must(err)
	w.same("row with every change", got, want)
	want.State, want.StateSince, want.UpdatedAt, want.Version = sandbox.Started, at(2), at(2), 3
	want.ErrorReason, want.EndCause, want.EndEvidence, want.EndedAt = nil, "", "", nil
	got, err = w.MoveSandbox(w.ctx, got, sandbox.Started, sandbox.Change{ErrorReason: ptr(""), End: &sandbox.End{}}, at(2))
	w.must(err)
	w.same("row with cleared fields", got, want)
}

func idleMoves(t *testing.T, w *world) {
	o := w.org("u", org.DefaultQuota())
	sb := w.put(row(o, "x"))
	w.must(w.TouchSandboxes(w.ctx, map[string]time.Time{sb.ID: at(5)}))
	_, err := w.MoveSandbox(w.ctx, sb, sandbox.Stopping, sandbox.Change{IdleSince: ptr(at(4))}, at(20))
	w.wantKind(err, fault.Conflict)
	_, err = w.MoveSandbox(w.ctx, sb, sandbox.Stopping, sandbox.Change{IdleSince: ptr(at(5))}, at(20))
	w.must(err)
}

func settings(t *testing.T, w *world) {
	o := w.org("u", org.DefaultQuota())
	sb := w.put(row(o, "x"))
	want := sb
	want.Labels, want.Public, want.AutoStop, want.AutoArchive, want.AutoDelete = map[string]string{"a": "b"}, true, 1, 2, 0
	want.Version, want.UpdatedAt = 2, at(1)
	got, err := w.SetSandbox(w.ctx, sb.ID, sandbox.Settings{
		Labels: map[string]string{"a": "b"}, Public: ptr(true), AutoStop: ptr(1), AutoArchive: ptr(2), AutoDelete: ptr(0),
	}, at(1))
	w.must(err)
	w.same("settings", got, want)
	got, err = w.SetSandbox(w.ctx, sb.ID, sandbox.Settings{Labels: map[string]string{}}, at(2))
	w.must(err)
	if len(got.Labels) != 0 || !got.Public {
		t.Errorf("labels %v, public %v", got.Labels, got.Public)
	}
	_, err = w.MoveSandbox(w.ctx, got, sandbox.Destroying, sandbox.Change{}, at(3))
	w.must(err)
	_, err = w.SetSandbox(w.ctx, sb.ID, sandbox.Settings{Public: ptr(false)}, at(4))
	w.wantKind(err, fault.Conflict)
	_, err = w.SetSandbox(w.ctx, "nothing", sandbox.Settings{Public: ptr(false)}, at(4))
	w.wantKind(err, fault.NotFound)
}

func network(t *testing.T, w *world) {
	o := w.org("u", org.DefaultQuota())
	sb := w.put(row(o, "a"))
	n := sandbox.Network{BlockAll: true, AllowList: ptr("10.0.0.0/8"), Domains: ptr("example.com")}
	got, err := w.SetSandboxNetwork(w.ctx, sb, n, true, nil, at(5))
	w.must(err)
	want := sb
	want.NetworkBlockAll, want.NetworkAllowList, want.DomainAllowList, want.NetworkPending = true, n.AllowList, n.Domains, true
	want.UpdatedAt, want.Version = at(5), sb.Version+1
	w.same("changed row", got, want)
	_, err = w.SetSandboxNetwork(w.ctx, sb, sandbox.Network{}, false, nil, at(6)) // as it was read before
	w.wantKind(err, fault.Conflict)
	_, err = w.SetSandboxNetwork(w.ctx, got, sandbox.Network{}, false, func(o org.Organization, _ org.Usage) error {
		if o.ID != sb.OrgID {
			t.Errorf("asked about organization %q", o.ID)
		}
		return fault.New(fault.Invalid, "no")
	}, at(6))
	w.wantKind(err, fault.Invalid)
	got, err = w.SetSandboxNetwork(w.ctx, got, sandbox.Network{}, false, func(org.Organization, org.Usage) error { return nil }, at(7))
	w.must(err)
	if got.NetworkBlockAll || got.NetworkAllowList != nil || got.DomainAllowList != nil || got.NetworkPending {
		t.Errorf("cleared row: %+v", got)
	}
	gone := row(o, "b")
	_, err = w.SetSandboxNetwork(w.ctx, gone, n, true, nil, at(8))
	w.wantKind(err, fault.NotFound)
}

func setWork(t *testing.T, w *world) {
	o := w.org("u", org.DefaultQuota())
	sb := w.put(row(o, "a"))
	work := sandbox.Work{
		Size: org.Resources{CPU: 3, MemoryGiB: 4, DiskGiB: 9}, Snapshotting: "s", ErrorReason: ptr("because"),
		Resize: &sandbox.Resize{From: sb.Resources(), To: org.Resources{CPU: 3, MemoryGiB: 4, DiskGiB: 9}, Since: at(5)},
	}
	got, err := w.SetSandboxWork(w.ctx, sb, work, nil, at(5))
	w.must(err)
	want := sb
	want.CPU, want.MemoryGiB, want.DiskGiB, want.Snapshotting, want.ErrorReason, want.Resize = 3, 4, 9, "s", ptr("because"), work.Resize
	want.UpdatedAt, want.Version = at(5), sb.Version+1
	w.same("changed row", got, want)
	_, err = w.SetSandboxWork(w.ctx, sb, work, nil, at(6)) // as it was read before
	w.wantKind(err, fault.Conflict)
	_, err = w.SetSandboxWork(w.ctx, got, work, func(o org.Organization, used org.Usage) error {
		if o.ID != sb.OrgID || used.CPU != 0 {
			t.Errorf("asked about organization %q, which uses %+v beside it", o.ID, used)
		}
		return fault.New(fault.Invalid, "no")
	}, at(6))
	w.wantKind(err, fault.Invalid)
	got, err = w.SetSandboxWork(w.ctx, got, sandbox.Work{Size: sb.Resources()}, func(org.Organization, org.Usage) error { return nil }, at(7))
	w.must(err)
	if got.Resize != nil || got.Snapshotting != "" || got.ErrorReason != nil || got.Resources() != sb.Resources() {
		t.Errorf("cleared row: %+v", got)
	}
	_, err = w.SetSandboxWork(w.ctx, row(o, "b"), work, nil, at(8))
	w.wantKind(err, fault.NotFound)
}

func touches(t *testing.T, w *world) {
	o := w.org("u", org.DefaultQuota())
	sb := w.put(row(o, "x"))
	w.must(w.TouchSandboxes(w.ctx, map[string]time.Time{sb.ID: at(5), "nothing": at(5)}))
	w.must(w.TouchSandboxes(w.ctx, map[string]time.Time{sb.ID: at(4)}))
	got, err := w.Sandbox(w.ctx, sb.ID)
	w.must(err)
	sb.LastActivityAt = at(5)
	w.same("touched row", got, sb) // its version too: activity is no change
}

func purge(t *testing.T, w *world) {
	o := w.org("u", org.DefaultQuota())
	old, young, live := row(o, "old"), row(o, "young"), row(o, "live")
	old.State, old.StateSince = sandbox.Destroyed, at(0)
	young.State, young.StateSince = sandbox.Destroyed, at(10)
	_, _, err := w.CreateSandbox(w.ctx, old, &sandbox.Idempotency{Key: "goes with its sandbox", SandboxID: old.ID}, nil)
	w.must(err)
	w.put(young)
	live.CreatedAt = at(0)
	_, _, err = w.CreateSandbox(w.ctx, live, &sandbox.Idempotency{Key: "too old", SandboxID: live.ID}, nil)
	w.must(err)
	n, err := w.PurgeSandboxes(w.ctx, at(5), at(5))
	w.must(err)
	if n != 2 {
		t.Errorf("%d rows went, want 2", n)
	}
	_, err = w.Sandbox(w.ctx, old.ID)
	w.wantKind(err, fault.NotFound)
	for _, k := range []string{"goes with its sandbox", "too old"} {
		_, err = w.IdempotencyKey(w.ctx, o, k)
		w.wantKind(err, fault.NotFound)
	}
	for _, id := range []string{young.ID, live.ID} {
		_, err = w.Sandbox(w.ctx, id)
		w.must(err)
	}
}

// hostileText: what comes from URLs can be anything, and must never be an
// internal error.
func hostileText(t *testing.T, w *world) {
	o := w.org("u", org.DefaultQuota())
	for _, s := range []string{"\x00", "\xff\xfe", "a\x00b", "'; DROP TABLE sandboxes; --", "%", "_", `\`} {
		_, err := w.FindSandbox(w.ctx, o, s)
		if k := fault.KindOf(err); k != fault.NotFound && k != fault.Invalid {
			t.Errorf("find %q: %v", s, err)
		}
		for _, f := range []sandbox.Filter{{Name: s}, {Labels: map[string]string{s: s}}, {Snapshots: []string{s}}} {
			if _, err := w.ListSandboxes(w.ctx, o, f); err != nil && !fault.Is(err, fault.Invalid) {
				t.Errorf("list %q: %v", s, err)
			}
		}
	}
}
