package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// docker is Debian's Docker, started for this run on its own socket and data
// directory, and used as people use it: by its command line.
type docker struct {
	dir    string
	host   string
	daemon *exec.Cmd
	exited chan error
	bridge bool // the daemon made the bridge, so it goes with it
}

const (
	dockerImage = "bench:latest"
	bridge      = "docker0"
)

// startDocker starts the daemon and imports a root file system as its image; nil
// is none.
func startDocker(ctx context.Context, dir string, rootfs func(io.Writer) error) (*docker, error) {
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(dir, "dockerd.log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	d := &docker{dir: dir, host: "unix://" + filepath.Join(dir, "docker.sock"), exited: make(chan error, 1)}
	_, err = net.InterfaceByName(bridge)
	d.bridge = err != nil
	d.daemon = exec.Command("dockerd", //nolint:noctx // Close ends it, in order, when ctx is long over
		"--host", d.host, "--data-root", filepath.Join(dir, "data"),
		"--exec-root", filepath.Join(dir, "exec"), "--pidfile", filepath.Join(dir, "docker.pid"), "--bip", "10.209.0.1/16",
		// Docker would close the way of every other bridge and device on this host.
		"--iptables=false", "--ip6tables=false")
	d.daemon.Stdout, d.daemon.Stderr = log, log
	d.daemon.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := d.daemon.Start(); err != nil {
		return nil, fmt.Errorf("start dockerd (Debian package docker.io): %w", err)
	}
	go func() { d.exited <- d.daemon.Wait() }()
	if err := d.wait(ctx); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	if rootfs == nil {
		return d, nil
	}
	if out, err := d.command(ctx, "image", "inspect", "-f", "{{.Id}}", dockerImage).CombinedOutput(); err == nil && len(out) > 0 {
		return d, nil
	}
	load := d.command(ctx, "import", "-", dockerImage)
	in, err := load.StdinPipe()
	if err != nil {
		return nil, errors.Join(err, d.Close())
	}
	var out bytes.Buffer
	load.Stdout, load.Stderr = &out, &out
	if err := load.Start(); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	sent := errors.Join(rootfs(in), in.Close())
	if err := errors.Join(sent, load.Wait()); err != nil {
		return nil, errors.Join(fmt.Errorf("docker import: %w: %s", err, &out), d.Close())
	}
	return d, nil
}

func (d *docker) wait(ctx context.Context) error {
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		if d.command(ctx, "version").Run() == nil {
			return nil
		}
		select {
		case err := <-d.exited:
			d.exited <- err
			return fmt.Errorf("dockerd ended: %w; see %s", err, filepath.Join(d.dir, "dockerd.log"))
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
	return errors.New("dockerd did not answer within a minute")
}

func (d *docker) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "docker", args...)
	cmd.Env = append(os.Environ(), "DOCKER_HOST="+d.host)
	return cmd
}

func (d *docker) run(ctx context.Context, args ...string) (string, error) {
	out, err := d.command(ctx, args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("docker %s: %w: %s", args[0], err, bytes.TrimSpace(out))
	}
	return strings.TrimSpace(string(out)), nil
}

func (d *docker) Name() string { return peer }

func (d *docker) Create(ctx context.Context, _ bool) (string, error) {
	return d.run(ctx, "run", "-d", "--memory", "1g", "--cpus", "1", "--user", "daytona", dockerImage, "sleep", "infinity")
}

func (d *docker) Delete(ctx context.Context, id string) error {
	_, err := d.run(ctx, "rm", "-f", id)
	return err
}

func (d *docker) Exec(ctx context.Context, id, command string) error {
	_, err := d.run(ctx, "exec", id, "sh", "-c", command)
	return err
}

func (d *docker) Run(ctx context.Context, id, code string) error {
	_, err := d.run(ctx, "exec", id, "python3", "-c", code)
	return err
}

func (d *docker) Upload(ctx context.Context, id string, size int64, r io.Reader, path string) error {
	cmd := d.command(ctx, "exec", "-i", id, "sh", "-c", "cat > "+path)
	cmd.Stdin = r
	return cmd.Run()
}

func (d *docker) Download(ctx context.Context, id, path string) (int64, error) {
	var n counter
	cmd := d.command(ctx, "exec", id, "cat", path)
	cmd.Stdout = &n
	err := cmd.Run()
	return int64(n), err
}

func (d *docker) Settle(ctx context.Context) error { return quiet(ctx, time.Minute) }

func (d *docker) Memory(ctx context.Context, id string) (int64, error) {
	// The shim names the container's full id on its command line; the
	// container's own process is a child of the shim.
	pids, err := processesWith(id)
	if err != nil {
		return 0, err
	}
	inner, err := d.run(ctx, "inspect", "-f", "{{.State.Pid}}", id)
	if err != nil {
		return 0, err
	}
	var pid int
	if _, err := fmt.Sscan(inner, &pid); err != nil {
		return 0, err
	}
	return ownMemory(append(pids, pid))
}

func (d *docker) Close() error {
	// The daemon's own containers are removed first: it does not take them along.
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if ids, err := d.run(ctx, "ps", "-aq"); err == nil && ids != "" {
		_, _ = d.run(ctx, append([]string{"rm", "-f"}, strings.Fields(ids)...)...)
	}
	if err := d.daemon.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-d.exited: //nolint:errcheck // it was asked to end, so how it ended is no news
	case <-time.After(30 * time.Second):
		_ = d.daemon.Process.Kill()
		<-d.exited //nolint:errcheck // likewise
	}
	if !d.bridge {
		return nil
	}
	if out, err := exec.CommandContext(ctx, "ip", "link", "delete", bridge).CombinedOutput(); err != nil {
		return fmt.Errorf("remove %s: %w: %s", bridge, err, out)
	}
	return nil
}

// counter counts the bytes written to it.
type counter int64

func (c *counter) Write(p []byte) (int, error) { *c += counter(len(p)); return len(p), nil }
