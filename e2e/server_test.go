//go:build root

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const snapshot = "daytona-slim"

// desktopSnapshot is the one for computer use. The server makes it once in a
// data directory, as it does the other.
const desktopSnapshot = "daytona-desktop"

// What the server under test calls its host resources. The names differ from
// those of another server, and between checkouts.
var (
	networkPrefix = prefixFor(checkout())
	cgroupParent  = "daytona-e2e-" + networkPrefix
)

func checkout() string {
	dir, err := os.Getwd()
	if err != nil {
		panic(err) // there is no test without a working directory
	}
	return dir
}

// prefixFor makes six letters of a path.
func prefixFor(path string) string {
	h := fnv.New64a()
	_, _ = io.WriteString(h, path)
	sum, name := h.Sum64(), []byte("e")
	for len(name) < 6 {
		name = append(name, 'a'+byte(sum%26))
		sum /= 26
	}
	return string(name)
}

// server is bin/daytona on a data directory of its own.
type server struct {
	external bool   // somebody else's; it can't be restarted
	dir      string // data directory
	listen   string // host:port
	api      *client
	cmd      *exec.Cmd
	exited   chan struct{} // closed when cmd has ended
}

// mode is how the server is started.
type mode struct {
	isolation string
	warm      int // sandboxes kept ready
}

var defaultMode = mode{isolation: "gvisor", warm: 2}

// newServer ends what an earlier, killed run left.
func newServer() (*server, error) {
	s := &server{dir: os.Getenv("DAYTONA_E2E_DATA")}
	if s.dir == "" {
		s.dir = filepath.Join(cache, "data")
	}
	// Sandboxes in a user namespace pass through it to their root.
	if err := os.MkdirAll(s.dir, 0o711); err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	s.listen = "127.0.0.1:" + strconv.Itoa(port)
	s.api = &client{url: "http://" + s.listen + "/api"}
	if err := s.killEarlier(); err != nil {
		return nil, err
	}
	return s, s.down()
}

func (s *server) start() error { return s.startAs(defaultMode) }

// startAs starts the server, waits until its snapshot is ready, which takes
// minutes in a new data directory, and reads its key.
func (s *server) startAs(m mode) error {
	log, err := os.OpenFile(s.logFile(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	images, err := mirrorArgs()
	if err != nil {
		return err
	}
	cmd := exec.Command(s.binary(), //nolint:noctx // it is ended in order
		"server", "--data", s.dir, "--listen", s.listen,
		"--snapshots", snapshot+","+desktopSnapshot, "--isolation", m.isolation, "--warm", fmt.Sprintf("%s=%d", snapshot, m.warm),
		"--cgroup-parent", cgroupParent, "--network-prefix", networkPrefix,
		"--quota-cpu", "1000", "--quota-memory", "1000", "--quota-disk", "10000")
	cmd.Args = append(cmd.Args, images...)
	if m.isolation == defaultMode.isolation { // a sandbox may ask for the other one
		cmd.Args = append(cmd.Args, "--isolations", "gvisor,runc")
	}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(exited)
	}()
	s.cmd, s.exited = cmd, exited
	if err := os.WriteFile(s.pidFile(), []byte(strconv.Itoa(cmd.Process.Pid)), 0o600); err != nil {
		return err
	}
	return s.ready()
}

func (s *server) ready() error {
	for _, name := range []string{snapshot, desktopSnapshot} {
		if err := s.awaitSnapshot(name); err != nil {
			return err
		}
	}
	return nil
}

func (s *server) awaitSnapshot(name string) error {
	began, said, well := time.Now(), time.Now(), time.Now()
	for {
		if key, err := os.ReadFile(filepath.Join(s.dir, "admin.key")); err == nil {
			s.api.key = strings.TrimSpace(string(key))
		}
		var snap struct{ State, ErrorReason string }
		err := s.api.do(context.Background(), http.MethodGet, "/snapshots/"+name, nil, &snap)
		if snap.State != "error" {
			well = time.Now()
		}
		switch {
		case err == nil && snap.State == "active":
			return nil
		case err == nil && snap.State == "error" && time.Since(well) > time.Minute: // the server tries again, but not for ever
			return fmt.Errorf("the snapshot failed: %s\n%s", snap.ErrorReason, s.logTail())
		case time.Since(began) > 15*time.Minute:
			return fmt.Errorf("the server was not ready within 15 minutes: %w, snapshot %q\n%s", err, snap.State, s.logTail())
		case time.Since(said) > 30*time.Second:
			said = time.Now()
			fmt.Printf("e2e: waiting for the snapshot %s for %.0f s (%s)\n", name, time.Since(began).Seconds(), snap.State)
		}
		select {
		case <-s.exited:
			return fmt.Errorf("the server ended:\n%s", s.logTail())
		case <-time.After(min(50*time.Millisecond+time.Since(began)/10, time.Second)):
		}
	}
}

// kill ends the server as kill -9 does and waits until the process is gone.
func (s *server) kill() {
	_ = s.cmd.Process.Kill()
	<-s.exited
}

// stop ends the server politely. Sandboxes go on.
func (s *server) stop() error {
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-s.exited:
		return nil
	case <-time.After(time.Minute):
		s.kill()
		return errors.New("the server did not end within a minute of SIGTERM")
	}
}

// restartAs stops the server and starts it in another mode.
func (s *server) restartAs(m mode) error {
	if err := s.stop(); err != nil {
		return err
	}
	return s.startAs(m)
}

// close deletes every sandbox, stops the server and takes down what it made on
// the host. The data stays.
func (s *server) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return errors.Join(s.api.deleteAll(ctx), s.stop(), s.down(), os.Remove(s.pidFile()))
}

// abandon ends a server that never became ready.
func (s *server) abandon() error {
	if s.cmd == nil {
		return nil
	}
	s.kill()
	return errors.Join(s.down(), os.Remove(s.pidFile()))
}

// down removes what servers of this data directory left on the host.
func (s *server) down() error {
	return command("", s.binary(), "down", "--data", s.dir,
		"--cgroup-parent", cgroupParent, "--network-prefix", networkPrefix)
}

// killEarlier ends the server of a run that was killed itself.
func (s *server) killEarlier() error {
	text, err := os.ReadFile(s.pidFile())
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return os.Remove(s.pidFile())
	}
	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || !bytes.Contains(cmdline, []byte(s.dir)) || !bytes.Contains(cmdline, []byte("server")) {
		return os.Remove(s.pidFile()) // the number belongs to nobody, or to somebody else
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if err := syscall.Kill(pid, 0); errors.Is(err, syscall.ESRCH) {
			return os.Remove(s.pidFile())
		}
	}
	return fmt.Errorf("the server of an earlier run, process %d, does not end", pid)
}

func (s *server) binary() string  { return filepath.Join(repo, "bin", "daytona") }
func (s *server) pidFile() string { return filepath.Join(cache, "server.pid") }
func (s *server) logFile() string { return filepath.Join(cache, "server.log") }

func (s *server) logTail() string {
	text, err := os.ReadFile(s.logFile())
	if err != nil {
		return err.Error()
	}
	return tail(string(text), 4<<10)
}

func freePort() (int, error) {
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
