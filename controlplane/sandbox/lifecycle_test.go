package sandbox

import (
	"math"
	"testing"
	"time"

	"daytona/api/runnerapi"
)

func TestNext(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	for _, c := range []struct {
		name string
		sb   Sandbox
		want Step
	}{
		{"created rows are made", Sandbox{State: Creating, Desired: Started, StateSince: now}, Step{Do: DoCreate}},
		{"one that waits for its image looks again", Sandbox{State: PullingSnapshot, Desired: Started, StateSince: now}, Step{Do: DoAwaitImage}},
		{"starting goes on", Sandbox{State: Starting, Desired: Started, StateSince: now}, Step{Do: DoStart}},
		{"stopping goes on", Sandbox{State: Stopping, Desired: Stopped, StateSince: now}, Step{Do: DoStop}},
		{"stopping is finished even if it is to start", Sandbox{State: Stopping, Desired: Started, StateSince: now}, Step{Do: DoStop}},
		{"a stopped one that should run starts", Sandbox{State: Stopped, Desired: Started}, Step{Do: DoStart}},
		{"a running one that should not stops", Sandbox{State: Started, Desired: Stopped}, Step{Do: DoStop}},

		{"creating takes too long", Sandbox{State: Creating, Desired: Started, StateSince: ago(CreateLimit)}, Step{Do: DoFail, Reason: "Timed out after 15m0s creating the sandbox"}},
		{"creating may take this long", Sandbox{State: Creating, Desired: Started, StateSince: ago(CreateLimit - 1)}, Step{Do: DoCreate}},
		{"the image takes too long", Sandbox{State: PullingSnapshot, Desired: Started, StateSince: ago(PullLimit)}, Step{Do: DoFail, Reason: "Timed out after 2h0m0s waiting for its snapshot"}},
		{"starting takes too long", Sandbox{State: Starting, Desired: Started, StateSince: ago(StartLimit)}, Step{Do: DoFail, Reason: "Timed out after 5m0s starting the sandbox"}},
		{"stopping takes too long", Sandbox{State: Stopping, Desired: Stopped, StateSince: ago(StopLimit)}, Step{Do: DoFail, Reason: "Timed out after 5m0s stopping the sandbox"}},
		{"running has no limit", Sandbox{State: Started, Desired: Started, StateSince: ago(1e6 * time.Hour)}, Step{}},

		{"a changed network comes before rest", Sandbox{State: Started, Desired: Started, NetworkPending: true, AutoStop: 15, LastActivityAt: ago(time.Hour)}, Step{Do: DoNetwork}},
		{"what stops needs no network", Sandbox{State: Started, Desired: Stopped, NetworkPending: true}, Step{Do: DoStop}},
		{"what is stopped waits with its changed network", Sandbox{State: Stopped, Desired: Stopped, NetworkPending: true, AutoDelete: -1, LastActivityAt: now}, Step{At: now.Add(30 * 24 * time.Hour)}},
		{"auto-stop is due", Sandbox{State: Started, Desired: Started, AutoStop: 15, LastActivityAt: ago(15 * time.Minute)}, Step{Do: DoIdleStop}},
		{"auto-stop is not due yet", Sandbox{State: Started, Desired: Started, AutoStop: 15, LastActivityAt: ago(14 * time.Minute)}, Step{At: now.Add(time.Minute)}},
		{"auto-stop is off", Sandbox{State: Started, Desired: Started, AutoStop: 0, LastActivityAt: ago(1e6 * time.Hour)}, Step{}},
		{"auto-stop does not overflow", Sandbox{State: Started, Desired: Started, AutoStop: math.MaxInt, LastActivityAt: now}, Step{At: now.Add(100 * 365 * 24 * time.Hour)}},

		{"auto-delete is due", Sandbox{State: Stopped, Desired: Stopped, AutoDelete: 60, LastActivityAt: ago(time.Hour)}, Step{Do: DoAutoDelete}},
		{"auto-delete is not due yet", Sandbox{State: Stopped, Desired: Stopped, AutoDelete: 60, LastActivityAt: ago(time.Minute)}, Step{At: now.Add(59 * time.Minute)}},
		{"auto-delete 0 is at once", Sandbox{State: Stopped, Desired: Stopped, AutoDelete: 0, LastActivityAt: now}, Step{Do: DoAutoDelete}},
		{"auto-delete is off", Sandbox{State: Stopped, Desired: Stopped, AutoDelete: -1, LastActivityAt: now}, Step{At: now.Add(30 * 24 * time.Hour)}},
		{"auto-delete is for stopped ones", Sandbox{State: Started, Desired: Started, AutoDelete: 0}, Step{}},

		{"auto-archive is due", Sandbox{State: Stopped, Desired: Stopped, AutoDelete: -1, AutoArchive: 60, LastActivityAt: ago(time.Hour)}, Step{Do: DoAutoArchive}},
		{"auto-archive is not due yet", Sandbox{State: Stopped, Desired: Stopped, AutoDelete: -1, AutoArchive: 60, LastActivityAt: ago(time.Minute)}, Step{At: now.Add(59 * time.Minute)}},
		{"auto-archive 0 is the maximum", Sandbox{State: Stopped, Desired: Stopped, AutoDelete: -1, LastActivityAt: ago(MaxAutoArchive * time.Minute)}, Step{Do: DoAutoArchive}},
		{"auto-delete comes before a later archive", Sandbox{State: Stopped, Desired: Stopped, AutoDelete: 30, AutoArchive: 60, LastActivityAt: now}, Step{At: now.Add(30 * time.Minute)}},
		{"an archive comes before a later auto-delete", Sandbox{State: Stopped, Desired: Stopped, AutoDelete: 90, AutoArchive: 60, LastActivityAt: now}, Step{At: now.Add(60 * time.Minute)}},
		{"when both are due it is deleted", Sandbox{State: Stopped, Desired: Stopped, AutoDelete: 60, AutoArchive: 60, LastActivityAt: ago(time.Hour)}, Step{Do: DoAutoDelete}},
		{"archiving goes on", Sandbox{State: Archiving, Desired: Archived, StateSince: now}, Step{Do: DoArchive}},
		{"archiving takes too long", Sandbox{State: Archiving, Desired: Archived, DiskGiB: 3, StateSince: ago(33 * time.Minute)}, Step{Do: DoFail, Reason: "Timed out after 33m0s archiving the sandbox"}},
		{"what is archived leaves its runner", Sandbox{State: Archived, Desired: Archived, RunnerID: "r"}, Step{Do: DoRelease}},
		{"archived ones rest", Sandbox{State: Archived, Desired: Archived, AutoDelete: 0}, Step{}},
		{"restoring goes on", Sandbox{State: Restoring, Desired: Started, StateSince: now}, Step{Do: DoRestore}},
		{"restoring takes too long", Sandbox{State: Restoring, Desired: Started, StateSince: ago(30 * time.Minute)}, Step{Do: DoFail, Reason: "Timed out after 30m0s restoring the sandbox"}},
		{"an archive that failed is tried again", Sandbox{State: Error, Desired: Archived, Recoverable: true, RunnerID: "r", StateSince: ago(ArchiveAgain)}, Step{Do: DoAutoArchive}},
		{"but not at once", Sandbox{State: Error, Desired: Archived, Recoverable: true, RunnerID: "r", StateSince: now}, Step{At: now.Add(ArchiveAgain)}},

		{"an error stays until told", Sandbox{State: Error, Desired: Started, AutoDelete: 0}, Step{}},
		{"destroyed ones rest", Sandbox{State: Destroyed, Desired: Destroyed}, Step{}},
	} {
		if got := Next(c.sb, now); got != c.want {
			t.Errorf("%s: got %+v, want %+v", c.name, got, c.want)
		}
	}
	for _, s := range States() {
		want := DoDelete
		if s == Destroyed {
			want = DoNothing
		}
		if got := Next(Sandbox{State: s, Desired: Destroyed, StateSince: ago(1e6 * time.Hour)}, now); got.Do != want {
			t.Errorf("%s that should be destroyed: %+v, want %q", s, got, want)
		}
	}
}

