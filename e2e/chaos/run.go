//go:build linux

package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
	"sync"
	"time"

	"daytona/api"
	"daytona/internal/footprint"
	daytona "daytona/sdk/go"
)

// Sandboxes of a run carry these labels.
const (
	label      = "chaos"
	orderLabel = "chaos-order"
)

// Process can be killed and started again.
type Process interface {
	Kill()                       // as kill -9 does; returns when it is gone
	Start(context.Context) error // returns when it answers
}

// Server is the server under test.
type Server interface {
	Process
	PID() int
}

// Config says what to work with, what to break, and how much.
type Config struct {
	URL, Key string // of the API
	Snapshot string
	Server   Server
	Host     footprint.Server // without a PID

	Faults   []Fault                     // beside those that every run has
	Postgres Process                     // nil: the server has another database
	Drain    func(context.Context) error // starts the server again without a pool
	Archive  bool                        // the server has an object store to archive to

	Seed    uint64
	For     time.Duration // how long faults and operations go on
	Every   time.Duration // between faults, in the middle
	Workers int
	Boxes   int // sandboxes a worker has at most

	Say func(format string, args ...any)
}

// Fault is something that is broken for some seconds.
type Fault struct {
	Name  string
	Begin func() (end func() error, err error)
}

type run struct {
	Config
	id     string
	client *daytona.Client
	cutter *cutter
	tally  tally
	calm   calm

	mu     sync.Mutex
	struck map[string]bool // ids of sandboxes whose engine was ended, until somebody has looked
}

// Run works, breaks, checks, and returns what came of it. An error means that
// the run itself could not go on; violations are in the report.
func Run(ctx context.Context, c Config) (Report, error) {
	u, err := url.Parse(c.URL)
	if err != nil {
		return Report{}, err
	}
	r := &run{Config: c, id: fmt.Sprintf("%x", c.Seed), struck: map[string]bool{}}
	r.tally.Report = Report{Seed: c.Seed, Operations: map[string]Counts{}, Faults: map[string]int{}}
	if r.cutter, err = newCutter(ctx, u.Host); err != nil {
		return Report{}, err
	}
	defer r.cutter.close()
	u.Host = r.cutter.listener.Addr().String()
	if r.client, err = daytona.New(daytona.WithAPIURL(u.String()), daytona.WithAPIKey(c.Key)); err != nil {
		return Report{}, err
	}
	// The server has no pool yet. What is there now is what shall be there after.
	before, err := r.host().Look()
	if err != nil {
		return Report{}, err
	}

	began := time.Now()
	workers := make([]*worker, c.Workers)
	for i := range workers {
		workers[i] = &worker{run: r, name: fmt.Sprint(i), rnd: rand.New(rand.NewPCG(c.Seed, uint64(i)+2))} //nolint:gosec // to be repeated, not to be secret
	}
	limited, cancel := context.WithTimeout(ctx, c.For)
	defer cancel()
	var wg sync.WaitGroup
	for _, w := range workers {
		wg.Go(func() { w.work(limited) })
	}
	err = r.harass(limited)
	cancel()
	wg.Wait()
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return r.tally.Report, err
	}
	c.Say("the faults are over; every sandbox must come to rest, run, and hold its files")
	err = r.examine(ctx, workers)
	if err == nil {
		err = r.clean(ctx, before)
	}
	r.tally.Took = time.Since(began)
	return r.tally.Report, err
}

func (r *run) host() footprint.Server {
	h := r.Host
	h.PID = r.Server.PID()
	return h
}

// strike notes that the engine of a sandbox is about to be ended.
func (r *run) strike(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.struck[id] = true
}

// wasStruck carries over to the box what strike has noted.
func (r *run) wasStruck(b *box) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.struck[b.id] {
		b.struck = true
		delete(r.struck, b.id)
	}
	return b.struck
}

func (t *tally) made() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.Sandboxes++
}

