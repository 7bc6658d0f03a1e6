//go:build linux

package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"daytona/internal/footprint"
)

// fault breaks something and, before it returns, mends what would not mend
// itself. It reports whether there was something to break.
type fault struct {
	name   string
	strike func(context.Context, *rand.Rand) (bool, error)
}

// faults are those that the world at hand allows.
func (r *run) faults() []fault {
	all := []fault{
		{"kill -9 of the server", r.killServer},
		{"kill -9 of an engine's process", r.killEngine},
		{"connections cut", func(context.Context, *rand.Rand) (bool, error) { r.cutter.cut(); return true, nil }},
		{"connections delayed", func(ctx context.Context, rnd *rand.Rand) (bool, error) {
			d := between(rnd, 200*time.Millisecond, 2*time.Second)
			r.cutter.delay(d)
			return true, pause(ctx, d)
		}},
		{"kill -9 of the object store", func(context.Context, *rand.Rand) (bool, error) {
			return r.signalStore(syscall.SIGKILL)
		}},
		{"object store hangs", r.hangStore},
	}
	for _, f := range r.Faults {
		all = append(all, fault{f.Name, f.strike})
	}
	if r.Postgres != nil {
		all = append(all, fault{"kill -9 of PostgreSQL", r.killPostgres})
	}
	return all
}

// harass strikes until ctx ends. It returns the first fault that could not be
// mended.
func (r *run) harass(ctx context.Context) error {
	rnd := rand.New(rand.NewPCG(r.Seed, 1)) //nolint:gosec // to be repeated, not to be secret
	faults := r.faults()
	for pause(ctx, between(rnd, r.Every/2, r.Every*3/2)) == nil {
		f := faults[rnd.IntN(len(faults))]
		r.calm.begin()
		// A fault once begun is mended, also when the time is over.
		struck, err := f.strike(context.WithoutCancel(ctx), rnd)
		r.calm.end()
		if struck {
			r.tally.fault(f.name)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
	}
	return nil
}

func (r *run) killServer(ctx context.Context, rnd *rand.Rand) (bool, error) {
	r.Server.Kill()
	if err := pause(ctx, between(rnd, 0, time.Second)); err != nil {
		return true, err
	}
	return true, r.Server.Start(ctx)
}

// killEngine ends a process that runs a sandbox or serves its files.
func (r *run) killEngine(_ context.Context, rnd *rand.Rand) (bool, error) {
	all, err := r.host().Processes()
	if err != nil {
		return false, err
	}
	all = slices.DeleteFunc(all, func(p string) bool {
		_, command, _ := strings.Cut(p, " ")
		return !strings.HasPrefix(command, "runsc-") || footprint.ID.FindString(command) == ""
	})
	if len(all) == 0 {
		return false, nil
	}
	pid, command, _ := strings.Cut(all[rnd.IntN(len(all))], " ")
	r.strike(footprint.ID.FindString(command))
	number, err := strconv.Atoi(pid)
	if err != nil {
		return false, err
	}
	if err := syscall.Kill(number, syscall.SIGKILL); err != nil && err != syscall.ESRCH {
		return false, err
	}
	return true, nil
}

func (r *run) hangStore(ctx context.Context, rnd *rand.Rand) (bool, error) {
	if ok, err := r.signalStore(syscall.SIGSTOP); !ok || err != nil {
		return ok, err
	}
	if err := pause(ctx, between(rnd, time.Second, 4*time.Second)); err != nil {
		return true, err
	}
	return r.signalStore(syscall.SIGCONT)
}

// signalStore sends a signal to the object store, a child of the server.
func (r *run) signalStore(s syscall.Signal) (bool, error) {
	server := r.Server.PID()
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", server, server))
	if err != nil {
		return false, nil // it doesn't run
	}
	// A child belongs to the thread that started it.
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", server))
	if err != nil {
		return false, nil
	}
	for _, t := range threads {
		more, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", server, t.Name()))
		children = append(append(children, ' '), more...)
	}
	for _, child := range strings.Fields(string(children)) {
		command, _ := os.ReadFile("/proc/" + child + "/cmdline")
		pid, err := strconv.Atoi(child)
		if err == nil && strings.Contains(string(command), "\x00object-store\x00") {
			if err := syscall.Kill(pid, s); err != nil && err != syscall.ESRCH {
				return false, err
			}
			return true, nil
		}
	}
	return false, nil
}

// strike begins the fault and ends it after some seconds.
func (f Fault) strike(ctx context.Context, rnd *rand.Rand) (bool, error) {
	end, err := f.Begin()
	if err != nil {
		return false, err
	}
	_ = pause(ctx, between(rnd, time.Second, 4*time.Second)) // what counts is that it ends
	return true, end()
}

func (r *run) killPostgres(ctx context.Context, rnd *rand.Rand) (bool, error) {
	r.Postgres.Kill()
	if err := pause(ctx, between(rnd, 0, 2*time.Second)); err != nil {
		return true, err
	}
	return true, r.Postgres.Start(ctx)
}

func between(rnd *rand.Rand, low, high time.Duration) time.Duration {
	return low + time.Duration(rnd.Int64N(int64(high-low)+1))
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
