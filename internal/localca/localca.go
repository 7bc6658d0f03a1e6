// Package localca is a certificate authority for the names of one server, for
// places where no public authority can issue a certificate.
//
// Its certificate says, in a way that clients enforce, that it vouches for those
// names alone: a stolen key opens no other site to anybody.
package localca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"daytona/internal/atomicfile"
)

// The files of an authority.
const (
	CertFile = "ca.pem"
	keyFile  = "ca.key" // with the certificate of CertFile before it
)

const (
	caLife   = 10 * 365 * 24 * time.Hour
	leafLife = 90 * 24 * time.Hour
	renewAt  = 30 * 24 * time.Hour // before its end
)

// Authority issues certificates for its names.
type Authority struct {
	// New says that Open made it: nobody can trust it yet.
	New  bool
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte

	mu    sync.Mutex
	leaf  *tls.Certificate
	hosts []string
	now   func() time.Time
}

// Open returns the authority in dir for hosts, which are names and addresses
// beside those of this machine itself. It makes another when the one there does
// not cover all of them or ends soon; who trusted the old one must then trust
// the new one.
func Open(dir string, hosts []string, now func() time.Time) (*Authority, error) {
	if now == nil {
		now = time.Now
	}
	all := append([]string{"localhost", "127.0.0.1", "::1"}, hosts...)
	slices.Sort(all)
	all = slices.Compact(all)
	a, err := read(dir)
	if err == nil && a.covers(all) && now().Add(leafLife).Before(a.cert.NotAfter) {
		a.hosts, a.now = all, now
		return a, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the certificate authority in %s cannot be read; remove the folder to get a new one: %w", dir, err)
	}
	if a != nil { // names stay, or those who use them would lose them
		all = append(all, a.names()...)
		slices.Sort(all)
		all = slices.Compact(all)
	}
	if a, err = create(dir, all, now()); err != nil {
		return nil, err
	}
	a.hosts, a.now = all, now
	return a, nil
}

func read(dir string) (*Authority, error) {
	data, err := os.ReadFile(filepath.Join(dir, keyFile))
	if err != nil {
		return nil, err
	}
	certBlock, rest := pem.Decode(data)
	keyBlock, _ := pem.Decode(rest)
	if certBlock == nil || keyBlock == nil {
		return nil, errors.New("no certificate and key in it")
	}
	cert, err := x509.ParseCertificate(certBlock.Bytes)
	if err != nil {
		return nil, err
	}
	key, err := x509.ParseECPrivateKey(keyBlock.Bytes)
	if err != nil {
		return nil, err
	}
	public := pem.EncodeToMemory(certBlock)
	// A crash may have come between the two files.
	if there, err := os.ReadFile(filepath.Join(dir, CertFile)); err != nil || string(there) != string(public) {
		if err := atomicfile.WriteFile(filepath.Join(dir, CertFile), public, 0o644); err != nil {
			return nil, err
		}
	}
	return &Authority{cert: cert, key: key, pem: public}, nil
}

func create(dir string, hosts []string, now time.Time) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	names, addresses := split(hosts)
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{Organization: []string{"Daytona"}, CommonName: "Daytona local authority " + hex.EncodeToString(serial.Bytes()[:4])},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(caLife), IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		PermittedDNSDomainsCritical: true, PermittedDNSDomains: names,
	}
	for _, ip := range addresses {
		bits := 8 * len(ip)
		template.PermittedIPRanges = append(template.PermittedIPRanges, &net.IPNet{IP: ip, Mask: net.CIDRMask(bits, bits)})
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	secret, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	both := append(slices.Clone(public), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: secret})...)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	if err := atomicfile.WriteFile(filepath.Join(dir, keyFile), both, 0o600); err != nil {
		return nil, err
	}
	if err := atomicfile.WriteFile(filepath.Join(dir, CertFile), public, 0o644); err != nil {
		return nil, err
	}
	return &Authority{New: true, cert: cert, key: key, pem: public}, nil
}

func newSerial() (*big.Int, error) {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	return n.SetBit(n, 120, 1), nil // never short
}

func split(hosts []string) (names []string, addresses []net.IP) {
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip == nil {
			names = append(names, strings.ToLower(host))
		} else if four := ip.To4(); four != nil {
			addresses = append(addresses, four)
		} else {
			addresses = append(addresses, ip)
		}
	}
	return names, addresses
}

func (a *Authority) covers(hosts []string) bool {
	have := a.names()
	return !slices.ContainsFunc(hosts, func(h string) bool { return !slices.Contains(have, strings.ToLower(h)) })
}

func (a *Authority) names() []string {
	out := slices.Clone(a.cert.PermittedDNSDomains)
	for _, r := range a.cert.PermittedIPRanges {
		out = append(out, r.IP.String())
	}
	return out
}

// PEM is the certificate that clients must trust.
func (a *Authority) PEM() []byte { return a.pem }

// Fingerprint is the SHA-256 of the certificate, in hexadecimal digits.
func (a *Authority) Fingerprint() string {
	sum := sha256.Sum256(a.cert.Raw)
	return hex.EncodeToString(sum[:])
}

// Certificate is a tls.Config's GetCertificate.
func (a *Authority) Certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.leaf != nil && a.now().Add(renewAt).Before(a.leaf.Leaf.NotAfter) {
		return a.leaf, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	names, addresses := split(a.hosts)
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{Organization: []string{"Daytona"}, CommonName: "Daytona"},
		NotBefore: a.now().Add(-time.Hour), NotAfter: a.now().Add(leafLife), BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames: names, IPAddresses: addresses,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	a.leaf = &tls.Certificate{Certificate: [][]byte{der, a.cert.Raw}, PrivateKey: key, Leaf: leaf}
	return a.leaf, nil
}
