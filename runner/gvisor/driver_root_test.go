//go:build root

package gvisor_test

import (
	"os"
	"path/filepath"
	"testing"

	"daytona/runner"
	"daytona/runner/drivertest"
	"daytona/runner/gvisor"
)

func open(root, cgroupParent string) (runner.Driver, error) {
	binary := os.Getenv("DAYTONA_RUNSC")
	if binary == "" {
		binary = filepath.Join("..", "..", "bin", "runsc")
	}
	return gvisor.New(gvisor.Config{Binary: binary, Root: root, CgroupParent: cgroupParent})
}

func TestMain(m *testing.M) {
	drivertest.Main(m, func(state string) (runner.Driver, error) {
		return open(state, drivertest.CgroupParent("gvisor"))
	})
}

func TestDriver(t *testing.T) {
	for name, userNS := range map[string]uint32{"plain": 0, "user namespace": 500000} {
		t.Run(name, func(t *testing.T) {
			drivertest.Run(t, func(t *testing.T) (runner.Driver, drivertest.Fixture) {
				return drivertest.NewHost(t, drivertest.HostConfig{
					Name: "gvisor", UserNS: userNS, Open: open,
					Features: drivertest.Features{Isolated: true, Limits: true, SetUID: true, Outlives: true, ExitCodes: true},
				})
			})
		})
	}
}