// examine holds everything against what the workers know, while nothing is broken.
func (r *run) examine(ctx context.Context, workers []*worker) error {
	r.calm.mu.Lock()
	r.calm.ended = time.Now().Add(-aftermath) // what fails now has no excuse
	r.calm.mu.Unlock()
	var wg sync.WaitGroup
	for _, w := range workers {
		wg.Go(func() {
			for _, b := range append([]*box(nil), w.boxes...) {
				w.settle(ctx, b)
				w.hold(ctx, b)
			}
		})
	}
	wg.Wait()
	if err := ctx.Err(); err != nil {
		return err
	}
	return r.count(ctx, workers)
}

// hold starts the sandbox if need be and reads all its files.
func (w *worker) hold(ctx context.Context, b *box) {
	switch b.known() {
	case api.SandboxDestroyed:
		return
	case api.SandboxStarted:
	default:
		if w.start(ctx, b) != done {
			return // has been noted
		}
	}
	w.inside(ctx, "read back", b, func(ctx context.Context, sb *daytona.Sandbox) error {
		for _, path := range sorted(b.files) {
			wrong, err := readBack(ctx, sb, b, path)
			if err != nil {
				return err
			}
			w.tally.wrong(wrong)
			w.tally.mu.Lock()
			w.tally.Files++
			w.tally.mu.Unlock()
		}
		return nil
	})
}

// count compares the server's list with the workers': none lost, none twice.
func (r *run) count(ctx context.Context, workers []*worker) error {
	there := map[string]string{} // id to order
	orders := map[string][]string{}
	for item, err := range r.client.List(ctx, daytona.Filter{Labels: map[string]string{label: r.id}}) {
		if err != nil {
			return err
		}
		there[item.ID] = item.Labels[orderLabel]
		orders[item.Labels[orderLabel]] = append(orders[item.Labels[orderLabel]], item.ID)
	}
	for order, ids := range orders {
		if len(ids) > 1 {
			r.tally.wrong(fmt.Sprintf("order %s was carried out more than once: %s", order, strings.Join(ids, ", ")))
		}
	}
	lost := map[string]bool{}
	for _, w := range workers {
		for _, order := range w.orders {
			lost[order] = true
		}
		for _, b := range w.boxes {
			if _, ok := there[b.id]; !ok {
				r.tally.wrong(fmt.Sprintf("sandbox %s is not in the list", b.id))
			}
			delete(there, b.id)
		}
		for _, id := range w.gone {
			if _, ok := there[id]; ok {
				r.tally.wrong(fmt.Sprintf("sandbox %s was deleted and is in the list", id))
			}
			delete(there, id)
		}
	}
	for id, order := range there {
		if !lost[order] { // a create without an answer may have been carried out
			r.tally.wrong(fmt.Sprintf("nobody made sandbox %s of order %s", id, order))
		}
	}
	return nil
}

// clean deletes every sandbox of the run and waits until the host looks as before.
func (r *run) clean(ctx context.Context, before footprint.Footprint) error {
	for {
		left, err := r.deleteAll(ctx)
		if err != nil {
			return err
		}
		if left == 0 {
			break
		}
		if err := pause(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
	if err := r.Drain(ctx); err != nil {
		return err
	}
	// A sandbox of the pool that was on offer when the server was killed stays for
	// a minute: the row that names it may have been written.
	for began := time.Now(); ; {
		now, err := r.host().Look()
		if err != nil {
			return err
		}
		more := before.More(now)
		if len(more) == 0 {
			return nil
		}
		if time.Since(began) > 2*time.Minute {
			for _, what := range more {
				r.tally.wrong("left behind: " + what)
			}
			return nil
		}
		if err := pause(ctx, time.Second); err != nil {
			return err
		}
	}
}

func (r *run) deleteAll(ctx context.Context) (left int, err error) {
	for item, err := range r.client.List(ctx, daytona.Filter{Labels: map[string]string{label: r.id}}) {
		if err != nil {
			return 0, err
		}
		left++
		sb, err := r.client.Get(ctx, item.ID)
		if errors.Is(err, daytona.ErrNotFound) {
			continue
		}
		if err != nil {
			return 0, err
		}
		if err := sb.Delete(ctx); err != nil && !errors.Is(err, daytona.ErrNotFound) && !errors.Is(err, daytona.ErrConflict) {
			return 0, fmt.Errorf("deleting %s: %w", item.ID, err)
		}
	}
	return left, nil
}
