//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"daytona/api/runnerapi"
	"daytona/controlplane/storage"
	"daytona/internal/fault"
	"daytona/runner/builder"
	"daytona/runner/local"
)

// databaseFile is the SQLite file in the data directory.
const databaseFile = "daytona.db"

func openStore(ctx context.Context, s *settings, log *slog.Logger) (*storage.DB, error) {
	dsn := s.Database
	if dsn == "" {
		dsn = filepath.Join(s.Data, databaseFile)
	}
	return storage.Open(ctx, dsn, log)
}

// openExistingStore is for commands that work on what a server made.
func openExistingStore(ctx context.Context, s *settings, log *slog.Logger) (*storage.DB, error) {
	if s.Database == "" {
		if _, err := os.Stat(filepath.Join(s.Data, databaseFile)); errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("there is no database in %s: start the server once, or name its directory with --data", s.Data)
		}
	}
	return openStore(ctx, s, log)
}

// openRunner opens the runner of this host. It recovers the sandboxes that an
// earlier process left.
func openRunner(ctx context.Context, s *settings, log *slog.Logger, metrics *prometheus.Registry) (backend, error) {
	cfg, err := runnerConfig(s, log)
	if err != nil {
		return nil, err
	}
	cfg.Log, cfg.Registerer = log, metrics
	opened, err := local.Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return &offering{backend: opened, names: s.offered()}, nil
}

// offering is a runner of which requests can have only the isolations that the
// operator offers. The runner itself may have one more, for its own builds.
type offering struct {
	backend
	names []string
}

// Info implements runnerapi.Runner.
func (o *offering) Info(ctx context.Context) (runnerapi.Info, error) {
	info, err := o.backend.Info(ctx)
	info.Isolations = o.names
	return info, err
}

// Reserve implements runnerapi.Runner.
func (o *offering) Reserve(ctx context.Context, spec runnerapi.Spec) (string, bool) {
	if o.check(spec) != nil {
		return "", false
	}
	return o.backend.Reserve(ctx, spec)
}

// Create implements runnerapi.Runner.
func (o *offering) Create(ctx context.Context, spec runnerapi.Spec) (runnerapi.Sandbox, error) {
	if err := o.check(spec); err != nil {
		return runnerapi.Sandbox{}, err
	}
	return o.backend.Create(ctx, spec)
}

func (o *offering) check(spec runnerapi.Spec) error {
	if spec.Isolation == "" || slices.Contains(o.names, spec.Isolation) {
		return nil
	}
	return fault.New(fault.Invalid, "isolation %q is not offered", spec.Isolation)
}

func runnerConfig(s *settings, log *slog.Logger) (local.Config, error) {
	cfg := local.Config{
		DataDir: s.Data, GVisorPlatform: s.GVisorPlatform, RuncNewPrivileges: s.RuncPrivileges,
		CgroupParent: s.CgroupParent, Disk: s.Disk, NetworkPrefix: s.NetworkPrefix, DNS: s.DNS,
		RegistryMirrors: s.RegistryMirrors, BaseImage: s.BaseImage, Snapshots: s.Snapshots, Warm: s.warm(),
		ImageJobs: s.Build.Jobs, BuildCacheBytes: int64(s.Build.Cache) << 30,
		Build: builder.Limits{
			CPU: float64(s.Build.CPU), MemoryBytes: int64(s.Build.Memory) << 30, DiskBytes: int64(s.Build.Disk) << 30, Time: s.Build.Timeout,
		},
	}
	if s.NetworkRange != "" {
		cfg.Outer4 = netip.MustParsePrefix(s.NetworkRange) // checked
	}
	if s.NetworkRange6 != "" {
		cfg.Outer6 = netip.MustParsePrefix(s.NetworkRange6) // checked
	}
	for _, text := range s.AllowPrivate {
		cfg.AllowPrivate = append(cfg.AllowPrivate, netip.MustParsePrefix(text)) // checked
	}
	if s.Isolation == isolationFake {
		log.Warn("isolation fake guards nothing: code in sandboxes runs as this user on this machine. Use it only to test programs that call the API")
	} else if os.Geteuid() != 0 {
		return cfg, fmt.Errorf("isolation %s needs root: start the server as root", s.Isolation)
	}
	var err error
	if cfg.Toolbox, err = program(s.Toolbox, "toolbox"); err != nil {
		return cfg, err
	}
	for _, e := range []struct {
		isolation, name, given string
		path                   *string
	}{
		{isolationGVisor, "runsc", s.Runsc, &cfg.Runsc},
		{isolationRunc, "runc", s.Runc, &cfg.Runc},
	} {
		if *e.path, err = program(e.given, e.name); err != nil && slices.Contains(s.offered(), e.isolation) {
			return cfg, err
		}
	}
	cfg.Isolations = s.offered()
	// Snapshots are made quicker under runc, from scripts that are our own: it
	// comes along where it is there. Requests get the default.
	if s.Isolation == isolationGVisor && s.Isolations == nil && cfg.Runc != "" {
		cfg.Isolations = append(cfg.Isolations, isolationRunc)
	}
	return cfg, nil
}
