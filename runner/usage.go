package runner

import (
	"context"
	"encoding/json"
	"math"
	"net/http"
	"path"
	"time"

	"daytona/internal/fault"
)

// The routes of a toolbox that a client does not get by being passed on.
const (
	routeMetrics = "/system/metrics" // answered here: inside, a sandbox cannot know
	routeInit    = "/init"           // the runner's alone
	routeEnv     = "/env"            // the runner's alone
)

// own answers the requests that are not passed on to the toolbox, and reports
// whether this was one.
func (r *Runner) own(w http.ResponseWriter, req *http.Request, id string) bool {
	switch path.Clean("/" + req.URL.Path) {
	case routeInit, routeEnv:
		r.toolboxError(w, req, id, fault.New(fault.NotFound, "not found: no route %s %s", req.Method, req.URL.Path))
		return true
	case routeMetrics:
		if req.Method != http.MethodGet {
			return false // the toolbox says that there is no such route
		}
		m, err := r.systemMetrics(req.Context(), id)
		if err != nil {
			r.toolboxError(w, req, id, err)
			return true
		}
		body, err := json.Marshal(m)
		if err != nil {
			r.toolboxError(w, req, id, err)
			return true
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(body) // the client has gone when this fails
		return true
	}
	return false
}

// systemMetrics is what a running sandbox uses, as clients read it. Memory and
// disk are in bytes.
type systemMetrics struct {
	CPUCount      int64   `json:"cpuCount"`   // processors that it may use, rounded up
	CPUUsedPct    float64 `json:"cpuUsedPct"` // of what it may use, over the last fraction of a second
	MemTotal      int64   `json:"memTotal"`
	MemUsed       int64   `json:"memUsed"`  // without MemCache
	MemCache      int64   `json:"memCache"` // page cache, which the kernel takes back when memory is short
	DiskTotal     int64   `json:"diskTotal"`
	DiskUsed      int64   `json:"diskUsed"`
	DiskFree      int64   `json:"diskFree"`
	Timestamp     string  `json:"timestamp"` // RFC 3339
	TimestampUnix int64   `json:"timestampUnix"`
}

// cpuWindow is how long the use of processors is measured.
const cpuWindow = 200 * time.Millisecond

// systemMetrics measures a sandbox from outside: its control group, its disk,
// its limits. Inside, a kernel in user space sees a machine of its own, and one
// that is shared shows the host's.
func (r *Runner) systemMetrics(ctx context.Context, id string) (systemMetrics, error) {
	sb, err := r.entry(id, false)
	if err != nil {
		return systemMetrics{}, err
	}
	rec := sb.record()
	driver, err := r.driver(rec.Driver)
	if err != nil {
		return systemMetrics{}, err
	}
	before, err := driver.Stats(ctx, id)
	if err != nil {
		return systemMetrics{}, err
	}
	began := time.Now()
	disk, err := r.cfg.Roots.Usage(ctx, id)
	if err != nil {
		return systemMetrics{}, err
	}
	select {
	case <-time.After(cpuWindow - time.Since(began)):
	case <-ctx.Done():
		return systemMetrics{}, context.Cause(ctx)
	}
	after, err := driver.Stats(ctx, id)
	if err != nil {
		return systemMetrics{}, err
	}
	now := time.Now()
	total := disk.TotalBytes
	if total == 0 {
		total = rec.Spec.DiskMiB << 20
	}
	return systemMetrics{
		CPUCount:      int64(math.Ceil(rec.Spec.CPU)),
		CPUUsedPct:    share(after.CPUTime-before.CPUTime, now.Sub(began), rec.Spec.CPU),
		MemTotal:      rec.Spec.MemoryMiB << 20,
		MemUsed:       after.MemoryBytes,
		MemCache:      after.CacheBytes,
		DiskTotal:     total,
		DiskUsed:      disk.UsedBytes,
		DiskFree:      max(0, total-disk.UsedBytes),
		Timestamp:     now.UTC().Format("2006-01-02T15:04:05.000Z"),
		TimestampUnix: now.Unix(),
	}, nil
}

// share is how much of the time that some processors had was used, in percent,
// to one decimal. A group may run a little ahead of its limit.
func share(used, window time.Duration, cpus float64) float64 {
	if window <= 0 || cpus <= 0 {
		return 0
	}
	percent := 100 * used.Seconds() / (window.Seconds() * cpus)
	return math.Round(10*min(max(percent, 0), 100)) / 10
}
