package sandbox

import (
	"cmp"
	"context"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"daytona/api/runnerapi"
	"daytona/controlplane/fleet"
	"daytona/controlplane/image"
	"daytona/controlplane/snapshot"
	"daytona/internal/chunkstore"
)

// Runners is what a Manager needs of the fleet.
type Runners interface {
	Place(ctx context.Context, w fleet.Want) (fleet.Member, error)
	Member(id string) (fleet.Member, error)
	Members() []fleet.Member
}

// Snapshots is what a Manager needs of the snapshots.
type Snapshots interface {
	Resolve(ctx context.Context, orgID, idOrName string) (snapshot.Snapshot, error)
	Used(ctx context.Context, id string)
	Get(ctx context.Context, orgID, idOrName string) (snapshot.Snapshot, error)
	// Capture begins to make a snapshot of a sandbox.
	Capture(ctx context.Context, c snapshot.Capture) (snapshot.Snapshot, error)
	Delete(ctx context.Context, by snapshot.By, idOrName string) error
}

// Images is what a Manager needs of the images.
type Images interface {
	Get(ctx context.Context, name string) (image.Image, error)
	Check(ctx context.Context, i image.Image) error
	Use(ctx context.Context, i image.Image, runner string, at time.Time) (image.Image, error)
	Ensure(ctx context.Context, m fleet.Member, name string) error
	// Report stores what its runner says of an image; a Conflict when it has changed.
	Report(ctx context.Context, i image.Image, seen runnerapi.Snapshot) error
	Log(ctx context.Context, name, runner string, follow bool, w io.Writer) error
	Wake()
}

// Regions is what a Manager needs of the regions.
type Regions interface {
	Resolve(ctx context.Context, orgID, target string) (string, error)
}

// Config is what a Manager needs.
type Config struct {
	Store     Store
	Runners   Runners
	Snapshots Snapshots
	Images    Images
	Regions   Regions
	// Archives is where the files of archived sandboxes are; nil is nowhere, and
	// nothing can be archived.
	Archives *chunkstore.Store
	// BackupEvery is how often sandboxes that run are backed up unasked, and says
	// that they are after a stop; 0 is never.
	BackupEvery time.Duration
	Log         *slog.Logger
	// Metrics is where the Manager registers its metrics; nil is nowhere.
	Metrics prometheus.Registerer

	// AnswerWithin is how long a call waits for what it began before it
	// answers with the state under way. Defaults to 2 seconds.
	AnswerWithin time.Duration
	// Resync is the time between two comparisons of all rows with what the
	// runners report. Defaults to 30 seconds.
	Resync time.Duration
	// Workers bounds how many sandboxes are driven at once in the
	// background. Defaults to 32. Calls have no bound of their own.
	Workers int
	// Now is the clock. Defaults to time.Now.
	Now func() time.Time
}

// Manager makes sandboxes and keeps them as they should be.
type Manager struct {
	c   Config
	log *slog.Logger
	met *metrics

	// life ends when the Manager is closed; work that a call began goes on
	// under it when the caller has left.
	life context.Context
	end  context.CancelFunc
	busy sync.WaitGroup

	mu      sync.Mutex
	workers map[string]*worker // by sandbox id
	closed  bool

	timers   *schedule
	waiting  *waiting // sandboxes that wait for images
	suspects sync.Map // ids of sandboxes that may have changed by themselves
	retries  *retries
	saving   chan struct{} // holds a token for each backup under way
	activity *activity
	targets  *targets
}

// NewManager returns a Manager. Run must run for it to do what is not asked for
// by a call: auto-stop, recovery, retries.
func NewManager(c Config) *Manager {
	c.AnswerWithin = cmp.Or(c.AnswerWithin, 2*time.Second)
	c.Resync = cmp.Or(c.Resync, 30*time.Second)
	c.Workers = cmp.Or(c.Workers, 32)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	life, end := context.WithCancel(context.Background())
	return &Manager{
		c: c, log: c.Log, met: newMetrics(c.Metrics, c.Store), life: life, end: end,
		workers: map[string]*worker{}, waiting: newWaiting(), timers: newSchedule(),
		retries: &retries{n: map[string]int{}}, saving: make(chan struct{}, backupsAtOnce), activity: newActivity(), targets: newTargets(),
	}
}
