package drivertest

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"daytona/api/runnerapi"
	"daytona/runner"
)

// helperEnv holds the state from which a helper process opens the driver.
const helperEnv = "DRIVERTEST_STATE"

// Main runs a package's tests. In the processes that the suite starts to kill
// them, it creates and starts the container whose bundle it reads, instead.
// A package whose driver has the feature Outlives calls it from TestMain.
func Main(m *testing.M, open func(state string) (runner.Driver, error)) {
	state := os.Getenv(helperEnv)
	if state == "" {
		os.Exit(m.Run())
	}
	fmt.Println("failed:", help(state, open))
	os.Exit(1)
}

// help does not return unless it fails.
func help(state string, open func(state string) (runner.Driver, error)) error {
	d, err := open(state)
	if err != nil {
		return err
	}
	var b runner.Bundle
	if err := json.NewDecoder(os.Stdin).Decode(&b); err != nil {
		return err
	}
	fmt.Println("creating")
	if err := launch(context.Background(), d, b); err != nil {
		return err
	}
	fmt.Println("started")
	select {} // until it is killed
}

// helper starts a process that creates and starts a container. It returns
// once that process has said word.
func (s *suite) helper(t testing.TB, b runner.Bundle, word string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
	cmd.Env = append(os.Environ(), helperEnv+"="+s.fx.State())
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	must(t, json.NewEncoder(in).Encode(b))
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadString('\n')
		if strings.TrimSpace(line) == word {
			return cmd
		}
		if err == io.EOF || strings.HasPrefix(line, "failed") {
			t.Fatalf("the helper ended: %s", line)
		}
		must(t, err)
	}
}

func (s *suite) secondInstance(t *testing.T) {
	if !s.features.Outlives {
		t.Log("the driver keeps its containers in memory; nothing to find again")
		return
	}
	ctx := context.Background()
	created := s.create(t)
	running, _ := s.start(t)
	stopped, _ := s.start(t)
	must(t, s.Stop(ctx, stopped.ID, 0))

	again := *s
	again.Driver = s.fx.Reopen(t)
	if c := again.inspect(t, created.ID); !c.Created || c.Running {
		t.Errorf("created: %+v", c)
	}
	if c := again.inspect(t, running.ID); c.Created || !c.Running || c.PID != s.inspect(t, running.ID).PID {
		t.Errorf("running: %+v", c)
	}
	if c := again.inspect(t, stopped.ID); c.Created || c.Running {
		t.Errorf("stopped: %+v", c)
	}
	for _, b := range []runner.Bundle{created, running, stopped} {
		if !again.listed(t, b.ID) {
			t.Errorf("%s is not listed", b.ID)
		}
	}
	again.ready(t, running)
	must(t, again.Start(ctx, created))
	again.ready(t, created)
	must(t, again.Stop(ctx, running.ID, patience))
	if e := again.wait(t, running.ID); e.Cause != runnerapi.CauseUser {
		t.Errorf("cause %q, want user", e.Cause)
	}
	again.gone(t, running)
}

func (s *suite) outlives(t *testing.T) {
	b := s.fx.NewBundle(t)
	t.Cleanup(func() { s.gone(t, b) })
	cmd := s.helper(t, b, "started")
	c := s.ready(t, b)
	must(t, cmd.Process.Kill())
	_ = cmd.Wait()
	// It writes to where the killed process cannot read any more, and lives.
	for range 3 {
		if _, err := c.get("/ping"); err != nil {
			t.Fatal(err)
		}
	}
	if got := s.inspect(t, b.ID); !got.Running {
		t.Errorf("%+v", got)
	}
	_, _ = c.get("/exit", "code", "5")
	e := s.wait(t, b.ID)
	if e.Cause != runnerapi.CauseExit {
		t.Errorf("%+v", e)
	}
}

// killedCreator kills the creating process at many moments. Whatever it left,
// the next one can go on with it or remove it.
func (s *suite) killedCreator(t *testing.T) {
	for i := range 8 {
		b := s.fx.NewBundle(t)
		t.Cleanup(func() { s.gone(t, b) })
		cmd := s.helper(t, b, "creating")
		// The moment matters, not how long it takes to get there.
		time.Sleep(time.Duration(i*20) * time.Millisecond)
		must(t, cmd.Process.Kill())
		_ = cmd.Wait()
		if i%2 == 0 {
			s.gone(t, b)
			continue
		}
		ctx := context.Background()
		if _, err := s.Inspect(ctx, b.ID); err != nil || !s.inspect(t, b.ID).Running {
			s.fx.Renew(t, b)
		}
		must(t, s.Create(ctx, b))
		if err := s.Start(ctx, b); err != nil {
			// It was killed amid a start that cannot be finished.
			t.Logf("Start: %v", err)
			must(t, s.Delete(ctx, b.ID))
			s.fx.Renew(t, b)
			must(t, s.Create(ctx, b))
			must(t, s.Start(ctx, b))
		}
		s.ready(t, b)
		if c := s.inspect(t, b.ID); !c.Running {
			t.Errorf("%+v", c)
		}
	}
}
