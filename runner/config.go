package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/prometheus/client_golang/prometheus"

	"daytona/api/runnerapi"
	"daytona/images"
	"daytona/runner/netns"
	"daytona/runner/rootfs"
)

// Roots makes root file systems from images. rootfs.Store is the real one.
// Every method may be repeated.
type Roots interface {
	Image(ctx context.Context, name string) (rootfs.Image, error)
	Images(ctx context.Context) ([]rootfs.Image, error)
	// Create makes the root of a sandbox; Mount makes it usable at a path.
	Create(ctx context.Context, spec rootfs.RootSpec) error
	Mount(ctx context.Context, id string) (string, error)
	Unmount(ctx context.Context, id string) error
	// Thaw lets a sandbox write that waits for room on the host's disk, because
	// it shall end. Unknown ids are no error.
	Thaw(ctx context.Context, id string) error
	// Delete unmounts and removes the root. Unknown ids are no error.
	Delete(ctx context.Context, id string) error
	// Usage says how full the sandbox's disk is.
	Usage(ctx context.Context, id string) (rootfs.Usage, error)
	// Pull fetches an image from its registry, with the credentials whose prefix
	// fits best. Each call of progress is a line to read.
	Pull(ctx context.Context, name, ref string, auths []runnerapi.RegistryAuth, progress func(string)) (rootfs.Image, error)
	// Derive gives what an image holds another name and configuration.
	Derive(ctx context.Context, from, name string, change func(*ocispec.ImageConfig)) (rootfs.Image, error)
	// RemoveImage removes a name. Roots that were made of it stay as they are.
	RemoveImage(ctx context.Context, name string) error
	// Commit makes an image of a root that is not mounted.
	Commit(ctx context.Context, id, name string, change func(*ocispec.ImageConfig)) (rootfs.Image, error)
	// Export writes what was written in a root; Import makes a root of that and
	// of the image that Base identifies.
	Export(ctx context.Context, id string, w io.Writer) error
	Base(ctx context.Context, id string) (string, error)
	Import(ctx context.Context, spec rootfs.RootSpec, base string, files io.Reader) error
	// Capture makes an image of a root, mounted or not: of its layers and of what
	// was written, with a configuration.
	Capture(ctx context.Context, id, name string, cfg ocispec.ImageConfig, progress func(string)) (rootfs.Image, error)
	// Resize gives a root that is not mounted a larger disk.
	Resize(ctx context.Context, id string, diskBytes int64) error
	// Fork makes a root with the files of another one that is not mounted.
	Fork(ctx context.Context, from string, spec rootfs.RootSpec) error
	// Reconcile removes every root whose id is not in keep.
	Reconcile(ctx context.Context, keep []string) error
}

// Network gives each sandbox a network of its own. netns.Pool is the real one.
type Network interface {
	Acquire(ctx context.Context, id string, policy runnerapi.NetworkPolicy) (netns.Slot, error)
	SetPolicy(ctx context.Context, id string, policy runnerapi.NetworkPolicy) error
	// Release gives the slot back. Unknown ids are no error.
	Release(ctx context.Context, id string) error
	// Reconcile releases every slot whose id is not in keep.
	Reconcile(ctx context.Context, keep []string) error
	// ResolvConf is the content of /etc/resolv.conf inside.
	ResolvConf() string
}

// Size is what a sandbox gets when its spec does not say.
type Size struct {
	CPU       float64 // vCPUs
	MemoryMiB int64
	DiskMiB   int64
}

// DefaultSize is the size of a sandbox when nobody says.
var DefaultSize = Size{CPU: 1, MemoryMiB: 1024, DiskMiB: 3072}

