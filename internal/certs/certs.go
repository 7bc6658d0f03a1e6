// Package certs gives a server the certificates of its names: from files, or
// from an authority that speaks ACME. Both change without a restart.
package certs

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"time"

	"golang.org/x/crypto/acme"
)

// Source gives certificates. Run keeps them valid.
type Source struct {
	get  func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	run  func(context.Context) error
	acme bool
}

// TLS returns the settings of a server that speaks HTTP/2 and HTTP/1.1.
func (s *Source) TLS() *tls.Config {
	c := &tls.Config{GetCertificate: s.get, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}}
	if s.acme { // the authority looks whether the name leads here
		c.NextProtos = append(c.NextProtos, acme.ALPNProto)
	}
	return c
}

// Run gets and renews what has to be until ctx ends. Connections have to be
// accepted already: an authority looks whether the names lead here.
func (s *Source) Run(ctx context.Context) error {
	if s.run == nil {
		return nil
	}
	return s.run(ctx)
}

// lookEvery is how often files are looked at, at most.
const lookEvery = 5 * time.Second

// files is a certificate with its key, as they are on the disk.
type files struct {
	cert, key string
	log       *slog.Logger
	now       func() time.Time

	mu     sync.Mutex
	loaded *tls.Certificate
	of     [2]time.Time // when the files were written that are loaded
	looked time.Time
}

// Files returns the certificates of two PEM files: the chain, the leaf first, and
// its key. Files that are replaced are read again; as long as the new ones do
// not fit each other the old certificate is used.
func Files(cert, key string, log *slog.Logger) (*Source, error) {
	f := &files{cert: cert, key: key, log: log, now: time.Now}
	if err := f.load(); err != nil {
		return nil, err
	}
	return &Source{get: f.get}, nil
}

func (f *files) written() (of [2]time.Time, err error) {
	for i, path := range []string{f.cert, f.key} {
		info, err := os.Stat(path)
		if err != nil {
			return of, err
		}
		of[i] = info.ModTime()
	}
	return of, nil
}

func (f *files) load() error {
	of, err := f.written()
	if err != nil {
		return fmt.Errorf("certificate: %w", err)
	}
	pair, err := tls.LoadX509KeyPair(f.cert, f.key)
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("certificate: %w", err)
	}
	if err != nil {
		return fmt.Errorf("%s and %s are not a certificate and its key in PEM form: %w", f.cert, f.key, err)
	}
	if left := pair.Leaf.NotAfter.Sub(f.now()); left < 0 {
		f.log.Warn("the certificate has expired; clients will refuse it", "file", f.cert, "expired", pair.Leaf.NotAfter)
	}
	f.loaded, f.of, f.looked = &pair, of, f.now()
	return nil
}

func (f *files) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.now()
	if now.Sub(f.looked) < lookEvery && now.After(f.looked) {
		return f.loaded, nil
	}
	f.looked = now
	if of, err := f.written(); err != nil || of == f.of {
		return f.loaded, nil //nolint:nilerr // they are being replaced; what is loaded goes on
	}
	if err := f.load(); err != nil {
		f.log.Warn("a new certificate cannot be used; the old one goes on", "error", err)
		return f.loaded, nil
	}
	f.log.Info("certificate.loaded", "file", f.cert, "expires", f.loaded.Leaf.NotAfter)
	return f.loaded, nil
}
