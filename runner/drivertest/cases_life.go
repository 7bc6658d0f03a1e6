package drivertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"daytona/api/runnerapi"
	"daytona/internal/fault"
	"daytona/runner"
)

// create makes a container that is removed with the test.
func (s *suite) create(t testing.TB) runner.Bundle {
	t.Helper()
	return s.createFrom(t, s.fx.NewBundle(t))
}

func (s *suite) createFrom(t testing.TB, b runner.Bundle) runner.Bundle {
	t.Helper()
	t.Cleanup(func() { s.gone(t, b) })
	must(t, s.Create(context.Background(), b))
	return b
}

// start makes a container and starts it, and waits until its probe answers.
func (s *suite) start(t testing.TB) (runner.Bundle, client) {
	t.Helper()
	return s.startFrom(t, s.fx.NewBundle(t))
}

func (s *suite) startFrom(t testing.TB, b runner.Bundle) (runner.Bundle, client) {
	t.Helper()
	t.Cleanup(func() { s.gone(t, b) })
	must(t, launch(context.Background(), s.Driver, b))
	return b, s.ready(t, b)
}

// launch makes and starts a container as a runner does.
func launch(ctx context.Context, d runner.Driver, b runner.Bundle) error {
	if l, ok := d.(runner.Launcher); ok {
		return l.Run(ctx, b)
	}
	if err := d.Create(ctx, b); err != nil {
		return err
	}
	return d.Start(ctx, b)
}

// gone deletes a container and checks that nothing is left of it.
func (s *suite) gone(t testing.TB, b runner.Bundle) {
	t.Helper()
	if err := s.Delete(context.Background(), b.ID); err != nil {
		t.Errorf("Delete: %v", err)
	}
	s.absent(t, b)
}

