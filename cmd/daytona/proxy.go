//go:build linux

package main

import (
	"log/slog"
	"net"
	"net/http"
	"net/url"

	"github.com/prometheus/client_golang/prometheus"

	"daytona/api/proxyapi"
	"daytona/internal/version"
	"daytona/proxy"
)

// newProxy returns the proxy for previews.
func newProxy(s *settings, plane proxyapi.ControlPlane, previews proxyapi.Template, log *slog.Logger, metrics prometheus.Registerer) *proxy.Proxy {
	c := proxy.Config{
		Plane: plane, Template: previews, Log: log, Metrics: metrics, Version: version.Version,
		Warning: s.PreviewWarning, IdleAfter: s.PreviewIdle,
	}
	c.Trusted = s.trusted()
	return proxy.New(c)
}

// protocols are those of a listener: HTTP/1.1, and HTTP/2 with and without TLS,
// which gRPC needs.
func protocols() *http.Protocols {
	p := new(http.Protocols)
	p.SetHTTP1(true)
	p.SetHTTP2(true)
	p.SetUnencryptedHTTP2(true)
	return p
}

// previewTemplate says where previews live.
func previewTemplate(s *settings, public *url.URL) (proxyapi.Template, error) {
	if s.ProxyTemplate != "" {
		return proxyapi.ParseTemplate(s.ProxyTemplate)
	}
	return proxyapi.DefaultTemplate(public.Scheme, proxyDomain(s.ProxyDomain, public))
}

// proxyDomain gives a domain without a port that of the public URL.
func proxyDomain(domain string, public *url.URL) string {
	if _, _, err := net.SplitHostPort(domain); err == nil || public.Port() == "" {
		return domain
	}
	return net.JoinHostPort(domain, public.Port())
}
