//go:build linux

package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"daytona/api/proxyapi"
	"daytona/controlplane/gate"
	"daytona/controlplane/grant"
	"daytona/controlplane/httpapi"
	"daytona/controlplane/proxyhttp"
	"daytona/internal/fault"
	"daytona/internal/options"
	"daytona/internal/tlsport"
	"daytona/internal/version"
	"daytona/proxy/remote"
)

// proxiesKey is the key by which servers with one database know their proxies.
func proxiesKey(ctx context.Context, store grant.Store) (string, error) {
	var fresh [32]byte
	rand.Read(fresh[:]) // never fails
	return store.ServerKey(ctx, "proxies", "dtp_"+hex.EncodeToString(fresh[:]))
}

// forProxies returns what lets proxies elsewhere in, and others through to the
// next handler.
func forProxies(ctx context.Context, store grant.Store, g *gate.Gate, previews proxyapi.Template, log *slog.Logger) (func(http.Handler) http.Handler, error) {
	key, err := proxiesKey(ctx, store)
	if err != nil {
		return nil, err
	}
	h := proxyhttp.New(g, key, proxyapi.Place{Template: previews.String(), SignIn: g.SignInURL.String(), Version: version.Version}, log)
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.URL.Path, proxyapi.WirePrefix) {
				h.ServeHTTP(w, r)
				return
			}
			next.ServeHTTP(w, r)
		})
	}, nil
}

func proxyKeyCommand() *cobra.Command {
	return withSettings(&cobra.Command{
		Use:   "proxy-key",
		Short: "Print the key by which the server knows its proxies",
		Long: `Print the key that "daytona proxy" needs. Whoever has it reaches every sandbox
of the server, so keep it as you keep the database.`,
	}, func(cmd *cobra.Command, s *settings) (err error) {
		store, err := openExistingStore(cmd.Context(), s, slog.New(slog.DiscardHandler))
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, store.Close()) }()
		key, err := proxiesKey(cmd.Context(), store)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(cmd.OutOrStdout(), key)
		return err
	}, whichServer...)
}

// role is what a proxy needs beside the settings that it shares with a server.
type role struct{ Server, Key, KeyFile string }

// shared are the server's settings that a proxy has, too.
var sharedWithProxy = []string{
	"data", "listen", "shutdown-timeout", "log-level", "log-format", "preview-warning", "preview-idle", "trusted-proxies",
	"tls-cert", "tls-key", "acme", "acme-email", "acme-dns-hook", "acme-roots", "ssh-listen", "ssh-host-key",
}

func declareProxy() (*settings, *role, *options.Set) {
	s, all := declare()
	r := &role{}
	set := options.New("DAYTONA_")
	set.Add(
		options.Option{Group: "Proxy", Name: "server", Value: options.String(&r.Server), Help: "origin of the server", Check: func() error {
			if r.Server == "" {
				return errors.New("is needed: the origin of the server, such as https://daytona.example.org")
			}
			return checkOrigin(r.Server)
		}},
		options.Option{Group: "Proxy", Name: "proxy-key", Value: options.String(&r.Key), Help: "what daytona admin proxy-key prints on the server; better in the variable than in a flag"},
		options.Option{Group: "Proxy", Name: "proxy-key-file", Value: options.String(&r.KeyFile), Help: "file with that key"},
	)
	for _, o := range all.All() {
		for _, name := range sharedWithProxy {
			if o.Name == name {
				set.Add(*o)
			}
		}
	}
	return s, r, set
}

func proxyCommand() *cobra.Command {
	s, r, set := declareProxy()
	cmd := &cobra.Command{
		Use:   "proxy",
		Short: "Run a proxy for previews and SSH beside a server elsewhere",
		Long: `Run a proxy for previews, terminals and SSH in a process of its own. It asks the
server who may reach what, and keeps nothing that another proxy would miss: run
as many as you like. The server has one built in, so that most need none.`,
		Args: cobra.NoArgs,
	}
	set.Flags(cmd.Flags())
	cmd.SetHelpFunc(func(cmd *cobra.Command, _ []string) { fmt.Fprint(cmd.OutOrStdout(), help(cmd, set)) })
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := set.Load(options.Sources{Env: os.LookupEnv, Flags: cmd.Flags()}); err != nil {
			return fmt.Errorf("the configuration has problems:\n%s", indent(err.Error()))
		}
		ctx, stop := untilSignal(cmd.Context())
		defer stop()
		return serveProxy(ctx, s, r, newLogger(s, os.Stderr))
	}
	return cmd
}

