package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// writePair writes a new certificate for a name and its key.
func writePair(t *testing.T, cert, key, name string, written time.Time) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(written.UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if path == "" {
			continue
		}
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, written, written); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	now := time.Now()
	writePair(t, cert, key, "one.example", now)
	f := &files{cert: cert, key: key, log: slog.New(slog.DiscardHandler), now: func() time.Time { return now }}
	if err := f.load(); err != nil {
		t.Fatal(err)
	}
	name := func() string {
		t.Helper()
		c, err := f.get(&tls.ClientHelloInfo{})
		if err != nil {
			t.Fatal(err)
		}
		return c.Leaf.Subject.CommonName
	}
	if got := name(); got != "one.example" {
		t.Errorf("served %s", got)
	}
	// Half of a change is not used.
	now = now.Add(time.Minute)
	writePair(t, cert, "", "two.example", now)
	if got := name(); got != "one.example" {
		t.Errorf("served %s, of which there is no key", got)
	}
	now = now.Add(time.Minute)
	writePair(t, cert, key, "two.example", now)
	if got := name(); got != "two.example" {
		t.Errorf("served %s after the files were replaced", got)
	}
	// Nor is a change by which the files go.
	now = now.Add(time.Minute)
	if err := os.Remove(cert); err != nil {
		t.Fatal(err)
	}
	if got := name(); got != "two.example" {
		t.Errorf("served %s", got)
	}
}

func TestRefused(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	log := slog.New(slog.DiscardHandler)
	if _, err := Files(cert, key, log); err == nil || !strings.Contains(err.Error(), cert) {
		t.Errorf("files that are not there: %v", err)
	}
	writePair(t, cert, key, "one.example", time.Now())
	writePair(t, cert, "", "two.example", time.Now())
	if _, err := Files(cert, key, log); err == nil || !strings.Contains(err.Error(), key) {
		t.Errorf("a key of another certificate: %v", err)
	}
	for name, c := range map[string]ACMEConfig{
		"TXT records": {Names: []string{"*.preview.example.org"}},
		"10.0.0.1":    {Names: []string{"10.0.0.1"}},
		"localhost":   {Names: []string{"localhost"}},
		"x.localhost": {Names: []string{"x.localhost"}},
		"no-such":     {Names: []string{"a.example.org"}, Hook: "/no-such"},
	} {
		c.Directory, c.Dir, c.Log = "https://127.0.0.1:1/", dir, log
		if _, err := ACME(c); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%v: %v", c.Names, err)
		}
	}
}
