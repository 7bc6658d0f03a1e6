//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"daytona/api/runnerapi"
	"daytona/controlplane"
	"daytona/controlplane/httpapi"
	"daytona/internal/chunkstore"
	"daytona/internal/version"
)

func serverCommand() *cobra.Command {
	return withSettings(&cobra.Command{
		Use:   "server",
		Short: "Run the server",
		Long: `Run the server: the API, and a runner for sandboxes on this machine.

It serves until it gets SIGINT or SIGTERM, then lets requests under way end; a
second signal ends it at once. Sandboxes go on running in either case, and the
next start finds them again.`,
	}, func(cmd *cobra.Command, s *settings) error {
		ctx, stop := untilSignal(cmd.Context())
		defer stop()
		return serve(ctx, s, newLogger(s, os.Stderr))
	})
}

// untilSignal returns a context that ends with the first signal to end. The
// second one ends the process.
func untilSignal(parent context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancel(parent)
	signals := make(chan os.Signal, 2) // room for both: none may be lost
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		select {
		case <-signals:
		case <-ctx.Done():
			return
		}
		cancel()
		<-signals
		fmt.Fprintln(os.Stderr, "daytona: ended by a second signal; sandboxes go on running")
		os.Exit(1)
	}()
	return ctx, func() { signal.Stop(signals); cancel() }
}

// backend is the runner of this host and the loop that keeps it going.
type backend interface {
	runnerapi.Runner
	Run(ctx context.Context) error
	Close(ctx context.Context) error
	// Waiting lists the sandboxes of the warm pool.
	Waiting() []string
}

// serve is the life of a server: what it needs is opened in order, and closed in
// reverse. No sandbox is stopped by it.
func serve(ctx context.Context, s *settings, log *slog.Logger) (err error) {
	if err := os.MkdirAll(s.Data, 0o711); err != nil {
		return err
	}
	lock, err := lockData(s.Data)
	if err != nil {
		return err
	}
	defer lock.release()
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", s.Listen)
	if err != nil {
		return fmt.Errorf("--listen: %w", err)
	}
	defer listener.Close()
	public := publicURL(s, listener.Addr(), log)
	previews, err := previewTemplate(s, public)
	if err != nil {
		return err
	}
	given, err := certificates(s, listener.Addr(), public.Scheme, certNames(s, public, previews), log)
	if err != nil {
		return err
	}
	if listener, err = speakTLS(s, listener, public, given, log); err != nil {
		return err
	}

	gate, err := listenSSH(ctx, s, listener.Addr(), public, log)
	if err != nil {
		return err
	}
	defer gate.close()

	endTracing, err := startTracing(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, endTracing()) }()

	metrics := prometheus.NewRegistry()
	metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	store, err := openStore(ctx, s, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	warnAboutEngines(s, log)
	pullOwnImagesHere(s, listener.Addr(), public)
	local, err := openRunner(ctx, s, log, metrics)
	if err != nil {
		return err
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.ShutdownTimeout)
		defer cancel()
		err = errors.Join(err, local.Close(closing))
	}()

	ups, err := openUploads(s, listener.Addr(), public, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ups.Close()) }()

	sealing, err := s.keys()
	if err != nil {
		return err
	}
	key := &keyFile{path: s.KeyFile}
	plane, err := controlplane.Open(ctx, controlplane.Config{
		Store: store, Keys: sealing, Runner: local, Uploads: ups.Service, Archives: &chunkstore.Store{Bucket: ups.bucket}, Log: log, Metrics: metrics, Version: version.Version,
		PublicURL: public, Previews: previews, SSH: gate.address,
		ImageBudget: int64(s.Build.Images) << 30, BackupEvery: s.BackupEvery,
		Region: s.Region, DefaultSnapshot: s.DefaultSnapshot, Quota: s.Quota, Rates: s.Rates.limits(), TrustedProxies: s.trusted(),
		AnswerWithin: s.CreateBudget, FirstKey: key.choose,
	})
	if err != nil {
		return err
	}
	if err := announceKey(ctx, plane, key, log); err != nil {
		return err
	}
	proxies, err := forProxies(ctx, store, plane.Gate, previews, log)
	if err != nil {
		return err
	}
	front := newProxy(s, plane.Gate, previews, log, metrics).Or(proxies(withMCP(plane.Handler(), listener.Addr(), log)))
	return attend(ctx, s, log, listener, public, front, plane, local, gate.loop(plane.Gate, s, log, metrics), certLoop(given))
}

