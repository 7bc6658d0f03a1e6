//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"daytona/api/proxyapi"
	"daytona/internal/certs"
)

// acmeDir is where account, keys and certificates are kept in the data directory.
const acmeDir = "acme"

// tlsSettings say where certificates come from, if the server ends TLS itself.
type tlsSettings struct {
	Cert, Key string // files
	ACME      string // directory of an authority
	Email     string
	Hook      string
	Roots     string
}

func (t tlsSettings) check() error {
	switch {
	case (t.Cert == "") != (t.Key == ""):
		return errors.New("a certificate needs its key: give both tls-cert and tls-key")
	case t.Cert != "" && t.ACME != "":
		return errors.New("certificates come from files or from an authority: give tls-cert or acme, not both")
	case t.ACME == "" && (t.Email != "" || t.Hook != "" || t.Roots != ""):
		return errors.New("acme-email, acme-dns-hook and acme-roots are for certificates of an authority: name it with acme")
	case t.ACME != "" && t.ACME != certs.LetsEncrypt:
		if u, err := url.Parse(t.ACME); err != nil || u.Scheme != "https" || u.Host == "" {
			return fmt.Errorf("%q is neither %s nor the https address of an ACME directory", t.ACME, certs.LetsEncrypt)
		}
	}
	return nil
}

// certificates returns those of a listener, nil where it does not end TLS itself.
func certificates(s *settings, at net.Addr, scheme string, names []string, log *slog.Logger) (*certs.Source, error) {
	t := s.TLS
	switch {
	case t.Cert == "" && t.ACME == "":
		return nil, nil //nolint:nilnil // there is none
	case scheme != "https":
		return nil, errors.New("this process is to end TLS, but clients are told http addresses: give the server --public-url https://…")
	case t.Cert != "":
		return certs.Files(t.Cert, t.Key, log)
	}
	c := certs.ACMEConfig{
		Directory: t.ACME, Roots: t.Roots, Email: t.Email, Hook: t.Hook, Names: names, Dir: filepath.Join(s.Data, acmeDir), Log: log,
	}
	if tcp, ok := at.(*net.TCPAddr); ok {
		c.Port = tcp.Port
	}
	source, err := certs.ACME(c)
	if err != nil && t.Hook == "" && strings.Contains(strings.Join(names, " "), "*") {
		return nil, fmt.Errorf("--acme: %w: give it with --acme-dns-hook, or give previews no names of their own, with --proxy-template https://<host>%s{{sandboxId}}/{{PORT}}", err, proxyapi.PathPrefix)
	}
	if err != nil {
		return nil, fmt.Errorf("--acme: %w", err)
	}
	log.Info("certificates by ACME", "names", strings.Join(names, ","), "authority", t.ACME)
	return source, nil
}

// certNames are the names at which clients reach the server over TLS.
func certNames(s *settings, public *url.URL, previews proxyapi.Template) []string {
	names := append([]string{public.Hostname()}, previewNames(previews)...)
	if u, err := url.Parse(s.StorageURL); err == nil && u.Scheme == "https" && s.S3.Bucket == "" && !slices.Contains(names, u.Hostname()) {
		names = append(names, u.Hostname())
	}
	return names
}

// certLoop keeps certificates valid until its context ends.
func certLoop(given *certs.Source) func(context.Context) error {
	return func(ctx context.Context) error {
		if given == nil {
			return nil
		}
		return given.Run(ctx)
	}
}

// previewNames are the names of previews.
func previewNames(previews proxyapi.Template) []string {
	if suffix := previews.Suffix(); suffix != "" && previews.Scheme() == "https" {
		return []string{"*" + suffix}
	}
	return nil
}
