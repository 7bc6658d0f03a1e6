//go:build linux

package main

import (
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"net/url"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"daytona/controlplane/upload"
	"daytona/internal/atomicfile"
	"daytona/internal/certs"
	"daytona/internal/localca"
	"daytona/internal/objectstore"
	"daytona/internal/objectstore/embedded"
	"daytona/internal/tlsport"
)

// What uploads keep in the data directory.
const (
	objectsDir   = "objects"
	registryDir  = "registry"
	authorityDir = "ca"
	uploadKey    = "upload.key" // from which temporary credentials follow
)

// uploads is where clients bring files for builds.
type uploads struct {
	*upload.Service
	store  *embedded.Store // nil with an S3 of the operator's
	bucket objectstore.Bucket
}

// Close ends the registry and the embedded store.
func (u *uploads) Close() error {
	err := u.Service.Close()
	if u.store != nil {
		err = errors.Join(err, u.store.Close())
	}
	return err
}

// openUploads opens object storage. Clients reach it at the server's own port,
// at which TLS is spoken too.
func openUploads(s *settings, listening net.Addr, public *url.URL, log *slog.Logger) (*uploads, error) {
	key, err := secretFile(filepath.Join(s.Data, uploadKey))
	if err != nil {
		return nil, err
	}
	u := &uploads{}
	if s.S3.Bucket != "" {
		u.bucket = objectstore.NewS3(s.S3)
	} else {
		program, err := os.Executable()
		if err != nil {
			return nil, err
		}
		data, err := filepath.Abs(s.Data)
		if err != nil {
			return nil, err
		}
		u.store = embedded.New(embedded.Config{Dir: filepath.Join(data, objectsDir), Command: []string{program, objectStoreCommand}, Log: log})
		u.bucket = u.store.Bucket("daytona")
	}
	plain, secure := *public, *public
	secure.Scheme = "https"
	if s.StorageURL != "" {
		at, _ := url.Parse(s.StorageURL) // checked
		plain, secure = *at, *at
	}
	u.Service, err = upload.New(upload.Config{
		Bucket: u.bucket, Key: key, URL: &plain, SecureURL: &secure, RunnerURL: localURL(listening),
		RegistryURL: public, RegistryDir: filepath.Join(s.Data, registryDir), Log: log,
		Budget: int64(s.UploadBudget) << 30, Limit: int64(s.UploadLimit) << 30, PushLimit: int64(s.PushLimit) << 30, KeepPushed: s.KeepPushed,
	})
	return u, err
}

// localURL is where this machine reaches the server.
func localURL(listening net.Addr) *url.URL {
	host, port, _ := net.SplitHostPort(listening.String())
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return &url.URL{Scheme: "http", Host: net.JoinHostPort(host, port)}
}

// pullOwnImagesHere has the runner of this machine fetch what clients pushed to
// the server's registry from the server itself, whatever clients call it.
func pullOwnImagesHere(s *settings, listening net.Addr, public *url.URL) {
	here := localURL(listening)
	if _, set := s.RegistryMirrors[public.Host]; set || public.Host == here.Host {
		return
	}
	mirrors := map[string]string{public.Host: here.String()}
	maps.Copy(mirrors, s.RegistryMirrors)
	s.RegistryMirrors = mirrors
}

// secretFile returns the 32 random bytes in a file, which it makes when it is
// not there.
func secretFile(path string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		data = make([]byte, 32)
		if _, err := rand.Read(data); err != nil {
			return nil, err
		}
		return data, atomicfile.WriteFile(path, data, 0o600)
	}
	if err == nil && len(data) != 32 {
		err = fmt.Errorf("%s is damaged: it must hold 32 bytes; remove it to get a new one, with which credentials that were given to clients end", path)
	}
	return data, err
}

// speakTLS lets clients that want TLS have it at the server's port, by a
// certificate that they can be made to trust, unless the operator has given
// certificates. A server that is reached by HTTPS without them has a proxy before
// it, and clients trust that one's.
func speakTLS(s *settings, listener net.Listener, public *url.URL, given *certs.Source, log *slog.Logger) (net.Listener, error) {
	if given != nil {
		return tlsport.New(listener, given.TLS(), "is the whole chain in the certificate's file, and does it have the name?", log), nil
	}
	if public.Scheme == "https" {
		return listener, nil
	}
	hosts := []string{public.Hostname()}
	if host, _, err := net.SplitHostPort(listener.Addr().String()); err == nil && !net.ParseIP(host).IsUnspecified() {
		hosts = append(hosts, host)
	}
	authority, err := localca.Open(filepath.Join(s.Data, authorityDir), hosts, nil)
	if err != nil {
		return nil, err
	}
	if authority.New {
		log.Info("certificate.created", "authority", filepath.Join(s.Data, authorityDir, localca.CertFile), "fingerprint", authority.Fingerprint(),
			"note", "the Python SDK uploads files for builds over TLS alone; on each machine with such programs run: daytona trust")
	}
	return tlsport.New(listener, &tls.Config{GetCertificate: authority.Certificate, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}},
		"on the client's machine run: daytona trust", log), nil
}

// objectStoreCommand is what the server runs itself with to have the embedded
// object store.
const objectStoreCommand = "object-store"

func objectStore() *cobra.Command {
	return &cobra.Command{
		Use: objectStoreCommand, Hidden: true, Args: cobra.NoArgs,
		Short: "Serve the embedded object store (started by the server)",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return embedded.Serve(cmd.Context(), os.Stdin, os.Stdout)
		},
	}
}
