package fakedriver_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/uuid"

	"daytona/runner"
	"daytona/runner/drivertest"
	"daytona/runner/fakedriver"
)

func open(state string) (runner.Driver, error) {
	return fakedriver.New(fakedriver.Config{Dir: state})
}

func TestMain(m *testing.M) { drivertest.Main(m, open) }

// TestDriver holds the promises that need no isolation.
func TestDriver(t *testing.T) {
	drivertest.Run(t, func(t *testing.T) (runner.Driver, drivertest.Fixture) {
		fx := &fixture{state: filepath.Join(t.TempDir(), "state"), probe: filepath.Join(t.TempDir(), "probe")}
		build := exec.CommandContext(t.Context(), "go", "build", "-o", fx.probe, "daytona/runner/drivertest/probe")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("build probe: %v\n%s", err, out)
		}
		return fx.Reopen(t), fx
	})
}

type fixture struct {
	state, probe string
}

func (fx *fixture) Features() drivertest.Features {
	return drivertest.Features{Outlives: true, ExitCodes: true}
}

func (fx *fixture) NewBundle(t testing.TB) runner.Bundle {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0") // finds a free port
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	l.Close()
	b := runner.Bundle{
		ID: uuid.NewString(), Dir: t.TempDir(), RootFS: t.TempDir(), Hostname: "fake", Cwd: "/",
		Args: []string{fx.probe}, Env: []string{"PATH=/bin", "PROBE_PORT=" + port},
	}
	d := fx.Reopen(t)
	t.Cleanup(func() {
		if err := d.Delete(context.Background(), b.ID); err != nil {
			t.Error(err)
		}
	})
	return b
}

func (fx *fixture) Renew(testing.TB, runner.Bundle) {}

func (fx *fixture) Port(b runner.Bundle) int {
	for _, kv := range b.Env {
		if v, ok := strings.CutPrefix(kv, "PROBE_PORT="); ok {
			port, err := strconv.Atoi(v)
			if err == nil {
				return port
			}
		}
	}
	panic("bundle without a port")
}

func (fx *fixture) State() string { return fx.state }

func (fx *fixture) Reopen(t testing.TB) runner.Driver {
	t.Helper()
	d, err := open(fx.state)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func (fx *fixture) Litter(t testing.TB, b runner.Bundle) []string {
	t.Helper()
	var litter []string
	if _, err := os.Stat(filepath.Join(fx.state, b.ID)); err == nil {
		litter = append(litter, "state of "+b.ID)
	}
	d, err := fakedriver.New(fakedriver.Config{Dir: fx.state})
	if err != nil {
		t.Fatal(err)
	}
	ids, err := d.Containers()
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		if id == b.ID {
			litter = append(litter, fmt.Sprintf("processes of %s", id))
		}
	}
	return litter
}
