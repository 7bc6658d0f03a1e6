package runner

import (
	"context"
	"io"
	"net"
	"time"

	"daytona/api/runnerapi"
)

// Driver isolates sandboxes with one engine. It knows containers: processes in
// a root file system and a network namespace that others have prepared. It does
// not know images, pools or toolbox requests.
//
// A container outlives the process that made it: nothing may be kept only in
// memory, and no file descriptor, pipe or parent-child relation to this process
// may be needed while a container lives. After a restart every method works on a
// container that an earlier process created, found again through Bundle.Dir.
//
// Every method may be repeated, and may be called at any time from any
// goroutine; calls for one id are serialised by the caller. Errors are faults;
// an unknown id is fault.NotFound, except in Delete.
//
// drivertest.Run holds each of these promises against an implementation.
type Driver interface {
	// Name is the isolation's name in specs and answers: "gvisor", "runc".
	Name() string
	// Create makes the container and its cgroup, ready to start. It leaves
	// nothing behind when it fails.
	Create(ctx context.Context, b Bundle) error
	// Start runs the container's process. It returns when the process has
	// been started, not when it is ready.
	Start(ctx context.Context, b Bundle) error
	// Stop asks PID 1 to end (SIGTERM), waits for grace, then kills every
	// process. With grace 0 it kills at once. It returns when no process is left.
	Stop(ctx context.Context, id string, grace time.Duration) error
	// Delete kills and removes the container, its cgroup and the engine's
	// state. Unknown ids are no error. The bundle directory is the caller's.
	Delete(ctx context.Context, id string) error
	// Inspect reports one container.
	Inspect(ctx context.Context, id string) (Container, error)
	// List reports every container of this driver, made by whichever process.
	List(ctx context.Context) ([]Container, error)
	// Wait blocks until no process of the container is left, however it came
	// to that, and says how it ended. It costs no polling while it blocks.
	Wait(ctx context.Context, id string) (runnerapi.End, error)
	// Stats reports what the container uses at the moment.
	Stats(ctx context.Context, id string) (Stats, error)
	// Dial connects to a TCP port inside the container, through its network
	// namespace as Bundle described it. It works while the container runs.
	Dial(ctx context.Context, b Bundle, port int) (net.Conn, error)
}

// Launcher is a Driver that makes and starts a container in one step.
type Launcher interface {
	// Run is Create and Start. A container whose process ends at once may be
	// an error.
	Run(ctx context.Context, b Bundle) error
}

// Backgrounder is a Driver that can hold a container back while others work.
type Backgrounder interface {
	// SetBackground says whether a container that exists gets only the
	// processor time that no other container wants, as one made with
	// Bundle.Background does, or its share by Bundle.Limits. A container that
	// has ended is a Conflict.
	SetBackground(ctx context.Context, b Bundle, on bool) error
}

// Resizer is a Driver that can change the limits of a container that lives.
type Resizer interface {
	// SetLimits gives a container b.Limits, in which zeros change nothing. It is
	// in force when SetLimits returns. A container that has ended is a Conflict; so
	// is a memory limit below what is in use.
	SetLimits(ctx context.Context, b Bundle) error
}

// Attacher is a Driver that can run a container to its end, for steps of a
// build.
type Attacher interface {
	// RunToEnd makes a container, runs it, writes what it prints to out, and
	// removes it. It ends the container when ctx ends, and returns ctx's cause.
	// A killed process leaves what List shows and Delete removes.
	RunToEnd(ctx context.Context, b Bundle, out io.Writer) (runnerapi.End, error)
}

// Bundle is what a container is made of. It is stored as JSON with the sandbox.
type Bundle struct {
	ID       string
	Dir      string // directory for this container's files; exists, owned by the runner
	RootFS   string // mounted root file system
	IDMapped bool   // RootFS shows host ids shifted by UserNS; see UserNS
	NetNS    string // path of the network namespace; "" for a driver without
	Addr     string // address at which the host reaches the container's inner address
	Hostname string
	Args     []string // argv of PID 1, the toolbox
	Env      []string
	Cwd      string
	UID, GID uint32
	Groups   []uint32
	Mounts   []Mount
	Limits   Limits
	// Background containers begin with the processor time that no other
	// container wants. A driver that is no Backgrounder ignores it.
	Background bool
	// UserNS is the first host id of the 65536 that container ids map to, for
	// drivers that use a user namespace; 0 means none.
	UserNS uint32
}

// Mount is a bind mount of one host file or directory into the container.
type Mount struct {
	Source   string
	Target   string
	ReadOnly bool
}

// Limits bound what a container may use. Zero means unlimited, except Pids
// (driver's default).
type Limits struct {
	CPU         float64
	MemoryBytes int64
	Pids        int64
}

// Container is a driver's view of one container.
type Container struct {
	ID      string
	Created bool // exists, not started yet
	Running bool
	PID     int // host pid of the engine's or the container's init process
}

// Stats is what a container uses.
type Stats struct {
	MemoryBytes int64 // of its cgroup, page cache excluded
	CacheBytes  int64 // page cache of its cgroup, which the kernel can take back
	CPUTime     time.Duration
	Pids        int64
	OOMKills    int64
}
