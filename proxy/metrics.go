package proxy

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	requests prometheus.Counter
	open     prometheus.Gauge
	wakes    prometheus.Counter
	failures *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		requests: prometheus.NewCounter(prometheus.CounterOpts{Name: "daytona_preview_requests_total", Help: "Requests to previews."}),
		open:     prometheus.NewGauge(prometheus.GaugeOpts{Name: "daytona_preview_requests_open", Help: "Requests to previews under way, WebSockets included."}),
		wakes:    prometheus.NewCounter(prometheus.CounterOpts{Name: "daytona_preview_wakes_total", Help: "Sandboxes that a request to a preview started."}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "daytona_preview_failures_total", Help: "Requests to previews that the proxy answered with an error, by kind.",
		}, []string{"kind"}),
	}
	if reg != nil {
		reg.MustRegister(m.requests, m.open, m.wakes, m.failures)
	}
	return m
}

func (m *metrics) begin() (done func()) {
	m.requests.Inc()
	m.open.Inc()
	return m.open.Dec
}
