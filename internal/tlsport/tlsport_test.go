package tlsport_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"daytona/internal/localca"
	"daytona/internal/tlsport"
)

type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) { b.mu.Lock(); defer b.mu.Unlock(); return b.b.Write(p) }
func (b *buffer) String() string              { b.mu.Lock(); defer b.mu.Unlock(); return b.b.String() }

func TestBothAtOnePort(t *testing.T) {
	authority, err := localca.Open(t.TempDir(), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	inner, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	log := &buffer{}
	listener := tlsport.New(inner, &tls.Config{GetCertificate: authority.Certificate, MinVersion: tls.VersionTLS12}, "run: trust", slog.New(slog.NewTextHandler(log, nil)))
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		scheme := "http"
		if r.TLS != nil {
			scheme = "https"
		}
		_, _ = io.WriteString(w, scheme)
	}), ReadHeaderTimeout: time.Minute}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()

	silent, err := new(net.Dialer).DialContext(t.Context(), "tcp", inner.Addr().String()) // keeps nobody waiting
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority.PEM())
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}}
	defer client.CloseIdleConnections()
	for _, scheme := range []string{"http", "https", "https", "http"} {
		answer, err := client.Get(scheme + "://" + inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		data, _ := io.ReadAll(answer.Body)
		answer.Body.Close()
		if string(data) != scheme {
			t.Errorf("%s was served as %s", scheme, data)
		}
	}
	if answer, err := http.Get("https://" + inner.Addr().String()); err == nil {
		answer.Body.Close()
		t.Error("a certificate that nobody trusts was taken")
	}
	for deadline := time.Now().Add(10 * time.Second); !strings.Contains(log.String(), "run: trust"); {
		if time.Now().After(deadline) {
			t.Fatalf("the operator is not told: %s", log)
		}
		time.Sleep(time.Millisecond)
	}
	if err := server.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		t.Errorf("serve: %v", err)
	}
	one := make([]byte, 1)
	_ = silent.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := silent.Read(one); err == nil || strings.Contains(err.Error(), "timeout") {
		t.Errorf("a connection stays open: %v", err)
	}
}