func TestObserve(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	oom := &runnerapi.End{Cause: runnerapi.CauseOutOfMemory, Evidence: "limit 1 GiB", At: now.Add(-time.Second)}
	for _, c := range []struct {
		state, desired State
		seen           runnerapi.State
		end            *runnerapi.End
		to             State // "" is nothing to record
		cause          string
	}{
		{Started, Started, runnerapi.StateRunning, nil, "", ""},
		{Started, Started, runnerapi.StateCreating, nil, "", ""},
		{Started, Started, runnerapi.StateStopped, oom, Stopped, "out_of_memory"},
		{Started, Started, runnerapi.StateStopped, nil, Stopped, "exit"},
		{Started, Started, runnerapi.StateFailed, oom, Error, "out_of_memory"},
		{Started, Started, runnerapi.StateDeleted, nil, Error, "host_lost"},
		{Stopped, Stopped, runnerapi.StateStopped, nil, "", ""},
		{Stopped, Stopped, runnerapi.StateRunning, nil, Started, ""},
		{Stopped, Stopped, runnerapi.StateDeleted, nil, Error, "host_lost"},
		{Stopped, Stopped, runnerapi.StateFailed, nil, "", ""},
		{Error, Started, runnerapi.StateRunning, nil, Started, ""},
		{Error, Stopped, runnerapi.StateRunning, nil, "", ""},
		{Error, Started, runnerapi.StateDeleted, nil, "", ""},
		{Creating, Started, runnerapi.StateRunning, nil, "", ""},
		{Starting, Started, runnerapi.StateStopped, nil, "", ""},
		{Stopping, Stopped, runnerapi.StateRunning, nil, "", ""},
		{Destroying, Destroyed, runnerapi.StateRunning, nil, "", ""},
		{Destroyed, Destroyed, runnerapi.StateDeleted, nil, "", ""},
	} {
		o, differs := Observe(Sandbox{State: c.state, Desired: c.desired}, runnerapi.Sandbox{State: c.seen, End: c.end}, now)
		if differs != (c.to != "") || o.To != c.to {
			t.Errorf("%s seen %s: moves to %q (%v), want %q", c.state, c.seen, o.To, differs, c.to)
			continue
		}
		if c.to == "" {
			continue
		}
		if !c.state.CanBecome(o.To) {
			t.Errorf("%s seen %s: the table forbids %s", c.state, c.seen, o.To)
		}
		if got := deref(o.Change.End).Cause; got != c.cause {
			t.Errorf("%s seen %s: cause %q, want %q", c.state, c.seen, got, c.cause)
		}
	}
}

