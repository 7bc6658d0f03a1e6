//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"daytona/api/runnerapi"
	"daytona/runner/netns"
)

// downTimeout bounds each part of going down beyond the server's own timeout.
const downTimeout = time.Minute

func downCommand() *cobra.Command {
	return withSettings(&cobra.Command{
		Use:   "down",
		Short: "Stop the server and every sandbox of a data directory; the data stays",
		Long: `Stop the server that uses the data directory, and then every sandbox. Their
files stay, and so does everything else in the directory; after the next start
of the server they can be started again. Networks and firewall rules are removed
from the host.`,
	}, func(cmd *cobra.Command, s *settings) error {
		return down(cmd.Context(), s, cmd.OutOrStdout())
	}, "data", "config", "cgroup-parent", "network-prefix", "network-range", "network-range6", "isolation", "shutdown-timeout")
}

func down(ctx context.Context, s *settings, out io.Writer) error {
	if _, err := os.Stat(s.Data); errors.Is(err, os.ErrNotExist) {
		_, err = fmt.Fprintf(out, "nothing runs: there is no %s\n", s.Data)
		return err
	}
	lock, err := stopServer(ctx, s, out)
	if err != nil {
		return err
	}
	defer lock.release()
	log := newLogger(s, os.Stderr)
	local, err := openRunner(ctx, s, log, prometheus.NewRegistry())
	if err != nil {
		return err
	}
	stopped, err := stopSandboxes(ctx, local)
	err = errors.Join(err, deleteWaiting(ctx, local))
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), downTimeout)
	defer cancel()
	if err = errors.Join(err, local.Close(closing)); err != nil {
		return err
	}
	if err := leaveHost(ctx, s); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "sandboxes stopped: %d; the data stays in %s\n", stopped, s.Data)
	return err
}

// stopServer ends the server of a data directory, if one runs, and takes its
// place, so that none starts meanwhile.
func stopServer(ctx context.Context, s *settings, out io.Writer) (*dataLock, error) {
	lock, err := lockData(s.Data)
	if !errors.Is(err, errLocked) {
		return lock, err
	}
	pid, err := strconv.Atoi(lockHolder(filepath.Join(s.Data, lockName)))
	if err != nil || pid <= 1 {
		return nil, fmt.Errorf("a server uses %s, but which process it is is not known", s.Data)
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
		return nil, fmt.Errorf("stop the server, process %d: %w", pid, err)
	}
	deadline := time.Now().Add(s.ShutdownTimeout + downTimeout)
	for {
		lock, err = lockData(s.Data)
		if err == nil {
			_, err = fmt.Fprintf(out, "server stopped (process %d)\n", pid)
			return lock, err
		}
		if !errors.Is(err, errLocked) || time.Now().After(deadline) {
			return nil, fmt.Errorf("the server does not end: %w", err)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// stopSandboxes stops every sandbox of a runner and says how many ran.
func stopSandboxes(ctx context.Context, r runnerapi.Runner) (int, error) {
	list, err := r.List(ctx)
	if err != nil {
		return 0, err
	}
	stopped := 0
	var errs []error
	for _, sb := range list {
		if sb.State != runnerapi.StateRunning && sb.State != runnerapi.StateCreating {
			continue
		}
		if _, err := r.Stop(ctx, sb.ID, false); err != nil {
			errs = append(errs, fmt.Errorf("sandbox %s: %w", sb.ID, err))
			continue
		}
		stopped++
	}
	return stopped, errors.Join(errs...)
}

// deleteWaiting removes the sandboxes of the warm pool, which nobody owns.
func deleteWaiting(ctx context.Context, r backend) error {
	var errs []error
	for _, id := range r.Waiting() {
		errs = append(errs, r.Delete(ctx, id))
	}
	return errors.Join(errs...)
}

// leaveHost removes what was made on the host beside the data: networks,
// firewall rules, the control group. Nothing runs in them any more.
func leaveHost(ctx context.Context, s *settings) error {
	if s.Isolation == isolationFake {
		return nil
	}
	err := netns.Destroy(ctx, s.NetworkPrefix)
	for _, pattern := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/*"} {
		groups, globErr := filepath.Glob(filepath.Join(pattern, filepath.Clean("/"+s.CgroupParent)))
		err = errors.Join(err, globErr)
		for _, group := range groups {
			_ = os.Remove(group) // one in which there still is something stays
		}
	}
	return err
}
