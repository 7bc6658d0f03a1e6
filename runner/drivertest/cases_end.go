package drivertest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"daytona/api/runnerapi"
	"daytona/internal/fault"
	"daytona/runner"
)

func (s *suite) checkEnd(t testing.TB, id string, cause runnerapi.Cause, code int) {
	t.Helper()
	first := s.wait(t, id)
	if first.Cause != cause {
		t.Errorf("cause %q (%s), want %q", first.Cause, first.Evidence, cause)
	}
	if s.features.ExitCodes && code >= 0 && first.ExitCode != code {
		t.Errorf("exit code %d, want %d", first.ExitCode, code)
	}
	if first.Evidence == "" || first.At.IsZero() {
		t.Errorf("no evidence or no time: %+v", first)
	}
	if again := s.wait(t, id); again.Cause != first.Cause || again.ExitCode != first.ExitCode || !again.At.Equal(first.At) {
		t.Errorf("asked again it says %+v, first it said %+v", again, first)
	}
	if s.features.Outlives {
		d := s.fx.Reopen(t)
		if again, err := d.Wait(context.Background(), id); err != nil || again.Cause != first.Cause || again.ExitCode != first.ExitCode {
			t.Errorf("a later process says %+v, %v; first it was %+v", again, err, first)
		}
	}
}

// waiting calls Wait in the background and returns its result's channel.
func (s *suite) waiting(t testing.TB, id string) <-chan runnerapi.End {
	t.Helper()
	ends := make(chan runnerapi.End, 1)
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	go func() {
		if e, err := s.Wait(ctx, id); err == nil {
			ends <- e
		}
	}()
	return ends
}

func receive(t testing.TB, ends <-chan runnerapi.End) runnerapi.End {
	t.Helper()
	select {
	case e := <-ends:
		return e
	case <-time.After(patience):
		t.Fatal("Wait does not return")
		panic("unreachable")
	}
}

func (s *suite) waitUser(t *testing.T) {
	b, _ := s.start(t)
	ends := s.waiting(t, b.ID)
	must(t, s.Stop(context.Background(), b.ID, patience))
	if e := receive(t, ends); e.Cause != runnerapi.CauseUser {
		t.Errorf("%+v", e)
	}
	s.checkEnd(t, b.ID, runnerapi.CauseUser, 0)
}

func (s *suite) waitExit(t *testing.T) {
	for _, code := range []int{0, 7} {
		b, c := s.start(t)
		ends := s.waiting(t, b.ID)
		_, _ = c.get("/exit", "code", fmt.Sprint(code))
		if e := receive(t, ends); e.Cause != runnerapi.CauseExit || s.features.ExitCodes && e.ExitCode != code {
			t.Errorf("%+v", e)
		}
		// A later stop does not change why it ended.
		must(t, s.Stop(context.Background(), b.ID, 0))
		s.checkEnd(t, b.ID, runnerapi.CauseExit, code)
	}
}

func (s *suite) waitLate(t *testing.T) {
	b, c := s.start(t)
	_, _ = c.get("/exit", "code", "7")
	eventually(t, "it ends", func() error {
		if s.inspect(t, b.ID).Running {
			return errors.New("it runs")
		}
		return nil
	})
	must(t, s.Stop(context.Background(), b.ID, 0))
	s.checkEnd(t, b.ID, runnerapi.CauseExit, -1)
}

func (s *suite) waitCancelled(t *testing.T) {
	b, _ := s.start(t)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		_, err := s.Wait(ctx, b.ID)
		done <- err
	}()
	select {
	case err := <-done:
		t.Fatalf("Wait returned while it runs: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	cancel()
	select {
	case err := <-done:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("Wait = %v", err)
		}
		if _, ok := errors.AsType[*fault.Error](err); !ok {
			t.Errorf("Wait's error is no fault: %v", err)
		}
	case <-time.After(patience):
		t.Fatal("Wait does not heed its context")
	}
	s.ready(t, b)
}

func (s *suite) waitDeleted(t *testing.T) {
	b, _ := s.start(t)
	ends := s.waiting(t, b.ID)
	must(t, s.Delete(context.Background(), b.ID))
	select {
	case e := <-ends:
		if e.Cause != runnerapi.CauseUser {
			t.Errorf("%+v", e)
		}
	case <-time.After(patience):
		// Wait may have come after Delete, and is then told of an unknown id.
		if _, err := s.Wait(context.Background(), b.ID); !fault.Is(err, fault.NotFound) {
			t.Fatal("Wait does not return")
		}
	}
}

