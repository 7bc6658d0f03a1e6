package runner

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"daytona/api/runnerapi"
)

// pool is booted sandboxes of one snapshot and size that wait to be claimed. The
// region is that of the runner.
type pool struct {
	name   string // as in Config.Warm, or the id of an organization's
	id     string // of an organization's pool
	org    string // whose it is; "" for everybody's
	spec   runnerapi.Spec
	target int
}

// parsePool reads the name of a pool: a snapshot, or "snapshot@cpu-memory-disk"
// in vCPUs and GiB for sandboxes of another size than the runner's default.
func parsePool(name string) (runnerapi.Spec, error) {
	snapshot, size, sized := strings.Cut(name, "@")
	spec := runnerapi.Spec{Snapshot: snapshot}
	if snapshot == "" {
		return spec, fmt.Errorf("warm pool %q: a snapshot is required", name)
	}
	if !sized {
		return spec, nil
	}
	parts := strings.Split(size, "-")
	var n [3]int64
	for i, p := range parts {
		v, err := strconv.ParseInt(p, 10, 32)
		if len(parts) != len(n) || err != nil || v < 1 {
			return spec, fmt.Errorf("warm pool %q: the size is written as vCPUs, GiB of memory and GiB of disk, such as %s@2-4-10", name, snapshot)
		}
		n[i] = v
	}
	spec.CPU, spec.MemoryMiB, spec.DiskMiB = float64(n[0]), n[1]<<10, n[2]<<10
	return spec, nil
}

// pools reads Config.Warm, in the order of the names.
func (c *Config) pools() ([]pool, error) {
	var out []pool
	for name, n := range c.Warm {
		spec, err := parsePool(name)
		if err != nil {
			return nil, err
		}
		if n < 0 {
			return nil, fmt.Errorf("warm pool %q: %d sandboxes cannot be held ready", name, n)
		}
		out = append(out, pool{name: name, spec: c.complete(spec), target: n})
	}
	slices.SortFunc(out, func(a, b pool) int { return strings.Compare(a.name, b.name) })
	return out, nil
}

// owns says whether a waiting sandbox is one of the pool's.
func (p pool) owns(rec record) bool {
	return rec.Warm != nil && rec.Warm.Pool == p.id && rec.Spec.Snapshot == p.spec.Snapshot && rec.Driver == p.spec.Isolation &&
		rec.Spec.CPU == p.spec.CPU && rec.Spec.MemoryMiB == p.spec.MemoryMiB && rec.Spec.DiskMiB == p.spec.DiskMiB
}

// poolOf returns the pool that would serve a complete spec, whoever its user is:
// the organization's own before the operator's.
func (r *Runner) poolOf(want runnerapi.Spec) (pool, bool) {
	for _, p := range slices.Backward(r.allPools()) {
		if (p.org == "" || p.org == want.OrgID) && p.spec.Snapshot == want.Snapshot && p.spec.Isolation == want.Isolation &&
			p.spec.CPU == want.CPU && p.spec.MemoryMiB == want.MemoryMiB && p.spec.DiskMiB == want.DiskMiB {
			return p, true
		}
	}
	return pool{}, false
}

// poolCollector counts the sandboxes of each pool when it is asked.
type poolCollector struct{ r *Runner }

var (
	warmReadyDesc  = prometheus.NewDesc("runner_warm_ready", "Booted sandboxes that wait to be claimed, by pool.", []string{"snapshot"}, nil)
	warmTargetDesc = prometheus.NewDesc("runner_warm_target", "How many shall wait.", []string{"snapshot"}, nil)
)

func (c poolCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- warmReadyDesc
	ch <- warmTargetDesc
}

func (c poolCollector) Collect(ch chan<- prometheus.Metric) {
	pools := c.r.allPools()
	ready := c.r.readyOf(pools)
	for _, p := range pools {
		ch <- prometheus.MustNewConstMetric(warmReadyDesc, prometheus.GaugeValue, float64(ready[p.name]), p.name)
		ch <- prometheus.MustNewConstMetric(warmTargetDesc, prometheus.GaugeValue, float64(p.target), p.name)
	}
}

// readyOf counts what waits in each pool and can be claimed, by its name.
func (r *Runner) readyOf(pools []pool) map[string]int {
	ready := make(map[string]int)
	for _, sb := range r.all() {
		sb.mu.Lock()
		rec, well := sb.rec, sb.op == nil && !sb.gone && !sb.sick
		sb.mu.Unlock()
		if rec.Warm == nil || rec.Phase != phaseRunning || !well {
			continue
		}
		if i := slices.IndexFunc(pools, func(p pool) bool { return p.owns(rec) }); i >= 0 {
			ready[pools[i].name]++
		}
	}
	return ready
}