func (s *suite) absent(t testing.TB, b runner.Bundle) {
	t.Helper()
	if _, err := s.Inspect(context.Background(), b.ID); !fault.Is(err, fault.NotFound) {
		t.Errorf("Inspect after it is gone = %v, want NotFound", err)
	}
	if s.listed(t, b.ID) {
		t.Error("it is listed after it is gone")
	}
	// What is left for a moment, such as a process that init has not
	// collected yet, is no litter.
	deadline := time.Now().Add(10 * time.Second)
	for {
		left := s.fx.Litter(t, b)
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("left behind:\n%s", strings.Join(left, "\n"))
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (s *suite) listed(t testing.TB, id string) bool {
	t.Helper()
	cs, err := s.List(context.Background())
	must(t, err)
	return slices.ContainsFunc(cs, func(c runner.Container) bool { return c.ID == id })
}

func (s *suite) inspect(t testing.TB, id string) runner.Container {
	t.Helper()
	c, err := s.Inspect(context.Background(), id)
	must(t, err)
	return c
}

func (s *suite) wait(t testing.TB, id string) runnerapi.End {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	e, err := s.Wait(ctx, id)
	must(t, err)
	return e
}

func (s *suite) lifecycle(t *testing.T) {
	ctx := context.Background()
	b := s.create(t)
	if c := s.inspect(t, b.ID); !c.Created || c.Running || c.ID != b.ID {
		t.Errorf("after Create: %+v", c)
	}
	if !s.listed(t, b.ID) {
		t.Error("not listed after Create")
	}
	must(t, s.Start(ctx, b))
	c := s.ready(t, b)
	if got := s.inspect(t, b.ID); got.Created || !got.Running || got.PID <= 0 {
		t.Errorf("after Start: %+v", got)
	}
	must(t, s.Stop(ctx, b.ID, patience))
	if got := s.inspect(t, b.ID); got.Created || got.Running {
		t.Errorf("after Stop: %+v", got)
	}
	if !s.listed(t, b.ID) {
		t.Error("not listed after Stop")
	}
	if _, err := c.get("/ping"); err == nil {
		t.Error("the probe answers after Stop")
	}
	if _, err := s.Dial(ctx, b, s.fx.Port(b)); err == nil {
		t.Error("Dial works after Stop")
	} else if _, ok := errors.AsType[*fault.Error](err); !ok {
		t.Errorf("Dial's error is no fault: %v", err)
	}
	s.gone(t, b)
}

func (s *suite) repeated(t *testing.T) {
	ctx := context.Background()
	b := s.create(t)
	must(t, s.Create(ctx, b))
	must(t, s.Start(ctx, b))
	s.ready(t, b)
	pid := s.inspect(t, b.ID).PID
	must(t, s.Start(ctx, b))
	must(t, s.Create(ctx, b))
	s.ready(t, b)
	if now := s.inspect(t, b.ID).PID; now != pid {
		t.Errorf("the first process changed from %d to %d", pid, now)
	}
	must(t, s.Stop(ctx, b.ID, patience))
	must(t, s.Stop(ctx, b.ID, patience))
	must(t, s.Stop(ctx, b.ID, 0))
	if err := s.Start(ctx, b); !fault.Is(err, fault.Conflict) {
		t.Errorf("Start after Stop = %v, want Conflict", err)
	}
	must(t, s.Delete(ctx, b.ID))
	must(t, s.Delete(ctx, b.ID))
}

func (s *suite) launched(t *testing.T) {
	l, ok := s.Driver.(runner.Launcher)
	if !ok {
		t.Skipf("%s is no runner.Launcher", s.Name())
	}
	ctx := context.Background()
	b := s.create(t)
	must(t, l.Run(ctx, b))
	s.ready(t, b)
	made := s.inspect(t, b.ID)
	if made.Created || !made.Running || made.PID <= 0 {
		t.Errorf("after Create and Run: %+v", made)
	}
	must(t, l.Run(ctx, b))
	must(t, s.Start(ctx, b))
	if again := s.inspect(t, b.ID); again.PID != made.PID {
		t.Errorf("the first process changed from %d to %d", made.PID, again.PID)
	}
	must(t, s.Stop(ctx, b.ID, patience))
	s.fx.Renew(t, b)
	must(t, l.Run(ctx, b))
	s.ready(t, b)
	s.gone(t, b)

	b = s.fx.NewBundle(t)
	b.RootFS += "-missing"
	if err := l.Run(ctx, b); err == nil {
		t.Error("Run without a root file system succeeded")
	}
	s.absent(t, b)
}

func (s *suite) unknown(t *testing.T) {
	ctx := context.Background()
	b := s.fx.NewBundle(t)
	for name, f := range map[string]func() error{
		"Start":   func() error { return s.Start(ctx, b) },
		"Stop":    func() error { return s.Stop(ctx, b.ID, 0) },
		"Inspect": func() error { _, err := s.Inspect(ctx, b.ID); return err },
		"Wait":    func() error { _, err := s.Wait(ctx, b.ID); return err },
		"Stats":   func() error { _, err := s.Stats(ctx, b.ID); return err },
	} {
		if err := f(); !fault.Is(err, fault.NotFound) {
			t.Errorf("%s of an unknown id = %v, want NotFound", name, err)
		}
	}
	must(t, s.Delete(ctx, b.ID))
}

func (s *suite) badBundles(t *testing.T) {
	for name, spoil := range map[string]func(*runner.Bundle){
		"id with a path": func(b *runner.Bundle) { b.ID = "../" + b.ID },
		"no id":          func(b *runner.Bundle) { b.ID = "" },
		"no command":     func(b *runner.Bundle) { b.Args = nil },
	} {
		t.Run(name, func(t *testing.T) {
			b := s.fx.NewBundle(t)
			spoil(&b)
			if err := s.Create(context.Background(), b); !fault.Is(err, fault.Invalid) {
				t.Errorf("Create = %v, want Invalid", err)
			}
		})
	}
}

func (s *suite) failedCreate(t *testing.T) {
	for name, spoil := range map[string]func(*runner.Bundle){
		"no root file system": func(b *runner.Bundle) { b.RootFS += "-missing" },
		"no network":          func(b *runner.Bundle) { b.NetNS += "-missing" },
		"no mount source":     func(b *runner.Bundle) { b.Mounts[0].Source += "-missing" },
	} {
		t.Run(name, func(t *testing.T) {
			ctx := context.Background()
			b := s.fx.NewBundle(t)
			good := b
			b.Mounts = slices.Clone(b.Mounts)
			spoil(&b)
			err := s.Create(ctx, b)
			if err == nil {
				t.Cleanup(func() { s.gone(t, b) })
				t.Fatal("Create succeeded")
			}
			if _, ok := errors.AsType[*fault.Error](err); !ok {
				t.Errorf("Create's error is no fault: %v", err)
			}
			s.absent(t, b)
			// And the id is free.
			s.startFrom(t, good)
		})
	}
}

func (s *suite) cancelledCreate(t *testing.T) {
	b := s.fx.NewBundle(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Create(ctx, b); err == nil {
		t.Error("Create succeeded with a cancelled context")
	}
	s.absent(t, b)
	s.startFrom(t, b)
}

func (s *suite) deleteStates(t *testing.T) {
	ctx := context.Background()
	for name, reach := range map[string]func(t *testing.T) runner.Bundle{
		"never made": func(t *testing.T) runner.Bundle { return s.fx.NewBundle(t) },
		"created":    func(t *testing.T) runner.Bundle { return s.create(t) },
		"running":    func(t *testing.T) runner.Bundle { b, _ := s.start(t); return b },
		"stopped": func(t *testing.T) runner.Bundle {
			b, _ := s.start(t)
			must(t, s.Stop(ctx, b.ID, 0))
			return b
		},
		"exited": func(t *testing.T) runner.Bundle {
			b, c := s.start(t)
			_, _ = c.get("/exit", "code", "0")
			s.wait(t, b.ID)
			return b
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := reach(t)
			s.gone(t, b)
			s.gone(t, b)
		})
	}
}

func (s *suite) stopAsks(t *testing.T) {
	b, _ := s.start(t)
	must(t, s.Stop(context.Background(), b.ID, patience))
	e := s.wait(t, b.ID)
	// The probe ends with 0 when it is asked, and with 137 when it is killed.
	if s.features.ExitCodes && e.ExitCode != 0 {
		t.Errorf("exit code %d: it was not asked", e.ExitCode)
	}
}

func (s *suite) stopKills(t *testing.T) {
	b := s.fx.NewBundle(t)
	b.Env = append(slices.Clone(b.Env), "PROBE_IGNORE_TERM=1")
	b, c := s.startFrom(t, b)
	if a := c.ask(t, "/fork", "n", "5"); a.Error != "" {
		t.Fatal(a.Error)
	}
	must(t, s.Stop(context.Background(), b.ID, 50*time.Millisecond))
	if got := s.inspect(t, b.ID); got.Running {
		t.Error("it runs after Stop")
	}
	if e := s.wait(t, b.ID); e.Cause != runnerapi.CauseUser {
		t.Errorf("cause %q, want user", e.Cause)
	}
	if s.features.Limits {
		// A group that holds a process cannot be removed, so no process is left.
		if st, err := s.Stats(context.Background(), b.ID); err == nil && st.Pids > 0 {
			eventually(t, "no process is left", func() error {
				st, err := s.Stats(context.Background(), b.ID)
				if err == nil && st.Pids > 0 {
					err = fmt.Errorf("%d processes", st.Pids)
				}
				return err
			})
		}
	}
}

// connectionsEnd: whoever talks to a container learns that it has ended.
func (s *suite) connectionsEnd(t *testing.T) {
	b, _ := s.start(t)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := s.Dial(ctx, b, s.fx.Port(b))
	must(t, err)
	defer conn.Close()
	read := make(chan error, 1)
	go func() {
		_, err := conn.Read(make([]byte, 1))
		read <- err
	}()
	must(t, s.Stop(ctx, b.ID, 0))
	select {
	case err := <-read:
		if err == nil {
			t.Error("it sent something")
		}
	case <-ctx.Done():
		t.Error("the connection stays open")
	}
}

func (s *suite) createAgain(t *testing.T) {
	b, c := s.start(t)
	if s.features.Isolated {
		if a := c.ask(t, "/write", "path", "/home/user/kept", "text", "kept"); a.Error != "" {
			t.Fatal(a.Error)
		}
		if a := c.ask(t, "/write", "path", "/tmp/kept", "text", "kept"); a.Error != "" {
			t.Fatal(a.Error)
		}
	}
	must(t, s.Stop(context.Background(), b.ID, 0))
	s.fx.Renew(t, b)
	must(t, s.Create(context.Background(), b))
	must(t, s.Start(context.Background(), b))
	c = s.ready(t, b)
	if s.features.Isolated {
		for _, path := range []string{"/home/user/kept", "/tmp/kept"} {
			if a := c.ask(t, "/read", "path", path); a.Text != "kept" {
				t.Errorf("what was written to %s is lost: %+v", path, a)
			}
		}
	}
	_, _ = c.get("/exit", "code", "3")
	// The stop of the first life is not the cause of the second's end.
	if e := s.wait(t, b.ID); e.Cause != runnerapi.CauseExit {
		t.Errorf("cause %q, want exit", e.Cause)
	}
}

func (s *suite) atOnce(t *testing.T) {
	const n = 6
	bundles := make([]runner.Bundle, n)
	for i := range bundles {
		b := s.fx.NewBundle(t)
		bundles[i] = b
		t.Cleanup(func() { s.gone(t, b) })
	}
	var wg sync.WaitGroup
	errs := make([]error, n)
	for i, b := range bundles {
		wg.Go(func() {
			ctx := context.Background()
			errs[i] = errors.Join(s.Create(ctx, b), s.Start(ctx, b))
		})
	}
	wg.Wait()
	must(t, errors.Join(errs...))
	for _, b := range bundles {
		s.ready(t, b)
	}
	// One is deleted; the others do not notice.
	must(t, s.Delete(context.Background(), bundles[0].ID))
	for _, b := range bundles[1:] {
		s.ready(t, b)
	}
}
