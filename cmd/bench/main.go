// Bench measures the server, with each isolation, beside Docker in the same
// run, and prints medians, tails and ratios. It starts what it measures, on
// loopback and in a data directory of its own, and ends it again.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(os.Args) == 2 && os.Args[1] == "serve" { // in a sandbox
		fmt.Fprintln(os.Stderr, "bench:", serveInside())
		os.Exit(1)
	}
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	bin := flags.String("bin", "bin", "folder of the built programs")
	data := flags.String("data", ".cache/bench", "data directory; kept, so that the snapshot is made once")
	only := flags.String("only", "gvisor,runc,docker,previews,images,cli", "what to measure, in this order")
	out := flags.String("json", ".cache/bench/report.json", "where to write the report as JSON")
	quick := flags.Bool("quick", false, "few rounds: to see that it works, not to quote")
	idle := flags.Int("idle", 0, "how many sandboxes shall lie idle together, such as 500, which takes minutes (default 100, with --quick 10)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	dir, err := filepath.Abs(*data)
	if err != nil {
		return err
	}
	rounds := Rounds{Create: 30, Exec: 200, Run: 100, Transfer: 5, Burst: 50, Idle: 100, Pairs: 30, Abuse: 200}
	if *quick {
		rounds = Rounds{Create: 5, Exec: 20, Run: 10, Transfer: 2, Burst: 10, Idle: 10, Pairs: 5, Abuse: 30}
	}
	if *idle > 0 {
		rounds.Idle = *idle
	}
	say := func(format string, args ...any) { fmt.Fprintf(os.Stderr, "  "+format+"\n", args...) }

	report := Report{
		Machine:  fmt.Sprintf("%d processors, %s", runtime.NumCPU(), kernel()),
		Date:     time.Now().UTC().Format(time.DateOnly),
		Subjects: map[string]Result{},
		Order:    strings.Split(*only, ","),
	}
	if slices.Contains(report.Order, previewSubject) {
		report.Order = slices.DeleteFunc(report.Order, func(name string) bool { return name == previewSubject })
		if report.Previews, err = measurePreviews(ctx, *bin, dir, *quick, say); err != nil {
			return err
		}
		if err := writePreviews(os.Stdout, report.Previews); err != nil {
			return err
		}
	}
	if slices.Contains(report.Order, imagesSubject) {
		report.Order = slices.DeleteFunc(report.Order, func(name string) bool { return name == imagesSubject })
		var order []string
		report.Images, order, err = measureImages(ctx, *bin, dir, *quick, say)
		if err := errors.Join(err, (Report{Machine: report.Machine, Date: report.Date, Subjects: report.Images, Order: order}).write(os.Stdout, imageFigures)); err != nil {
			return err
		}
	}
	if slices.Contains(report.Order, cliSubject) {
		report.Order = slices.DeleteFunc(report.Order, func(name string) bool { return name == cliSubject })
		if report.CLI, err = measureCLI(ctx, *bin, *quick); err != nil {
			return err
		}
		if err := writeCLI(os.Stdout, report.CLI); err != nil {
			return err
		}
	}
	for _, name := range report.Order {
		if !slices.Contains([]string{"gvisor", "runc", peer}, name) {
			return fmt.Errorf("--only %q: choose of gvisor, runc, docker, previews, images, cli", name)
		}
		var subject Subject
		if name == peer {
			subject, err = startPeer(ctx, *bin, dir, say)
		} else {
			subject, err = startServer(ctx, *bin, filepath.Join(dir, "data"), name, 4, say)
		}
		if err != nil {
			return err
		}
		result, err := measure(ctx, subject, rounds, say)
		report.Subjects[name] = result
		if closeErr := subject.Close(); err == nil {
			err = closeErr
		}
		if err != nil {
			return err
		}
	}
	if len(report.Subjects) > 0 {
		if err := report.write(os.Stdout, figures); err != nil {
			return err
		}
	}
	text, err := json.MarshalIndent(report, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(*out, append(text, '\n'), 0o644); err != nil {
		return err
	}
	fmt.Printf("\nwritten to %s\n", *out)
	return nil
}

// startPeer starts Docker with the same root file system as our sandboxes have:
// it is copied out of one of them.
func startPeer(ctx context.Context, bin, dir string, say func(string, ...any)) (Subject, error) {
	return startDocker(ctx, filepath.Join(dir, "docker"), func(w io.Writer) (err error) {
		say("docker: copying the root file system, once")
		s, err := startServer(ctx, bin, filepath.Join(dir, "data"), "runc", 0, say)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, s.Close()) }()
		id, err := s.Create(ctx, false)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, s.Delete(ctx, id)) }()
		pids, err := cgroupProcesses(filepath.Join("/sys/fs/cgroup/memory", s.cgroup, id))
		if err != nil || len(pids) == 0 {
			return fmt.Errorf("no process of sandbox %s: %w", id, err)
		}
		// Ids are shown unshifted only from inside its user namespace, so tar
		// runs there.
		tar := exec.CommandContext(ctx, "nsenter", "-t", fmt.Sprint(pids[0]), "-U", "-m", "-S", "0", "-G", "0",
			"tar", "-C", "/", "--one-file-system", "-cf", "-", ".")
		tar.Stdout, tar.Stderr = w, os.Stderr
		return tar.Run()
	})
}

func kernel() string {
	var u syscall.Utsname
	if err := syscall.Uname(&u); err != nil {
		return runtime.GOOS
	}
	var b strings.Builder
	for _, c := range u.Release {
		if c == 0 {
			break
		}
		b.WriteByte(byte(c))
	}
	return "Linux " + b.String()
}
