package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// running is a server that answers.
type running struct {
	URL string // origin, without /api
	Key string
	Log string
}

// startServer starts the daytona binary beside this program in the background,
// unless one already runs on the data directory.
func startServer(ctx context.Context, dir string) (running, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return running{}, err
	}
	srv := running{Log: filepath.Join(dir, "server.log")}
	progress := newProgress("starting the server")
	if url, err := origin(ctx, dir); err == nil {
		srv.URL = url
	} else {
		exited, err := launch(dir, srv.Log)
		if err != nil {
			return srv, progress.fail(err)
		}
		if srv.URL, err = awaitServer(ctx, dir, exited, srv.Log); err != nil {
			return srv, progress.fail(err)
		}
	}
	key, err := os.ReadFile(filepath.Join(dir, "admin.key"))
	if err != nil {
		return srv, progress.fail(fmt.Errorf("the server's first key is not there (make another with `daytona admin key create`): %w", err))
	}
	srv.Key = strings.TrimSpace(string(key))
	progress.done()
	return srv, nil
}

// launch starts the server in a session of its own, so that it goes on when this
// program and its terminal have ended.
func launch(dir, log string) (<-chan error, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	out, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd := exec.Command(filepath.Join(filepath.Dir(self), "daytona"), "server", "--data", dir) //nolint:noctx // it outlives this program
	cmd.Stdout, cmd.Stderr, cmd.Dir = out, out, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	return exited, nil
}

func awaitServer(ctx context.Context, dir string, exited <-chan error, log string) (string, error) {
	deadline := time.After(time.Minute)
	for {
		if url, err := origin(ctx, dir); err == nil {
			return url, nil
		}
		select {
		case err := <-exited:
			return "", fmt.Errorf("the server ended (%w); the end of %s:\n%s", err, log, tail(log))
		case <-ctx.Done():
			return "", ctx.Err()
		case <-deadline:
			return "", fmt.Errorf("the server did not answer within a minute; the end of %s:\n%s", log, tail(log))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// origin returns where the server of a data directory answers.
func origin(ctx context.Context, dir string) (string, error) {
	text, err := os.ReadFile(filepath.Join(dir, "server.json"))
	if err != nil {
		return "", err
	}
	var state struct {
		URL string `json:"url"`
	}
	if err := json.Unmarshal(text, &state); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, state.URL+"/api/health", nil)
	if err != nil {
		return "", err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return "", errors.New(res.Status)
	}
	return state.URL, nil
}

// tail returns the last lines of a file.
func tail(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-15):], []byte("\n")))
}
