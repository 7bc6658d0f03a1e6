//go:build linux

package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestServerEndsTLS has a server serve API and previews by a certificate of files.
func TestServerEndsTLS(t *testing.T) {
	dir := t.TempDir()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"daytona.example.org", "*.preview.example.org"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	chain := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	cert := write(t, filepath.Join(dir, "cert.pem"), string(chain))
	keyFile := write(t, filepath.Join(dir, "key.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})))
	p := start(t, filepath.Join(dir, "data"), "--tls-cert", cert, "--tls-key", keyFile, "--ssh-listen", "off",
		"--public-url", "https://daytona.example.org", "--proxy-domain", "preview.example.org")
	listen := ""
	for line := range strings.Lines(p.err.String()) {
		var said struct{ Msg, Listen string }
		if json.Unmarshal([]byte(line), &said) == nil && said.Msg == "server.ready" {
			listen = said.Listen
		}
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(chain)
	for _, tt := range []struct {
		name, path string
		status     int
	}{
		{"daytona.example.org", "/api/health", http.StatusOK},
		{"3000-0f3c2a9e-0000-4000-8000-000000000000.preview.example.org", "/", http.StatusUnauthorized},
	} {
		conn, err := (&tls.Dialer{Config: &tls.Config{RootCAs: roots, ServerName: tt.name, MinVersion: tls.VersionTLS12}}).DialContext(t.Context(), "tcp", listen)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		transport := &http.Transport{DialTLS: func(string, string) (net.Conn, error) { return conn, nil }} //nolint:staticcheck // one connection, made above
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+tt.name+tt.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := transport.RoundTrip(req)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		res.Body.Close()
		if res.StatusCode != tt.status {
			t.Errorf("%s%s: %s", tt.name, tt.path, res.Status)
		}
		transport.CloseIdleConnections()
	}
	if _, err := os.Stat(filepath.Join(dir, "data", authorityDir)); err == nil {
		t.Error("an authority of its own was made, which nobody needs")
	}
}

func TestTLSSettings(t *testing.T) {
	for text, wrong := range map[string]bool{
		"":                                false,
		"--tls-cert=a --tls-key=b":        false,
		"--tls-cert=a":                    true,
		"--tls-key=b":                     true,
		"--acme=letsencrypt":              false,
		"--acme=https://ca.example/dir":   false,
		"--acme=http://ca.example/dir":    true,
		"--acme=yes":                      true,
		"--acme-email=a@b":                true,
		"--acme-dns-hook=x":               true,
		"--acme=letsencrypt --tls-cert=a": true,
	} {
		if _, err := read(t, append(strings.Fields(text), "--data", t.TempDir()), nil); (err != nil) != wrong {
			t.Errorf("%s: %v", text, err)
		}
	}
	s, err := read(t, []string{"--data", t.TempDir(), "--public-url", "https://daytona.example.org", "--proxy-domain", "preview.example.org", "--acme", "https://127.0.0.1:1/"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	public, err := url.Parse(s.PublicURL)
	if err != nil {
		t.Fatal(err)
	}
	previews, err := previewTemplate(s, public)
	if err != nil {
		t.Fatal(err)
	}
	names := certNames(s, public, previews)
	if got := strings.Join(names, " "); got != "daytona.example.org *.preview.example.org" {
		t.Errorf("names %s", got)
	}
	log := newLogger(s, os.Stderr)
	if _, err := certificates(s, &net.TCPAddr{}, "https", names, log); err == nil || !strings.Contains(err.Error(), "--acme-dns-hook") {
		t.Errorf("a wildcard without a hook: %v", err)
	}
	if _, err := certificates(s, &net.TCPAddr{}, "http", names, log); err == nil || !strings.Contains(err.Error(), "--public-url") {
		t.Errorf("certificates for http: %v", err)
	}
}