// attend serves requests and runs the loops until ctx ends or one of them fails.
func attend(ctx context.Context, s *settings, log *slog.Logger, listener net.Listener, public *url.URL, handler http.Handler, plane *controlplane.ControlPlane, local backend, more ...func(context.Context) error) error {
	// Requests outlive ctx by the shutdown timeout, loops outlive the requests.
	requests, endRequests := context.WithCancel(context.WithoutCancel(ctx))
	defer endRequests()
	loops, endLoops := context.WithCancel(context.WithoutCancel(ctx))
	defer endLoops()
	server := &http.Server{
		Handler:           handler,
		Protocols:         protocols(),
		ReadHeaderTimeout: httpapi.ReadHeaderTimeout,
		IdleTimeout:       httpapi.IdleTimeout,
		MaxHeaderBytes:    httpapi.MaxHeaderBytes,
		BaseContext:       func(net.Listener) context.Context { return requests },
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	group, failed := errgroup.WithContext(loops)
	group.Go(func() error { return local.Run(failed) })
	group.Go(func() error { return plane.Run(failed) })
	for _, loop := range more {
		group.Go(func() error { return loop(failed) })
	}
	group.Go(func() error {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	if s.Pprof != "" {
		if err := servePprof(failed, group, s.Pprof, log); err != nil {
			endLoops()
			return errors.Join(err, server.Close(), group.Wait())
		}
	}
	state := filepath.Join(s.Data, stateFile)
	if err := writeState(state, public); err != nil {
		endLoops()
		return errors.Join(err, server.Close(), group.Wait())
	}
	offered := s.offered()
	if info, err := local.Info(ctx); err == nil {
		offered = info.Isolations
	}
	notify(log, "READY=1")
	log.Info("server.ready", "url", public.String(), "api", public.String()+"/api", "listen", listener.Addr().String(),
		"data", s.Data, "version", version.Version, "isolations", strings.Join(offered, ","))

	select {
	case <-ctx.Done():
		log.Info("server.stopping", "reason", "signal", "timeout", s.ShutdownTimeout)
	case <-failed.Done():
		log.Error("server.stopping", "reason", "a part failed")
	}
	notify(log, "STOPPING=1")
	_ = os.Remove(state) // one that stays is no harm: whoever reads it asks the address first
	soft, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.ShutdownTimeout)
	defer cancel()
	if err := server.Shutdown(soft); err != nil {
		log.Warn("requests were cut off", "error", err)
		endRequests()
		_ = server.Close()
	}
	endLoops()
	err := group.Wait()
	if err == nil {
		log.Info("server.stopped")
	}
	return err
}

// announceKey prints the first key once, and says when the file's key is not
// one that the server knows.
func announceKey(ctx context.Context, plane *controlplane.ControlPlane, key *keyFile, log *slog.Logger) error {
	value, err := key.read()
	if err != nil {
		if plane.Planted {
			return err
		}
		log.Warn("the API key file cannot be used", "error", err)
		return nil
	}
	if plane.Planted {
		fmt.Printf("Admin API key: %s\n", value)
		log.Info("admin.created", "key_file", key.path)
		return nil
	}
	if key.made {
		return key.withdraw()
	}
	if value != "" {
		if _, err := plane.Auth.Authenticate(ctx, value); err != nil {
			log.Warn("the API key in the file is not valid; make another with: daytona admin key create", "file", key.path)
		}
	}
	return nil
}

// publicURL is the origin that clients are told.
func publicURL(s *settings, address net.Addr, log *slog.Logger) *url.URL {
	if s.PublicURL != "" {
		u, _ := url.Parse(s.PublicURL) // checked
		u.Path = ""
		return u
	}
	host, port, _ := net.SplitHostPort(address.String())
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		log.Warn("clients on other machines need --public-url: without it they are told an address of this machine alone", "listen", address.String())
		host = "127.0.0.1"
	}
	return &url.URL{Scheme: "http", Host: net.JoinHostPort(host, port)}
}