// reach waits until the server answers, which may start later than its proxies.
func reach(ctx context.Context, r *role, log *slog.Logger) (*remote.Plane, proxyapi.Place, error) {
	key := r.Key
	if key == "" && r.KeyFile != "" {
		text, err := os.ReadFile(r.KeyFile)
		if err != nil {
			return nil, proxyapi.Place{}, fmt.Errorf("--proxy-key-file: %w", err)
		}
		key = strings.TrimSpace(string(text))
	}
	server, err := url.Parse(r.Server)
	if err != nil {
		return nil, proxyapi.Place{}, err
	}
	for said := false; ; said = true {
		plane, place, err := remote.Open(ctx, remote.Config{Server: server, Key: key, Log: log})
		if err == nil || !fault.Is(err, fault.Unavailable) {
			return plane, place, err
		}
		if !said {
			log.Warn("the server does not answer yet; the proxy waits for it", "server", r.Server, "error", err)
		}
		select {
		case <-ctx.Done():
			return nil, place, ctx.Err()
		case <-time.After(time.Second):
		}
	}
}

// serveProxy is the life of a proxy.
func serveProxy(ctx context.Context, s *settings, r *role, log *slog.Logger) error {
	plane, place, err := reach(ctx, r, log)
	if err != nil {
		return err
	}
	defer plane.Close()
	previews, err := proxyapi.ParseTemplate(place.Template)
	if err != nil {
		return err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", s.Listen)
	if err != nil {
		return fmt.Errorf("--listen: %w", err)
	}
	defer listener.Close()
	beside := listener.Addr()
	given, err := certificates(s, beside, previews.Scheme(), previewNames(previews), log)
	if err != nil {
		return err
	}
	if given != nil {
		listener = tlsport.New(listener, given.TLS(), "does the certificate have the name?", log)
	}
	if err := os.MkdirAll(s.Data, 0o711); err != nil { // the SSH host key, certificates
		return err
	}
	ssh, err := listenSSH(ctx, s, beside, &url.URL{Host: beside.String()}, log)
	if err != nil {
		return err
	}
	defer ssh.close()
	metrics := prometheus.NewRegistry()
	requests, endRequests := context.WithCancel(context.WithoutCancel(ctx))
	defer endRequests()
	server := &http.Server{
		Handler: newProxy(s, plane, previews, log, metrics), Protocols: protocols(),
		ReadHeaderTimeout: httpapi.ReadHeaderTimeout, IdleTimeout: httpapi.IdleTimeout, MaxHeaderBytes: httpapi.MaxHeaderBytes,
		BaseContext: func(net.Listener) context.Context { return requests }, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	loops, endLoops := context.WithCancel(context.WithoutCancel(ctx))
	defer endLoops()
	group, failed := errgroup.WithContext(loops)
	group.Go(func() error {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	group.Go(func() error { return ssh.loop(plane, s, log, metrics)(failed) })
	group.Go(func() error { return certLoop(given)(failed) })
	notify(log, "READY=1")
	log.Info("proxy.ready", "listen", beside.String(), "server", r.Server, "previews", previews.String(), "version", version.Version)
	select {
	case <-ctx.Done():
		log.Info("proxy.stopping", "reason", "signal", "timeout", s.ShutdownTimeout)
	case <-failed.Done():
	}
	soft, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.ShutdownTimeout)
	defer cancel()
	if err := server.Shutdown(soft); err != nil {
		log.Warn("requests were cut off", "error", err)
		endRequests()
		_ = server.Close()
	}
	endLoops()
	return group.Wait()
}