func (s *suite) waitMemory(t *testing.T) {
	neighbour, calm := s.start(t)
	b := s.fx.NewBundle(t)
	b.Limits.MemoryBytes = 128 << 20
	b, c := s.startFrom(t, b)
	ends := s.waiting(t, b.ID)
	_, _ = c.get("/eat", "mb", "512")
	if e := receive(t, ends); e.Cause != runnerapi.CauseOutOfMemory {
		t.Errorf("%+v", e)
	}
	s.checkEnd(t, b.ID, runnerapi.CauseOutOfMemory, -1)
	if _, err := calm.get("/ping"); err != nil {
		t.Errorf("the neighbour: %v", err)
	}
	if st, err := s.Stats(context.Background(), neighbour.ID); err != nil || st.OOMKills != 0 {
		t.Errorf("the neighbour: %+v, %v", st, err)
	}
}

// waitPids lets a container meet its limit on processes, and end for it.
func (s *suite) waitPids(t *testing.T) {
	_, calm := s.start(t)
	b := s.fx.NewBundle(t)
	b.Limits.Pids = 24
	b, c := s.startFrom(t, b)
	ends := s.waiting(t, b.ID)
	// An engine whose own threads count may end by itself at the limit.
	if got, err := c.get("/fork", "n", "300"); err == nil {
		t.Logf("300 processes: %s", got)
		st, err := s.Stats(context.Background(), b.ID)
		if err == nil && st.Pids >= 300 {
			t.Errorf("it has %d processes", st.Pids)
		}
		_, _ = c.get("/exit", "code", "1")
	}
	if e := receive(t, ends); e.Cause != runnerapi.CausePids {
		t.Errorf("%+v", e)
	}
	s.checkEnd(t, b.ID, runnerapi.CausePids, -1)
	if _, err := calm.get("/ping"); err != nil {
		t.Errorf("the neighbour: %v", err)
	}
}

func (s *suite) limitsHold(t *testing.T) {
	b := s.fx.NewBundle(t)
	b.Limits.CPU = 0.25
	b, c := s.startFrom(t, b)
	before, err := s.Stats(context.Background(), b.ID)
	must(t, err)
	began := time.Now()
	if _, err := c.get("/spin", "ms", "1200"); err != nil {
		t.Fatal(err)
	}
	wall := time.Since(began)
	after, err := s.Stats(context.Background(), b.ID)
	must(t, err)
	// A quota allows one period's share in advance.
	used, most := after.CPUTime-before.CPUTime, time.Duration(0.25*float64(wall))+100*time.Millisecond
	if used > most {
		t.Errorf("with a quarter of a CPU it used %v in %v", used, wall)
	}
	if used < 50*time.Millisecond {
		t.Errorf("it used only %v in %v", used, wall)
	}
}

// limitsChange: what a container may use grows while it runs, and shrinks.
func (s *suite) limitsChange(t *testing.T) {
	d, ok := s.Driver.(runner.Resizer)
	if !ok {
		t.Skip("the driver cannot change limits")
	}
	ctx := context.Background()
	b := s.fx.NewBundle(t)
	b.Limits.CPU, b.Limits.MemoryBytes = 0.25, 192<<20
	b, c := s.startFrom(t, b)
	b.Limits.CPU, b.Limits.MemoryBytes = 1, 768<<20
	for range 2 {
		must(t, d.SetLimits(ctx, b))
	}
	before, err := s.Stats(ctx, b.ID)
	must(t, err)
	_, err = c.get("/eat", "mb", "400") // far more than it began with
	must(t, err)
	// What else runs on the host may take the processors for a while.
	var share float64
	for range 6 {
		from, err := s.Stats(ctx, b.ID)
		must(t, err)
		began := time.Now()
		_, err = c.get("/spin", "ms", "1000")
		must(t, err)
		to, err := s.Stats(ctx, b.ID)
		must(t, err)
		if share = (to.CPUTime - from.CPUTime).Seconds() / time.Since(began).Seconds(); share > 0.4 {
			break
		}
	}
	if share <= 0.4 {
		t.Errorf("it got %.2f of a processor, want more than the quarter that it began with", share)
	}
	after, err := s.Stats(ctx, b.ID)
	must(t, err)
	if grown := after.MemoryBytes - before.MemoryBytes; grown < 380<<20 {
		t.Errorf("memory grew by %d MiB, want 400", grown>>20)
	}
	b.Limits.CPU = 0.25
	must(t, d.SetLimits(ctx, b))
	must(t, s.Stop(ctx, b.ID, 0))
	if err := d.SetLimits(ctx, b); err != nil && !fault.Is(err, fault.Conflict) {
		t.Errorf("of one that has ended: %v", err)
	}
	if err := d.SetLimits(ctx, runner.Bundle{ID: "unknown"}); !fault.Is(err, fault.NotFound) {
		t.Errorf("of an unknown container: %v, want NotFound", err)
	}
}

