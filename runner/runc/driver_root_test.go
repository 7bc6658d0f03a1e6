//go:build root

package runc_test

import (
	"os"
	"path/filepath"
	"testing"

	"daytona/runner"
	"daytona/runner/drivertest"
	"daytona/runner/runc"
)

func open(root, cgroupParent string) (runner.Driver, error) {
	binary := os.Getenv("DAYTONA_RUNC")
	if binary == "" {
		binary = filepath.Join("..", "..", "bin", "runc")
	}
	return runc.New(runc.Config{Binary: binary, Root: root, CgroupParent: cgroupParent})
}

func TestMain(m *testing.M) {
	drivertest.Main(m, func(state string) (runner.Driver, error) {
		return open(state, drivertest.CgroupParent("runc"))
	})
}

func TestDriver(t *testing.T) {
	drivertest.Run(t, func(t *testing.T) (runner.Driver, drivertest.Fixture) {
		return drivertest.NewHost(t, drivertest.HostConfig{
			Name: "runc", UserNS: 500000, Open: open,
			Features: drivertest.Features{Isolated: true, Limits: true, SharedKernel: true, Outlives: true, ExitCodes: true},
		})
	})
}

// An operator may move the control groups of sandboxes while some run.
func TestControlGroupMoved(t *testing.T) {
	moved := ""
	d, fx := drivertest.NewHost(t, drivertest.HostConfig{
		Name: "runc", UserNS: 500000, Features: drivertest.Features{Isolated: true, Limits: true},
		Open: func(root, cgroupParent string) (runner.Driver, error) { return open(root, cgroupParent+moved) },
	})
	b := fx.NewBundle(t)
	ctx := t.Context()
	for _, do := range []func() error{
		func() error { return d.Create(ctx, b) },
		func() error { return d.Start(ctx, b) },
	} {
		if err := do(); err != nil {
			t.Fatal(err)
		}
	}
	moved = "/moved"
	again := fx.Reopen(t)
	if stats, err := again.Stats(ctx, b.ID); err != nil || stats.Pids == 0 {
		t.Errorf("stats of a container made under another parent: %+v, %v", stats, err)
	}
	if err := again.Delete(ctx, b.ID); err != nil {
		t.Fatal(err)
	}
	if litter := fx.Litter(t, b); len(litter) > 0 {
		t.Errorf("left behind: %v", litter)
	}
}
