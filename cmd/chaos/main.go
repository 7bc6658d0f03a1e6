//go:build linux

// Chaos works with many sandboxes on a server of its own while it kills, fills,
// cuts and stops what the server stands on, and then holds what was acknowledged
// against what is found. It ends with an error when a promise was broken.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"daytona/e2e/chaos"
	"daytona/internal/footprint"
	"daytona/internal/testpg"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) (err error) {
	flags := flag.NewFlagSet("chaos", flag.ContinueOnError)
	bin := flags.String("bin", "bin", "folder of the built programs")
	dir := flags.String("dir", ".cache/chaos", "where to keep the data directory, on a disk of its own in a file")
	length := flags.Duration("for", 20*time.Minute, "how long to go on")
	every := flags.Duration("every", 8*time.Second, "time between faults, in the middle")
	workers := flags.Int("workers", 6, "clients at the same time")
	boxes := flags.Int("boxes", 3, "sandboxes of each client at most")
	warm := flags.Int("warm", 2, "sandboxes kept ready")
	seed := flags.Uint64("seed", uint64(time.Now().UnixNano()), "draws operations and faults")
	postgres := flags.Bool("postgres", false, "keep the server's rows in PostgreSQL, which is killed as well")
	s3 := flags.Bool("s3", false, "keep objects in an S3 outside the server, which fails, hangs and lies")
	jumps := flags.Bool("clock", false, "make the server's clock jump; build it first: scripts/clock.sh bin/daytona-clock")
	size := flags.Int("disk", 24, "GiB of the disk")
	if err := flags.Parse(args); err != nil {
		return err
	}
	say := func(format string, args ...any) { fmt.Fprintf(os.Stderr, "  "+format+"\n", args...) }
	root, err := filepath.Abs(*dir)
	if err != nil {
		return err
	}
	s := &server{bin: filepath.Join(*bin, "daytona"), dir: filepath.Join(root, "disk", "data"), log: filepath.Join(root, "server.log"), say: say}
	d := &disk{file: filepath.Join(root, "disk.img"), mount: filepath.Join(root, "disk"), size: int64(*size) << 30}
	if err := errors.Join(s.down(ctx), d.open(ctx)); err != nil { // what an earlier, killed run left
		return err
	}
	defer func() { err = errors.Join(err, d.close()) }()

	config := chaos.Config{
		Snapshot: snapshot, Server: s, Host: footprint.Server{Data: s.dir, CgroupParent: cgroupParent, NetworkPrefix: networkPrefix},
		Faults: []chaos.Fault{{Name: "disk full", Begin: d.fill}}, Archive: true, Seed: *seed, For: *length, Every: *every, Workers: *workers, Boxes: *boxes, Say: say,
	}
	if *postgres {
		pg, err := testpg.New(ctx)
		if err != nil {
			return err
		}
		defer pg.Stop()
		s.database, config.Postgres = pg.DSN("postgres"), pg
	}
	if *s3 {
		objects, err := openStore(ctx, *bin, filepath.Join(root, "objects"))
		if err != nil {
			return err
		}
		defer func() { _ = objects.close() }()
		s.objects, config.Faults = objects, append(config.Faults, objects.faults()...)
	}
	if *jumps {
		c, err := openClock(root)
		if err != nil {
			return err
		}
		s.bin, s.clock, config.Faults = s.bin+"-clock", c.file, append(config.Faults, c.faults()...)
	}
	if err := s.listen(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	// The pool begins with the first restart.
	if err := s.Start(ctx); err != nil {
		return err
	}
	s.warm = *warm
	config.Drain = func(ctx context.Context) error {
		s.warm = 0
		s.end()
		return s.Start(ctx)
	}
	config.URL, config.Key = s.url, s.key
	say("seed %d: for %s, a fault every %s or so", *seed, *length, *every)
	report, err := chaos.Run(ctx, config)
	if err := report.Write(os.Stdout); err != nil {
		return err
	}
	if err == nil && len(report.Violations) > 0 {
		err = fmt.Errorf("%d violations; repeat with --seed %d; the server's log is %s", len(report.Violations), *seed, s.log)
	}
	return err
}
