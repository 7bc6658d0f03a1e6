package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// server is our server, started for this run with one isolation.
type server struct {
	isolation string
	dir       string
	url       string
	key       string
	cgroup    string
	warm      int
	client    *http.Client
	cmd       *exec.Cmd
	exited    chan error
}

const (
	benchSnapshot = "daytona-slim"
	benchCgroup   = "daytona-bench"
	benchPrefix   = "dbench"
)

// startServer starts bin/daytona beside this program and waits until its default
// snapshot is ready, which takes minutes in a new data directory.
func startServer(ctx context.Context, bin, dir, isolation string, warm int, say func(string, ...any)) (*server, error) {
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return nil, err
	}
	port, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	log, err := os.OpenFile(filepath.Join(dir, "server.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	listen := fmt.Sprintf("127.0.0.1:%d", port)
	s := &server{
		isolation: isolation, dir: dir, url: "http://" + listen, cgroup: benchCgroup, warm: warm,
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 200}}, exited: make(chan error, 1),
	}
	s.cmd = exec.Command(filepath.Join(bin, "daytona"), //nolint:noctx // Close ends it, in order, when ctx is long over
		"server", "--data", dir, "--listen", listen,
		"--isolation", isolation, "--warm", fmt.Sprintf("%s=%d", benchSnapshot, warm),
		"--cgroup-parent", benchCgroup, "--network-prefix", benchPrefix,
		"--quota-cpu", "1000", "--quota-memory", "1000", "--quota-disk", "10000")
	s.cmd.Stdout, s.cmd.Stderr = log, log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { s.exited <- s.cmd.Wait() }()
	if err := s.ready(ctx, say); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func freePort(ctx context.Context) (int, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

func (s *server) ready(ctx context.Context, say func(string, ...any)) error {
	said := false
	for deadline := time.Now().Add(15 * time.Minute); time.Now().Before(deadline); {
		if key, err := os.ReadFile(filepath.Join(s.dir, "admin.key")); err == nil {
			s.key = strings.TrimSpace(string(key))
		}
		var snapshot struct{ State, ErrorReason string }
		err := s.call(ctx, http.MethodGet, "/api/snapshots/"+benchSnapshot, nil, &snapshot)
		switch {
		case err == nil && snapshot.State == "active":
			return nil
		case err == nil && snapshot.State == "error":
			return fmt.Errorf("the snapshot %s failed: %s", benchSnapshot, snapshot.ErrorReason)
		case err == nil && !said:
			say("%s: making the snapshot %s, once", s.Name(), benchSnapshot)
			said = true
		}
		select {
		case err := <-s.exited:
			s.exited <- err
			return fmt.Errorf("the server ended: %w; see %s", err, filepath.Join(s.dir, "server.log"))
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
	return errors.New("the server was not ready within 15 minutes")
}

// call sends a JSON request and decodes a JSON answer.
func (s *server) call(ctx context.Context, method, path string, body, answer any) error {
	var r io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return err
		}
		r = bytes.NewReader(text)
	}
	res, err := s.send(ctx, method, path, "application/json", r)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if answer == nil {
		_, err := io.Copy(io.Discard, res.Body)
		return err
	}
	return json.NewDecoder(res.Body).Decode(answer)
}

func (s *server) send(ctx context.Context, method, path, contentType string, r io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, s.url+path, r)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+s.key)
	req.Header.Set("X-Daytona-Source", "sdk-bench")
	if r != nil {
		req.Header.Set("Content-Type", contentType)
	}
	res, err := s.client.Do(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode >= 300 {
		defer res.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(res.Body, 2000))
		return nil, fmt.Errorf("%s %s: %s: %s", method, path, res.Status, text)
	}
	return res, nil
}

func (s *server) Name() string { return s.isolation }

func (s *server) Create(ctx context.Context, warm bool) (string, error) {
	body := map[string]any{"autoStopInterval": 0}
	if !warm {
		// A user that is named is not the pool's: this one is made from nothing.
		body["user"] = "root"
	}
	var box struct{ ID, State, ErrorReason string }
	if err := s.call(ctx, http.MethodPost, "/api/sandbox", body, &box); err != nil {
		return "", err
	}
	for box.State != "started" {
		if box.State == "error" {
			return "", fmt.Errorf("sandbox %s: %s", box.ID, box.ErrorReason)
		}
		time.Sleep(20 * time.Millisecond)
		if err := s.call(ctx, http.MethodGet, "/api/sandbox/"+box.ID, nil, &box); err != nil {
			return "", err
		}
	}
	return box.ID, nil
}

func (s *server) Delete(ctx context.Context, id string) error {
	return s.call(ctx, http.MethodDelete, "/api/sandbox/"+id, nil, nil)
}

