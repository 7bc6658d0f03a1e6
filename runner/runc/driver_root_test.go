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
