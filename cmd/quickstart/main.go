// Quickstart starts the server, runs the documentation's first program and a
// chart in a sandbox, over HTTP, and says what to do next. Running it again is
// harmless: a server that runs is used as it is.
package main

import (
	"context"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("quickstart", flag.ContinueOnError)
	data := flags.String("data", "/var/lib/daytona", "data directory")
	snapshot := flags.String("snapshot", "daytona-slim", "snapshot to wait for")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errors.New("isolating sandboxes needs root; run it again as root")
	}
	dir, err := filepath.Abs(*data)
	if err != nil {
		return err
	}
	srv, err := startServer(ctx, dir)
	if err != nil {
		return err
	}
	c := &client{url: srv.URL + "/api", key: srv.Key}
	if err := awaitSnapshot(ctx, c, *snapshot); err != nil {
		return err
	}
	chart, err := tryOut(ctx, c, dir)
	if err != nil {
		return err
	}
	env := filepath.Join(dir, "env")
	text := fmt.Sprintf("export DAYTONA_API_URL=%s\nexport DAYTONA_API_KEY=%s\n", c.url, c.key)
	if err := writeSecret(env, text); err != nil {
		return err
	}
	fmt.Printf(`
It works. The chart is in %s

  API       %s
  key       %s
  docs      %s (OpenAPI: %s/openapi.json)
  dashboard not in this version yet
  use it    . %s && pip install daytona   (or npm install @daytonaio/sdk)
  log       %s
  stop      make stop
`, chart, c.url, c.key, c.url, c.url, env, srv.Log)
	return nil
}

// awaitSnapshot waits until the default snapshot is ready and prints how it goes.
func awaitSnapshot(ctx context.Context, c *client, name string) error {
	progress := newProgress("making the snapshot " + name + " (once)")
	for {
		state, err := c.snapshot(ctx, name)
		switch {
		case err != nil:
			return progress.fail(err)
		case state.State == "active":
			progress.done()
			return nil
		case state.State == "error" || state.State == "build_failed":
			return progress.fail(fmt.Errorf("the snapshot %s failed: %s", name, state.ErrorReason))
		}
		progress.say(state.Progress)
		select {
		case <-ctx.Done():
			return progress.fail(ctx.Err())
		case <-time.After(250 * time.Millisecond):
		}
	}
}

const hello = `print("Sum of 3 and 4 is " + str(3 + 4))`

const chartCode = `import matplotlib.pyplot as plt

months = ["Jan", "Feb", "Mar", "Apr"]
plt.figure(figsize=(6, 4))
plt.bar(months, [12, 19, 8, 15])
plt.title("First chart")
plt.ylabel("Value")
plt.show()
`

// tryOut creates a sandbox, runs both programs in it and deletes it. It returns
// where it saved the chart.
func tryOut(ctx context.Context, c *client, dir string) (path string, err error) {
	progress := newProgress("creating a sandbox")
	box, err := c.create(ctx)
	if err != nil {
		return "", progress.fail(err)
	}
	progress.done()
	defer func() {
		cleanup, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		err = errors.Join(err, c.delete(cleanup, box.ID))
	}()

	progress = newProgress("running code")
	answer, err := c.codeRun(ctx, box, hello)
	if err != nil {
		return "", progress.fail(err)
	}
	progress.done()
	fmt.Printf("\n    %s\n    -> %s\n\n", hello, answer.Result)

	progress = newProgress("drawing a chart")
	answer, err = c.codeRun(ctx, box, chartCode)
	if err != nil {
		return "", progress.fail(err)
	}
	if len(answer.Artifacts.Charts) == 0 {
		return "", progress.fail(fmt.Errorf("the program drew no chart; it printed: %s", answer.Result))
	}
	chart := answer.Artifacts.Charts[0]
	png, err := base64.StdEncoding.DecodeString(chart.PNG)
	if err != nil {
		return "", progress.fail(fmt.Errorf("the chart is not base64: %w", err))
	}
	path = filepath.Join(dir, "quickstart-chart.png")
	if err := os.WriteFile(path, png, 0o644); err != nil {
		return "", progress.fail(err)
	}
	progress.done()
	fmt.Printf("\n    %s chart, title %q, %d bytes of PNG\n", chart.Type, chart.Title, len(png))
	return path, nil
}

// writeSecret replaces a file that only root may read.
func writeSecret(path, text string) error {
	tmp := path + ".tmp"
	if err := os.Remove(tmp); err != nil && !os.IsNotExist(err) {
		return err
	}
	if err := os.WriteFile(tmp, []byte(text), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}