func (s *server) Exec(ctx context.Context, id, command string) error {
	_, err := s.process(ctx, id, "execute", map[string]any{"command": command})
	return err
}

func (s *server) Run(ctx context.Context, id, code string) error {
	_, err := s.process(ctx, id, "code-run", map[string]any{"code": code, "language": "python"})
	return err
}

// process runs something that must exit with 0 and returns what it printed.
func (s *server) process(ctx context.Context, id, act string, body any) (string, error) {
	var answer struct {
		ExitCode int
		Result   string
	}
	if err := s.call(ctx, http.MethodPost, "/toolbox/"+id+"/process/"+act, body, &answer); err != nil {
		return "", err
	}
	if answer.ExitCode != 0 {
		return "", fmt.Errorf("%s: exit code %d: %s", act, answer.ExitCode, answer.Result)
	}
	return answer.Result, nil
}

func (s *server) ToolboxSize() (int64, error) {
	info, err := os.Stat(filepath.Join(filepath.Dir(s.cmd.Path), "toolbox"))
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// ToolboxMemory asks inside: under gVisor the toolbox is no process of the host.
func (s *server) ToolboxMemory(ctx context.Context, id string) (int64, error) {
	text, err := s.process(ctx, id, "execute", map[string]any{"command": "grep ^VmRSS: /proc/1/status"})
	if err != nil {
		return 0, err
	}
	var kib int64
	if _, err := fmt.Sscanf(text, "VmRSS: %d kB", &kib); err != nil {
		return 0, fmt.Errorf("status of the toolbox: %q: %w", text, err)
	}
	return kib << 10, nil
}

func (s *server) Upload(ctx context.Context, id string, _ int64, r io.Reader, path string) error {
	reader, writer := io.Pipe()
	form := multipart.NewWriter(writer)
	go func() {
		err := form.WriteField("files[0].path", path)
		if err == nil {
			var part io.Writer
			if part, err = form.CreateFormFile("files[0].file", filepath.Base(path)); err == nil {
				_, err = io.Copy(part, r)
			}
		}
		writer.CloseWithError(errors.Join(err, form.Close()))
	}()
	res, err := s.send(ctx, http.MethodPost, "/toolbox/"+id+"/files/bulk-upload", form.FormDataContentType(), reader)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, res.Body)
	return err
}

func (s *server) Download(ctx context.Context, id, path string) (int64, error) {
	res, err := s.send(ctx, http.MethodGet, "/toolbox/"+id+"/files/download?path="+url.QueryEscape(path), "", nil)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	return io.Copy(io.Discard, res.Body)
}

// Settle waits until the warm pool is full again and its sandboxes have got
// their interpreters ready.
func (s *server) Settle(ctx context.Context) error {
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); {
		ready, err := s.metric(ctx, "runner_warm_ready")
		if err != nil {
			return err
		}
		if int(ready) >= s.warm {
			return quiet(ctx, time.Minute)
		}
		time.Sleep(20 * time.Millisecond)
	}
	return errors.New("the warm pool was not full within two minutes")
}

// metric adds up the samples of one metric in /metrics.
func (s *server) metric(ctx context.Context, name string) (float64, error) {
	res, err := s.send(ctx, http.MethodGet, "/metrics", "", nil)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, err
	}
	var sum float64
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, name); ok && (rest[0] == ' ' || rest[0] == '{') {
			var v float64
			if _, err := fmt.Sscan(line[strings.LastIndexByte(line, ' ')+1:], &v); err != nil {
				return 0, err
			}
			sum += v
		}
	}
	return sum, nil
}

func (s *server) Memory(_ context.Context, id string) (int64, error) {
	for _, base := range []string{"/sys/fs/cgroup/memory", "/sys/fs/cgroup"} {
		if pids, err := cgroupProcesses(filepath.Join(base, s.cgroup, id)); err == nil && len(pids) > 0 {
			return ownMemory(pids)
		}
	}
	return 0, fmt.Errorf("no cgroup with processes for sandbox %s", id)
}

// Close stops the server; the sandboxes' host resources are taken down after it.
func (s *server) Close() error {
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-s.exited: //nolint:errcheck // it was asked to end, so how it ended is no news
	case <-time.After(time.Minute):
		_ = s.cmd.Process.Kill()
		<-s.exited //nolint:errcheck // likewise
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	down := exec.CommandContext(ctx, s.cmd.Path, "down", "--data", s.dir, "--cgroup-parent", benchCgroup, "--network-prefix", benchPrefix)
	if out, err := down.CombinedOutput(); err != nil {
		return fmt.Errorf("daytona down: %w: %s", err, out)
	}
	return nil
}
