//go:build linux

package main

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/spf13/cobra"

	"daytona/internal/atomicfile"
	"daytona/internal/localca"
)

// trustStore is a folder in which a system keeps authorities that its operator
// trusts, and the command that makes programs see them.
type trustStore struct {
	dir, suffix string
	update      []string
}

// trustStores are those of Fedora and RHEL; SUSE; Debian, Ubuntu and Alpine; Arch.
var trustStores = []trustStore{
	{"/etc/pki/ca-trust/source/anchors", ".pem", []string{"update-ca-trust", "extract"}},
	{"/etc/pki/trust/anchors", ".pem", []string{"update-ca-certificates"}},
	{"/usr/local/share/ca-certificates", ".crt", []string{"update-ca-certificates"}},
	{"/etc/ca-certificates/trust-source/anchors", ".crt", []string{"trust", "extract-compat"}},
}

func trustCommand() *cobra.Command {
	var data, file string
	var remove bool
	cmd := &cobra.Command{
		Use:   "trust",
		Short: "Have this machine trust the server's certificate",
		Long: `Have this machine trust the certificate of a server that has none of a public
authority.

The Python SDK uploads files for builds over TLS alone, and its newest version
looks nowhere but in the system's own list of authorities. This command puts the
server's authority into that list; it needs root. The authority vouches for the
names of that server and for no other.

On another machine than the server's, copy ca/ca.pem from the server's data
directory and run: daytona trust --ca ca.pem`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if file == "" {
				file = filepath.Join(data, authorityDir, localca.CertFile)
			}
			cert, err := readAuthority(file)
			if err != nil {
				return err
			}
			store, ok := findTrustStore(trustStores, exec.LookPath)
			if !ok {
				return fmt.Errorf("this system's list of authorities is not one that is known here; add %s to it, or: %s", file, variables(file))
			}
			return store.change(cmd.OutOrStdout(), cert, file, remove)
		},
	}
	cmd.Flags().StringVar(&data, "data", envOr("DAYTONA_DATA", defaultData), "data directory of the server")
	cmd.Flags().StringVar(&file, "ca", "", "certificate of the authority (default <data>/ca/ca.pem)")
	cmd.Flags().BoolVar(&remove, "remove", false, "trust it no longer")
	return cmd
}

func envOr(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}

// readAuthority returns the one certificate of an authority in a file.
func readAuthority(path string) (*x509.Certificate, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s is not there: start the server once, or name its data directory with --data or a copy of its ca/ca.pem with --ca", path)
	}
	if err != nil {
		return nil, err
	}
	block, rest := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE" || len(bytes.TrimSpace(rest)) > 0 {
		return nil, fmt.Errorf("%s does not hold one certificate", path)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if !cert.IsCA {
		return nil, fmt.Errorf("%s is not the certificate of an authority", path)
	}
	if !cert.PermittedDNSDomainsCritical || len(cert.PermittedDNSDomains) == 0 {
		return nil, fmt.Errorf("%s vouches for every name, so it is not a server's of this program", path)
	}
	return cert, nil
}

func findTrustStore(stores []trustStore, lookPath func(string) (string, error)) (trustStore, bool) {
	for _, s := range stores {
		if info, err := os.Stat(s.dir); err != nil || !info.IsDir() {
			continue
		}
		if _, err := lookPath(s.update[0]); err == nil {
			return s, true
		}
	}
	return trustStore{}, false
}

func (s trustStore) change(w io.Writer, cert *x509.Certificate, file string, remove bool) error {
	sum := sha256.Sum256(cert.Raw)
	fingerprint := hex.EncodeToString(sum[:])
	path := filepath.Join(s.dir, "daytona-"+fingerprint[:16]+s.suffix)
	var err error
	if remove {
		if err = os.Remove(path); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	} else {
		err = atomicfile.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}), 0o644)
	}
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%s can be written by root alone: run it with sudo. Without root: %s", s.dir, variables(file))
	}
	if err != nil {
		return err
	}
	if out, err := exec.Command(s.update[0], s.update[1:]...).CombinedOutput(); err != nil { //nolint:noctx // of the table; it ends by itself
		return fmt.Errorf("%s: %w\n%s", s.update[0], err, out)
	}
	if remove {
		fmt.Fprintf(w, "The authority is trusted no longer.\nSHA-256 %s\n", fingerprint)
		return nil
	}
	fmt.Fprintf(w, "This machine trusts the server's certificate now.\nAuthority %s, for %v\nSHA-256 %s\n%s\n", path, cert.PermittedDNSDomains, fingerprint, variables(file))
	return nil
}

// variables says what programs with a list of their own go by.
func variables(file string) string {
	if absolute, err := filepath.Abs(file); err == nil {
		file = absolute
	}
	return fmt.Sprintf(`Programs with a list of their own need a variable: NODE_EXTRA_CA_CERTS=%[1]s (Node); SSL_CERT_FILE=%[1]s (Python SDK of 2025, Go, curl); REQUESTS_CA_BUNDLE=%[1]s, AWS_CA_BUNDLE=%[1]s (boto3 and other tools of Amazon). The newest Python SDK goes by the system's list alone.`, file)
}