// childMemory: a child that takes too much never leaves a container that hangs.
// It is alive and answers, or it has ended with the right cause.
func (s *suite) childMemory(t *testing.T) {
	b := s.fx.NewBundle(t)
	b.Limits.MemoryBytes = 128 << 20
	b, c := s.startFrom(t, b)
	ends := s.waiting(t, b.ID)
	_, _ = c.get("/run", "arg", "/toolbox", "arg", "eat", "arg", "512")
	if _, err := c.get("/ping"); err == nil {
		st, err := s.Stats(context.Background(), b.ID)
		must(t, err)
		t.Logf("it lives; the kernel killed %d", st.OOMKills)
		if st.OOMKills == 0 {
			t.Error("the limit did not hold")
		}
		return
	}
	if e := receive(t, ends); e.Cause != runnerapi.CauseOutOfMemory {
		t.Errorf("%+v", e)
	}
}

func (s *suite) stats(t *testing.T) {
	b, c := s.start(t)
	before, err := s.Stats(context.Background(), b.ID)
	must(t, err)
	if before.MemoryBytes <= 0 || before.CPUTime <= 0 || before.Pids <= 0 || before.OOMKills != 0 {
		t.Errorf("%+v", before)
	}
	_, err = c.get("/eat", "mb", "100")
	must(t, err)
	if a := c.ask(t, "/fork", "n", "3"); a.Error != "" {
		t.Fatal(a.Error)
	}
	after, err := s.Stats(context.Background(), b.ID)
	must(t, err)
	if grown := after.MemoryBytes - before.MemoryBytes; grown < 95<<20 || grown > 200<<20 {
		t.Errorf("memory grew by %d MiB, want about 100", grown>>20)
	}
	if after.Pids <= before.Pids {
		t.Errorf("pids %d, before %d", after.Pids, before.Pids)
	}
	must(t, s.Stop(context.Background(), b.ID, 0))
	// Of an ended container either is a good answer, but not a panic or a hang.
	if _, err := s.Stats(context.Background(), b.ID); err != nil && !fault.Is(err, fault.Conflict) {
		t.Errorf("after Stop: %v", err)
	}
}

// background: of two containers that want all processors, the one in the
// background gets hardly any, until it is told otherwise.
func (s *suite) background(t *testing.T) {
	d, ok := s.Driver.(runner.Backgrounder)
	if !ok {
		t.Skip("the driver cannot hold containers back")
	}
	ctx := context.Background()
	behind := s.fx.NewBundle(t)
	behind.Limits.CPU, behind.Background = float64(runtime.NumCPU()), true
	behind, cb := s.startFrom(t, behind)
	before := s.fx.NewBundle(t)
	before.Limits.CPU = float64(runtime.NumCPU())
	before, cf := s.startFrom(t, before)

	// share is the part that behind gets of what both get.
	share := func() float64 {
		var used [2]time.Duration
		ids := [2]string{behind.ID, before.ID}
		for i, id := range ids {
			st, err := s.Stats(ctx, id)
			must(t, err)
			used[i] = -st.CPUTime
		}
		var g errgroup.Group
		for range runtime.NumCPU() {
			for _, c := range []client{cb, cf} {
				g.Go(func() error {
					_, err := c.get("/spin", "ms", "1000")
					return err
				})
			}
		}
		must(t, g.Wait())
		for i, id := range ids {
			st, err := s.Stats(ctx, id)
			must(t, err)
			used[i] += st.CPUTime
		}
		return float64(used[0]) / float64(used[0]+used[1])
	}
	// What else runs on the host may leave one processor to each for a while, so
	// it must hold twice in a row at some time. Without weights it is a half.
	eventually := func(what string, ok func(share float64) bool) {
		t.Helper()
		var got []float64
		for held := 0; held < 2; {
			if len(got) == 12 {
				t.Errorf("%s: of what both got it had %.2f", what, got)
				return
			}
			got = append(got, share())
			if held++; !ok(got[len(got)-1]) {
				held = 0
			}
		}
	}
	eventually("in the background", func(share float64) bool { return share < 0.4 })
	must(t, d.SetBackground(ctx, behind, false))
	must(t, d.SetBackground(ctx, behind, false))
	eventually("brought forward", func(share float64) bool { return share > 0.4 })
	must(t, d.SetBackground(ctx, before, true))
	eventually("the other in the background", func(share float64) bool { return share > 0.6 })
	if err := d.SetBackground(ctx, runner.Bundle{ID: "unknown"}, true); !fault.Is(err, fault.NotFound) {
		t.Errorf("an unknown container: %v, want NotFound", err)
	}
}
