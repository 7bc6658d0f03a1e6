// Package local puts together a runner for the host it runs on: images and root
// file systems, networks and isolation engines.
package local

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"daytona/images"
	"daytona/internal/fault"
	"daytona/runner"
	"daytona/runner/builder"
	"daytona/runner/fakedriver"
	"daytona/runner/gvisor"
	"daytona/runner/netns"
	"daytona/runner/rootfs"
	"daytona/runner/runc"
)

// Isolations that a Config can name.
const (
	GVisor = "gvisor"
	Runc   = "runc"
	Fake   = "fake" // guards nothing; for tests of programs that call the API
)

// DefaultSnapshot is the snapshot that is made where the operator names none.
const DefaultSnapshot = "daytona-slim"

// Config configures a runner of this host.
type Config struct {
	// DataDir holds everything: records, images, roots, engine state. Required.
	DataDir string
	ID      string // names the runner; defaults to the host's name
	// Isolations on offer, the default first. Fake must be alone. Required.
	Isolations []string

	Runsc             string // path of gVisor's runsc
	GVisorPlatform    string // "systrap" (default), "kvm" or "ptrace"
	Runc              string // path of runc
	RuncNewPrivileges bool   // lets sudo work under runc
	Toolbox           string // path of the toolbox program; required
	CgroupParent      string // default "/daytona"
	Disk              string // writable layer: "auto", "loop" or "btrfs"
	NetworkPrefix     string // of devices, namespaces and tables; default "dtn"
	AllowPrivate      []netip.Prefix
	DNS               []string     // upstream servers; default those of the host
	Outer4            netip.Prefix // addresses of sandboxes as the host sees them; netns has a default
	Outer6            netip.Prefix
	ReadyNetworks     int // slots made ahead; default 4 more than the warm pool holds
	RegistryMirrors   map[string]string
	BaseImage         string         // of the default snapshot; default DefaultBaseImage
	BuildCA           string         // trusted certificates while it is built; default the host's
	Snapshots         []string       // made from our definitions; default the default one
	NoDefaultSnapshot bool           // makes no snapshot
	Build             builder.Limits // of one RUN step of a build; zero fields have defaults
	BuildCacheBytes   int64          // what the build cache may hold; default 20 GiB
	ImageJobs         int            // images made at once; the runner has a default
	Warm              map[string]int
	Default           runner.Size
	Parallel          int
	MemoryReserveMiB  int64
	Log               *slog.Logger
	Registerer        prometheus.Registerer
}

