package runner

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

type metrics struct {
	creates *prometheus.CounterVec
	phases  *prometheus.HistogramVec
	ends    *prometheus.CounterVec
	offers  *prometheus.CounterVec
	drops   *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		creates: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "runner_creates_total",
			Help: "Sandboxes created, by way (cold, claim, pool) and outcome (ok, error).",
		}, []string{"way", "outcome"}),
		phases: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "runner_create_phase_seconds",
			Help:    "Time that each phase of a create, claim or start took.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 16),
		}, []string{"phase", "driver"}),
		ends: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "runner_ends_total",
			Help: "Sandboxes that ended, by cause.",
		}, []string{"cause"}),
		offers: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "runner_warm_offers_total",
			Help: "Sandboxes asked of a pool, by outcome: hit, or miss when none was ready and one is booted.",
		}, []string{"snapshot", "outcome"}),
		drops: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "runner_warm_drops_total",
			Help: "Waiting sandboxes that were removed unclaimed: outdated, surplus or unhealthy.",
		}, []string{"snapshot", "reason"}),
	}
	if reg != nil {
		reg.MustRegister(m.creates, m.phases, m.ends, m.offers, m.drops)
	}
	return m
}

func outcome(err error) string {
	if err != nil {
		return "error"
	}
	return "ok"
}

// stopwatch measures the phases of one operation: as histogram, as spans under
// the caller's trace, and as one line for the log.
type stopwatch struct {
	r      *Runner
	driver string
	start  time.Time
	lines  chan slog.Attr // buffered: phases may run side by side
}

func (r *Runner) newStopwatch(driver string) *stopwatch {
	return &stopwatch{r: r, driver: driver, start: time.Now(), lines: make(chan slog.Attr, 32)}
}

// phase runs fn and measures it.
func (w *stopwatch) phase(ctx context.Context, name string, fn func(context.Context) error) error {
	ctx, span := otel.Tracer("daytona/runner").Start(ctx, "runner."+name,
		trace.WithAttributes(attribute.String("isolation", w.driver)))
	defer span.End()
	start := time.Now()
	err := fn(ctx)
	took := time.Since(start)
	if err != nil {
		span.SetStatus(codes.Error, err.Error())
	}
	w.r.metrics.phases.WithLabelValues(name, w.driver).Observe(took.Seconds())
	select {
	case w.lines <- slog.Duration(name, took):
	default:
	}
	return err
}

// log writes one line with every phase.
func (w *stopwatch) log(ctx context.Context, msg, id string, err error) {
	attrs := []slog.Attr{slog.String("sandbox", id), slog.String("isolation", w.driver), slog.Duration("total", time.Since(w.start))}
	for more := true; more; {
		select {
		case a := <-w.lines:
			attrs = append(attrs, a)
		default:
			more = false
		}
	}
	level := slog.LevelDebug
	if err != nil {
		level = slog.LevelWarn
		attrs = append(attrs, slog.Any("error", err))
	}
	w.r.log.LogAttrs(ctx, level, msg, attrs...)
}
