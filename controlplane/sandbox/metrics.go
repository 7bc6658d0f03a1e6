package sandbox

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"daytona/internal/fault"
)

type metrics struct {
	calls    *prometheus.CounterVec
	duration *prometheus.HistogramVec
	steps    *prometheus.CounterVec
	ends     *prometheus.CounterVec
	resyncs  *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer, store Store) *metrics {
	m := &metrics{
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "daytona_sandbox_calls_total",
			Help: "Calls that create, start, stop or delete a sandbox, by outcome: ok or the kind of fault.",
		}, []string{"call", "outcome"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "daytona_sandbox_call_seconds",
			Help:    "Time until such a call answered.",
			Buckets: []float64{.002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5},
		}, []string{"call"}),
		steps: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "daytona_sandbox_steps_total",
			Help: "Steps that workers took, by outcome.",
		}, []string{"step", "outcome"}),
		ends: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "daytona_sandbox_ends_total",
			Help: "Sandboxes that ended, by cause.",
		}, []string{"cause"}),
		resyncs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "daytona_sandbox_resyncs_total",
			Help: "Comparisons of all rows with a runner, by outcome.",
		}, []string{"outcome"}),
	}
	if reg != nil {
		reg.MustRegister(m.calls, m.duration, m.steps, m.ends, m.resyncs, &stateCollector{store: store})
	}
	return m
}

func (m *metrics) call(name string, err error, took time.Duration) {
	m.calls.WithLabelValues(name, outcome(err)).Inc()
	if err == nil {
		m.duration.WithLabelValues(name).Observe(took.Seconds())
	}
}

func outcome(err error) string {
	if err == nil {
		return "ok"
	}
	return string(fault.KindOf(err))
}

// stateCollector counts sandboxes when it is asked, so that the figure is the
// database's on every server.
type stateCollector struct{ store Store }

var statesDesc = prometheus.NewDesc("daytona_sandboxes", "Sandboxes by shown state.", []string{"state"}, nil)

func (c *stateCollector) Describe(ch chan<- *prometheus.Desc) { ch <- statesDesc }

func (c *stateCollector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	counts, err := c.store.CountSandboxes(ctx)
	if err != nil {
		ch <- prometheus.NewInvalidMetric(statesDesc, err)
		return
	}
	for s, n := range counts {
		ch <- prometheus.MustNewConstMetric(statesDesc, prometheus.GaugeValue, float64(n), string(s))
	}
}