// Open opens the parts and the runner over them. Close of the runner closes all.
func Open(ctx context.Context, cfg Config) (_ *runner.Runner, err error) {
	if cfg.DataDir == "" || len(cfg.Isolations) == 0 {
		return nil, errors.New("local runner: DataDir and Isolations are required")
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	// Others may pass, not look: what lives in a user namespace goes through
	// here to its root.
	if err := os.MkdirAll(cfg.DataDir, 0o711); err != nil {
		return nil, fmt.Errorf("local runner: %w", err)
	}
	rc := runner.Config{
		Dir: filepath.Join(cfg.DataDir, "runner"), ID: cfg.ID, Toolbox: cfg.Toolbox,
		Warm: cfg.Warm, Default: cfg.Default, Parallel: cfg.Parallel, MemoryReserveMiB: cfg.MemoryReserveMiB,
		ImageJobs: cfg.ImageJobs, Log: cfg.Log, Registerer: cfg.Registerer,
	}
	defer func() {
		if err != nil { // what was opened before the failure
			for i := len(rc.Parts) - 1; i >= 0; i-- {
				err = errors.Join(err, rc.Parts[i].Close())
			}
		}
	}()
	if cfg.Isolations[0] == Fake {
		if len(cfg.Isolations) > 1 {
			return nil, fault.New(fault.Invalid, "fake cannot be offered beside an isolation that guards")
		}
		err = addFake(cfg, &rc)
	} else {
		err = addReal(ctx, cfg, &rc)
	}
	if err != nil {
		return nil, err
	}
	return runner.Open(ctx, rc)
}

// snapshots are the names of those that are made here.
func (c Config) snapshots() []string {
	if len(c.Snapshots) == 0 {
		return []string{DefaultSnapshot}
	}
	return c.Snapshots
}

// addFake fills in what works without root. A snapshot of ours is an empty image
// of its name.
func addFake(cfg Config, rc *runner.Config) error {
	defs, err := images.Named(cfg.snapshots()...)
	if err != nil {
		return fault.Wrap(err, fault.Invalid, "snapshots: %s", err)
	}
	var names []string
	for _, def := range defs {
		names = append(names, def.Name)
	}
	dir := filepath.Join(cfg.DataDir, "fake")
	driver, err := fakedriver.New(fakedriver.Config{Toolbox: cfg.Toolbox, Dir: filepath.Join(dir, "containers")})
	if err != nil {
		return err
	}
	roots, err := fakedriver.NewRoots(filepath.Join(dir, "roots"), names...)
	if err != nil {
		return err
	}
	network, err := fakedriver.NewNetwork(filepath.Join(dir, "network"))
	if err != nil {
		return err
	}
	rc.Drivers, rc.Roots, rc.Network = []runner.Driver{driver}, roots, network
	return nil
}

// addReal fills in the parts that need root.
func addReal(ctx context.Context, cfg Config, rc *runner.Config) error {
	if slices.Contains(cfg.Isolations, Runc) {
		if err := passable(cfg.DataDir); err != nil {
			return err
		}
	}
	for _, name := range cfg.Isolations {
		d, err := openDriver(cfg, name)
		if err != nil {
			return err
		}
		rc.Drivers = append(rc.Drivers, d)
	}
	rc.UserNS = []string{Runc}
	store, err := rootfs.Open(ctx, rootfs.Config{
		Dir: filepath.Join(cfg.DataDir, "images"), Disk: cfg.Disk, Mirrors: cfg.RegistryMirrors, Log: cfg.Log,
		Ready: readyDisks(cfg),
	})
	if err != nil {
		return err
	}
	rc.Roots = store
	rc.Parts = append(rc.Parts, store)
	pool, err := netns.Open(ctx, netConfig(cfg))
	if err != nil {
		return err
	}
	rc.Network = pool
	rc.Parts = append(rc.Parts, pool)
	b, err := newBuilder(cfg, rc, store)
	if err != nil {
		return err
	}
	rc.Builder = b
	rc.Parts = append(rc.Parts, b)
	if cfg.NoDefaultSnapshot {
		return nil
	}
	rc.Snapshots, err = snapshotConfigs(cfg, store)
	return err
}

func openDriver(cfg Config, name string) (runner.Driver, error) {
	state := filepath.Join(cfg.DataDir, "engines", name)
	parent := cfg.CgroupParent
	if parent == "" {
		parent = "/daytona"
	}
	switch name {
	case GVisor:
		return gvisor.New(gvisor.Config{Binary: cfg.Runsc, Root: state, CgroupParent: parent, Platform: cfg.GVisorPlatform, Log: cfg.Log})
	case Runc:
		return runc.New(runc.Config{Binary: cfg.Runc, Root: state, CgroupParent: parent, AllowNewPrivileges: cfg.RuncNewPrivileges, Log: cfg.Log})
	}
	return nil, fault.New(fault.Invalid, "isolation %q is not one of gvisor, runc, fake", name)
}

func netConfig(cfg Config) netns.Config {
	ready := cfg.ReadyNetworks
	if ready == 0 {
		ready = 4
		for _, n := range cfg.Warm {
			ready += n
		}
	}
	prefix := cfg.NetworkPrefix
	if prefix == "" {
		prefix = "dtn"
	}
	return netns.Config{
		Prefix: prefix, Ready: ready, AllowPrivate: cfg.AllowPrivate, Upstreams: cfg.DNS,
		Outer4: cfg.Outer4, Outer6: cfg.Outer6,
		StateDir: filepath.Join(cfg.DataDir, "network"), Log: cfg.Log,
	}
}

// readyDisks asks for formatted disks of the default size, ahead of creates.
func readyDisks(cfg Config) map[int64]int {
	mib := cfg.Default.DiskMiB
	if mib == 0 {
		mib = runner.DefaultSize.DiskMiB
	}
	return map[int64]int{mib << 20: 4}
}
