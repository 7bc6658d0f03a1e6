//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	daytona "daytona/sdk/go"
)

const (
	snapshot      = "daytona-slim"
	cgroupParent  = "daytona-chaos"
	networkPrefix = "dchaos"
)

// server is bin/daytona on a data directory of its own.
type server struct {
	bin, dir, log string
	database      string // "": SQLite
	objects       *store // nil: the server's own
	clock         string // file of the clock, "" when it doesn't jump
	warm          int
	address       string
	url, key      string
	cmd           *exec.Cmd
	exited        chan struct{}
	say           func(string, ...any)
}

// listen chooses a port, which stays through all restarts.
func (s *server) listen(ctx context.Context) error {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s.address = l.Addr().String()
	s.url = "http://" + s.address + "/api"
	return l.Close()
}

func (s *server) Start(ctx context.Context) error {
	if err := os.MkdirAll(s.dir, 0o711); err != nil {
		return err
	}
	log, err := os.OpenFile(s.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	args := []string{"server", "--data", s.dir, "--listen", s.address,
		"--cgroup-parent", cgroupParent, "--network-prefix", networkPrefix, "--warm", fmt.Sprintf("%s=%d", snapshot, s.warm),
		"--quota-cpu", "1000", "--quota-memory", "1000", "--quota-disk", "10000"}
	if s.database != "" {
		args = append(args, "--database", s.database)
	}
	if o := s.objects; o != nil {
		args = append(args, "--s3-endpoint", o.url, "--s3-bucket", bucket, "--s3-access-key", o.config.Key, "--s3-secret-key", o.config.Secret)
	}
	cmd := exec.Command(s.bin, args...) //nolint:noctx // it is ended in order
	if s.clock != "" {
		cmd.Env = append(os.Environ(), clockVariable+"="+s.clock)
	}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	exited := make(chan struct{})
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() {
		_ = cmd.Wait() // the log says how it ended
		close(exited)
	}()
	s.cmd, s.exited = cmd, exited
	return s.ready(ctx)
}

// ready waits until the snapshot is there, which takes minutes in a new data
// directory.
func (s *server) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Minute)
	defer cancel()
	said := time.Now()
	var failed error
	for {
		if key, err := os.ReadFile(filepath.Join(s.dir, "admin.key")); err == nil {
			s.key = strings.TrimSpace(string(key))
		}
		if client, err := daytona.New(daytona.WithAPIURL(s.url), daytona.WithAPIKey(s.key), daytona.WithRetries(0)); err == nil {
			snap, err := client.Snapshots.Get(ctx, snapshot)
			if err == nil && snap.State == "active" {
				return nil
			}
			failed = err
		}
		if time.Since(said) > 30*time.Second {
			said = time.Now()
			s.say("waiting for the server and its snapshot (%v)", failed)
		}
		select {
		case <-s.exited:
			return fmt.Errorf("the server ended: see %s", s.log)
		case <-ctx.Done():
			return fmt.Errorf("the server is not ready: %w: see %s", errors.Join(ctx.Err(), failed), s.log)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (s *server) Kill() {
	_ = s.cmd.Process.Kill() // it may have ended by itself
	<-s.exited
}

func (s *server) PID() int {
	if s.cmd == nil {
		return 0
	}
	return s.cmd.Process.Pid
}

// end stops the server politely. Sandboxes go on.
func (s *server) end() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Signal(syscall.SIGTERM) // it may have ended by itself
	select {
	case <-s.exited:
	case <-time.After(time.Minute):
		s.Kill()
	}
}

// close stops the server and takes down what it made on the host.
func (s *server) close() error {
	s.end()
	return s.down(context.Background())
}

func (s *server) down(ctx context.Context) error {
	return command(ctx, s.bin, "down", "--data", s.dir, "--cgroup-parent", cgroupParent, "--network-prefix", networkPrefix)
}
