package certs

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3/acme"
	"go.uber.org/zap"
)

// LetsEncrypt is the directory that is meant by that name.
const LetsEncrypt = "letsencrypt"

// ACMEConfig says from whom certificates come, and for which names.
type ACMEConfig struct {
	// Directory is the address of an authority's ACME directory, or LetsEncrypt.
	Directory string
	// Roots is a PEM file with the authorities by which the directory itself is
	// trusted, "" for those of the system.
	Roots string
	Email string // whom the authority warns; may be empty
	// Names are host names; one that begins with *. needs Hook.
	Names []string
	// Hook is a program that changes DNS. It is run as
	//
	//	HOOK present|cleanup _acme-challenge.example.org VALUE
	//
	// and has to return 0 once the authority can see the TXT record, or sees it
	// no longer.
	Hook string
	// Port is that of the listener that gets TLS. Without Hook the authority
	// must reach it as port 443 of each name.
	Port int
	Dir  string // in which account, keys and certificates are kept
	Log  *slog.Logger
}

// ACME has certificates made and renewed while its Run runs. Until a name has its
// first one, connections for it fail.
func ACME(c ACMEConfig) (*Source, error) {
	for _, name := range c.Names {
		if strings.HasPrefix(name, "*.") && c.Hook == "" {
			return nil, fmt.Errorf("a certificate for %s needs a program that changes DNS: authorities give out wildcards for TXT records alone", name)
		}
		if net.ParseIP(name) != nil || !strings.Contains(name, ".") || strings.HasSuffix(name, ".localhost") {
			return nil, fmt.Errorf("no authority gives out certificates for %s", name)
		}
	}
	template := certmagic.ACMEIssuer{
		CA: c.Directory, TestCA: c.Directory, Email: c.Email, Agreed: true, Logger: logger(c.Log),
		DisableHTTPChallenge: true, AltTLSALPNPort: c.Port,
	}
	if c.Directory == LetsEncrypt {
		template.CA, template.TestCA = certmagic.LetsEncryptProductionCA, certmagic.LetsEncryptStagingCA
	}
	if c.Roots != "" {
		text, err := os.ReadFile(c.Roots)
		if err != nil {
			return nil, err
		}
		template.TrustedRoots = x509.NewCertPool()
		if !template.TrustedRoots.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("%s holds no certificate in PEM form", c.Roots)
		}
	}
	if c.Hook != "" {
		path, err := exec.LookPath(c.Hook)
		if err != nil {
			return nil, err
		}
		template.DNS01Solver = hook{path, c.Log}
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, err
	}
	var magic *certmagic.Config
	cache := certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert: func(certmagic.Certificate) (*certmagic.Config, error) { return magic, nil },
		Logger:           logger(c.Log),
	})
	magic = certmagic.New(cache, certmagic.Config{
		Storage: &certmagic.FileStorage{Path: c.Dir}, Logger: logger(c.Log), OnEvent: events(c.Log),
	})
	magic.Issuers = []certmagic.Issuer{certmagic.NewACMEIssuer(magic, template)}
	run := func(ctx context.Context) error {
		defer cache.Stop()
		if err := magic.ManageAsync(ctx, c.Names); err != nil {
			return err
		}
		<-ctx.Done()
		return nil
	}
	return &Source{get: magic.GetCertificate, run: run, acme: true}, nil
}

// events logs what an operator wants to know.
func events(log *slog.Logger) func(context.Context, string, map[string]any) error {
	return func(_ context.Context, event string, data map[string]any) error {
		name, _ := data["identifier"].(string)
		switch event {
		case "cert_obtained":
			log.Info("certificate.obtained", "name", name, "renewal", data["renewal"])
		case "cert_failed":
			log.Error("no certificate; it is tried again, less and less often", "name", name, "error", data["error"])
		}
		return nil
	}
}

// hookTimeout bounds one run of the program: DNS can take minutes to tell all.
const hookTimeout = 10 * time.Minute

// hook solves challenges with the operator's program.
type hook struct {
	path string
	log  *slog.Logger
}

// Present implements acmez.Solver.
func (h hook) Present(ctx context.Context, challenge acme.Challenge) error {
	return h.run(ctx, "present", challenge)
}

// CleanUp implements acmez.Solver.
func (h hook) CleanUp(ctx context.Context, challenge acme.Challenge) error {
	return h.run(context.WithoutCancel(ctx), "cleanup", challenge)
}

func (h hook) run(ctx context.Context, verb string, challenge acme.Challenge) error {
	ctx, cancel := context.WithTimeout(ctx, hookTimeout)
	defer cancel()
	name := challenge.DNS01TXTRecordName()
	cmd := exec.CommandContext(ctx, h.path, verb, name, challenge.DNS01KeyAuthorization()) // #nosec G204 -- the operator's own
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		err = errors.New("exit code " + strconv.Itoa(exit.ExitCode()))
	}
	return fmt.Errorf("%s %s %s: %w: %s", h.path, verb, name, err, strings.TrimSpace(string(out[:min(len(out), 2000)])))
}

// logger gives a library of another style of logging our log.
func logger(log *slog.Logger) *zap.Logger { return zap.New(core{log}) }
