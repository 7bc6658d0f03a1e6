package localca_test

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"
	"time"

	"daytona/internal/localca"
)

func open(t *testing.T, dir string, now time.Time, hosts ...string) *localca.Authority {
	t.Helper()
	a, err := localca.Open(dir, hosts, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func leaf(t *testing.T, a *localca.Authority) *x509.Certificate {
	t.Helper()
	c, err := a.Certificate(&tls.ClientHelloInfo{})
	if err != nil {
		t.Fatal(err)
	}
	return c.Leaf
}

func verify(t *testing.T, a *localca.Authority, c *x509.Certificate, host string, now time.Time) error {
	t.Helper()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(a.PEM()) {
		t.Fatal("no certificate")
	}
	_, err := c.Verify(x509.VerifyOptions{Roots: roots, DNSName: host, CurrentTime: now})
	return err
}

func TestAuthority(t *testing.T) {
	dir, now := filepath.Join(t.TempDir(), "ca"), time.Now()
	a := open(t, dir, now, "box.example.org", "192.0.2.7")
	if !a.New {
		t.Error("not new")
	}
	for _, host := range []string{"localhost", "127.0.0.1", "::1", "box.example.org", "192.0.2.7"} {
		if err := verify(t, a, leaf(t, a), host, now); err != nil {
			t.Errorf("%s: %v", host, err)
		}
	}
	if err := verify(t, a, leaf(t, a), "example.org", now); err == nil {
		t.Error("vouches for another host")
	}
	again := open(t, dir, now, "192.0.2.7")
	if again.New || again.Fingerprint() != a.Fingerprint() {
		t.Error("another authority for fewer names")
	}
	info, err := os.Stat(filepath.Join(dir, "ca.key"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key: %v, %v", info, err)
	}
	// A crash between the two files.
	if err := os.Remove(filepath.Join(dir, localca.CertFile)); err != nil {
		t.Fatal(err)
	}
	open(t, dir, now)
	if data, err := os.ReadFile(filepath.Join(dir, localca.CertFile)); err != nil || string(data) != string(a.PEM()) {
		t.Errorf("certificate: %v", err)
	}
	more := open(t, dir, now, "other.example.org")
	if !more.New || verify(t, more, leaf(t, more), "other.example.org", now) != nil || verify(t, more, leaf(t, more), "box.example.org", now) != nil {
		t.Error("a name more is not covered, or an older one no longer")
	}
	// The key issues nothing for names that are not its own.
	if err := verify(t, a, leaf(t, more), "localhost", now); err == nil {
		t.Error("the old authority vouches for the new one's certificate")
	}
}

func TestRenewal(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	clock := now
	a, err := localca.Open(dir, nil, func() time.Time { return clock })
	if err != nil {
		t.Fatal(err)
	}
	first := leaf(t, a)
	clock = now.Add(70 * 24 * time.Hour)
	second := leaf(t, a)
	if second.SerialNumber.Cmp(first.SerialNumber) == 0 {
		t.Error("a certificate that ends soon is not renewed")
	}
	if err := verify(t, a, second, "localhost", clock); err != nil {
		t.Error(err)
	}
	if old := open(t, dir, now.Add(9*365*24*time.Hour)); old.New {
		t.Error("renewed too early")
	}
	if late := open(t, dir, now.Add(10*365*24*time.Hour)); !late.New {
		t.Error("an authority that ends is not renewed")
	}
}

func TestBroken(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "ca.key"), []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := localca.Open(dir, nil, nil); err == nil {
		t.Error("a broken file is overwritten")
	}
}
