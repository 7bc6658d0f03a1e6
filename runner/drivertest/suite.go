// Package drivertest holds the promises of runner.Driver against an
// implementation.
package drivertest

import (
	"testing"

	"daytona/runner"
)

// Features says which promises can be held against a driver. What is false is
// a known property of the driver, not a test that was forgotten.
type Features struct {
	// Isolated: containers have their own root, ids, host name and processes.
	Isolated bool
	// Limits: CPU, memory and process limits hold, and Stats tells the truth.
	Limits bool
	// SharedKernel: system calls reach the host's kernel, so they must be
	// filtered.
	SharedKernel bool
	// SetUID: set-user-id programs work inside, for sudo.
	SetUID bool
	// Outlives: a container outlives the process that created it.
	Outlives bool
	// ExitCodes: Wait tells exit codes on this machine.
	ExitCodes bool
}

// Fixture is what the suite needs beside the driver.
type Fixture interface {
	Features() Features
	// NewBundle returns a ready bundle, with a root file system and a network
	// that are removed with the test. Its first process is the probe, which
	// serves HTTP on port Port.
	NewBundle(t testing.TB) runner.Bundle
	// Renew makes the network of a stopped container ready for its next start,
	// if the engine takes something from it (gVisor takes the address).
	Renew(t testing.TB, b runner.Bundle)
	// Port is where the probe of a bundle listens.
	Port(b runner.Bundle) int
	// State is from where Main's open opens the same driver in another
	// process.
	State() string
	// Reopen returns a driver on the same state, as after a restart.
	Reopen(t testing.TB) runner.Driver
	// Litter describes what is left of a container on the host that has been
	// deleted: groups, processes, files, mounts.
	Litter(t testing.TB, b runner.Bundle) []string
}

// Run runs every case that the fixture's features allow.
func Run(t *testing.T, newDriver func(t *testing.T) (runner.Driver, Fixture)) {
	d, fx := newDriver(t)
	s := &suite{Driver: d, fx: fx, features: fx.Features()}
	for _, c := range s.cases() {
		t.Run(c.name, func(t *testing.T) {
			if !c.applies {
				t.Skipf("does not apply to the features of %s: %+v", d.Name(), s.features)
			}
			c.run(t)
		})
	}
}

type suite struct {
	runner.Driver
	fx       Fixture
	features Features
}

type testCase struct {
	name    string
	applies bool
	run     func(t *testing.T)
}

func (s *suite) cases() []testCase {
	f := s.features
	return []testCase{
		{"lifecycle", true, s.lifecycle},
		{"repeated calls", true, s.repeated},
		{"made and started in one", true, s.launched},
		{"unknown ids", true, s.unknown},
		{"bad bundles", true, s.badBundles},
		{"failed create leaves nothing", f.Isolated, s.failedCreate},
		{"cancelled create leaves nothing", true, s.cancelledCreate},
		{"delete from every state", true, s.deleteStates},
		{"stop asks first", true, s.stopAsks},
		{"stop kills after grace", true, s.stopKills},
		{"create after stop", true, s.createAgain},
		{"many at once", true, s.atOnce},
		{"second instance", true, s.secondInstance},
		{"connections end with it", true, s.connectionsEnd},
		{"outlives its creator", f.Outlives, s.outlives},
		{"creator killed at any moment", f.Outlives, s.killedCreator},

		{"wait: user", true, s.waitUser},
		{"wait: exit", true, s.waitExit},
		{"wait: ended while nobody watched", f.Outlives, s.waitLate},
		{"wait: cancelled", true, s.waitCancelled},
		{"wait: deleted meanwhile", true, s.waitDeleted},
		{"wait: out of memory", f.Limits, s.waitMemory},
		{"wait: pids", f.Limits, s.waitPids},

		{"limits hold", f.Limits, s.limitsHold},
		{"background", f.Limits, s.background},
		{"limits change while it runs", f.Limits, s.limitsChange},
		{"a child out of memory", f.Limits, s.childMemory},
		{"stats", f.Limits, s.stats},

		{"what it was told", f.Isolated, s.asTold},
		{"mounts", f.Isolated, s.mounts},
		{"confined", f.Isolated, s.confined},
		{"set-user-id programs", f.Isolated, s.setUID},
		{"root inside is nobody outside", f.SharedKernel, s.userNamespace},
		{"refused system calls", f.SharedKernel, s.refusedCalls},
	}
}