// Config configures a Runner.
type Config struct {
	// Dir holds the records and the bundles. It is created when missing, and
	// locked while a Runner is open. Required.
	Dir string
	// ID names this runner. Defaults to the host's name.
	ID string
	// Drivers are the isolations on offer, the default first. Required.
	Drivers []Driver
	// UserNS names the drivers whose containers live in a user namespace.
	UserNS  []string
	Roots   Roots   // required
	Network Network // required
	// Toolbox is the host path of the toolbox program. Required. It is copied
	// into Dir, so that an upgrade does not change sandboxes that run.
	Toolbox string
	// Warm says how many booted sandboxes to hold ready, by snapshot, or by
	// snapshot and size as in "name@2-4-10" (vCPUs, GiB of memory, GiB of disk).
	Warm map[string]int
	// RefillEvery is the least time between two boots for the pools. Defaults to
	// 200 ms; boots are one after the other, and after those that somebody waits for.
	RefillEvery time.Duration
	// Default is the size of a sandbox whose spec does not say, and of those
	// in the warm pool. Defaults to DefaultSize.
	Default Size
	// Parallel bounds how many sandboxes boot at the same time. Defaults to
	// twice the number of CPUs, at least 4.
	Parallel int
	// ReadyTimeout bounds the time from the start of a container to the first
	// answer of its toolbox. Defaults to 60 s.
	ReadyTimeout time.Duration
	// StopGrace is how long processes may take to end by themselves in Stop.
	// Defaults to 5 s.
	StopGrace time.Duration
	// MemoryReserveMiB is the free memory of the host below which the warm
	// pool does not grow. Defaults to 1024.
	MemoryReserveMiB int64
	// Snapshots says which snapshots are ours to make and how, each after the
	// one that it is made on top of.
	Snapshots []*SnapshotConfig
	// Builder makes images from Dockerfiles; nil means that this runner does not.
	Builder Builder
	// ImageJobs is how many images are pulled or built at the same time.
	// Defaults to half the number of CPUs, at least 2.
	ImageJobs int
	// Parts are closed by Close, the last first, when the runner does not
	// need them any more.
	Parts []io.Closer
	// Log defaults to slog.Default().
	Log *slog.Logger
	// Registerer receives the metrics; nil means none.
	Registerer prometheus.Registerer
}

// SnapshotConfig says how a snapshot is made.
type SnapshotConfig struct {
	Definition images.Definition
	// Base is the name of the image that the definition starts from: another
	// snapshot, or what MakeBase stores.
	Base string
	// MakeBase pulls or bootstraps the base image. It is not called when an
	// image of that name exists. Each call of progress is a line to read. It
	// is nil when the base is another snapshot.
	MakeBase func(ctx context.Context, name string, progress func(string)) error
	// Isolation of the sandbox in which the definition runs; "" or one that
	// is not offered means the runner's default.
	Isolation string
	// CA is a file of trusted certificates for the time of the build, for
	// hosts whose network inspects TLS. "" or a missing file means none.
	CA string
	// Env reaches the build's scripts, such as the address of a package mirror.
	Env map[string]string
}

func (c Config) withDefaults() (Config, error) {
	switch {
	case c.Dir == "":
		return c, errors.New("runner: Dir is required")
	case len(c.Drivers) == 0:
		return c, errors.New("runner: at least one driver is required")
	case c.Roots == nil || c.Network == nil:
		return c, errors.New("runner: Roots and Network are required")
	case c.Toolbox == "":
		return c, errors.New("runner: Toolbox is required")
	}
	seen := map[string]bool{}
	for _, d := range c.Drivers {
		if seen[d.Name()] {
			return c, fmt.Errorf("runner: driver %q is given twice", d.Name())
		}
		seen[d.Name()] = true
	}
	c.ID = or(c.ID, hostname())
	c.Default.CPU = or(c.Default.CPU, DefaultSize.CPU)
	c.Default.MemoryMiB = or(c.Default.MemoryMiB, DefaultSize.MemoryMiB)
	c.Default.DiskMiB = or(c.Default.DiskMiB, DefaultSize.DiskMiB)
	c.Parallel = or(c.Parallel, max(4, 2*runtime.NumCPU()))
	c.ReadyTimeout = or(c.ReadyTimeout, 60*time.Second)
	c.StopGrace = or(c.StopGrace, 5*time.Second)
	c.ImageJobs = or(c.ImageJobs, imageJobs())
	c.RefillEvery = or(c.RefillEvery, 200*time.Millisecond)
	c.MemoryReserveMiB = or(c.MemoryReserveMiB, 1024)
	c.Log = or(c.Log, slog.Default())
	return c, nil
}

// or returns v, or def when v is the zero value.
func or[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}