func TestNextBackup(t *testing.T) {
	at := func(minutes int) time.Time { return time.Unix(0, 0).UTC().Add(time.Duration(minutes) * time.Minute) }
	started := Sandbox{State: Started, Desired: Started, StateSince: at(0), AutoDelete: -1}
	stopped := Sandbox{State: Stopped, Desired: Stopped, StateSince: at(100), AutoDelete: -1}
	with := func(sb Sandbox, b Backup) Sandbox { sb.Backup = &b; return sb }
	ephemeral, resizing := started, started
	ephemeral.AutoDelete, resizing.Resize = 0, &Resize{}
	for name, c := range map[string]struct {
		sb    Sandbox
		every time.Duration
		now   int
		want  Step
	}{
		"off":                              {started, 0, 1000, Step{}},
		"not yet":                          {started, time.Hour, 59, Step{At: at(60)}},
		"an hour after the start":          {started, time.Hour, 60, Step{Do: DoAutoBackup}},
		"an hour after the last":           {with(started, Backup{State: BackupCompleted, At: at(30)}), time.Hour, 89, Step{At: at(90)}},
		"again":                            {with(started, Backup{State: BackupCompleted, At: at(30)}), time.Hour, 90, Step{Do: DoAutoBackup}},
		"one is under way":                 {with(started, Backup{State: BackupInProgress}), time.Hour, 1000, Step{}},
		"one failed":                       {with(started, Backup{State: BackupError, Tried: at(70)}), time.Hour, 100, Step{At: at(130)}},
		"one failed long ago":              {with(started, Backup{State: BackupError, Tried: at(70)}), time.Hour, 130, Step{Do: DoAutoBackup}},
		"it goes when it stops":            {ephemeral, time.Hour, 1000, Step{}},
		"something else is under way":      {resizing, time.Hour, 1000, Step{}},
		"it has stopped":                   {stopped, time.Hour, 100, Step{Do: DoAutoBackup}},
		"stopped, since backed up":         {with(stopped, Backup{State: BackupCompleted, At: at(101)}), time.Hour, 1000, Step{}},
		"stopped, backed up before":        {with(stopped, Backup{State: BackupCompleted, At: at(99)}), time.Hour, 100, Step{Do: DoAutoBackup}},
		"stopped, and that backup failed":  {with(stopped, Backup{State: BackupError, At: at(99), Tried: at(110)}), time.Hour, 120, Step{At: at(170)}},
		"its files are elsewhere already":  {Sandbox{State: Archived, Desired: Archived, AutoDelete: -1}, time.Hour, 1000, Step{}},
		"nothing can be done with it here": {Sandbox{State: Error, Desired: Started, AutoDelete: -1}, time.Hour, 1000, Step{}},
	} {
		if got := NextBackup(c.sb, c.every, at(c.now)); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}
