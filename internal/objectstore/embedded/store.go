package embedded

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"daytona/internal/fault"
	"daytona/internal/objectstore"
)

// Config says what a Store keeps and who serves it.
type Config struct {
	Dir string // made when it is not there
	// Command is the program that calls Serve with its standard input and
	// output, and its arguments.
	Command []string
	Env     []string // beside that of this process
	Log     *slog.Logger
}

// Store is an S3 over a directory. Several may run in one process.
type Store struct {
	config      Config
	address     string
	key, secret string
	client      *http.Client

	mu     sync.Mutex
	child  *child
	failed time.Time
	cause  error
	closed bool
}

// child is one process that serves.
type child struct {
	cmd   *exec.Cmd
	stdin io.Closer
	gone  chan struct{} // closed when it has ended
}

// startTimeout bounds how long a child may take until it serves; retryAfter is
// how long the reason of a failed start is answered before the next attempt.
const (
	startTimeout = 20 * time.Second
	stopTimeout  = 5 * time.Second
	retryAfter   = time.Second
)

// New returns a store. Its process starts when something is asked of it.
func New(c Config) *Store {
	s := &Store{config: c, address: "@daytona-objects-" + rand.Text(), key: rand.Text()[:20], secret: rand.Text() + rand.Text()}
	dialer := &net.Dialer{Timeout: 5 * time.Second}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			if err := s.serving(ctx); err != nil {
				return nil, err
			}
			return dialer.DialContext(ctx, "unix", s.address)
		},
		MaxIdleConnsPerHost: 16, IdleConnTimeout: 30 * time.Second, DisableCompression: true,
	}
	s.client = &http.Client{Transport: transport}
	return s
}

// S3 says how the store is reached from this process.
func (s *Store) S3(bucket string) objectstore.S3Config {
	return objectstore.S3Config{Endpoint: "http://objects", Bucket: bucket, Key: s.key, Secret: s.secret, Client: s.client}
}

// Bucket returns a bucket of the store, which is made at its first use.
func (s *Store) Bucket(name string) objectstore.Bucket {
	return &bucket{Bucket: objectstore.NewS3(s.bucketConfig(name)), store: s}
}

// bucket starts no process only to be told that all is well.
type bucket struct {
	objectstore.Bucket
	store *Store
}

// Check implements objectstore.Bucket.
func (b *bucket) Check(ctx context.Context) error {
	if b.store.PID() != 0 {
		return b.Bucket.Check(ctx)
	}
	if err := os.MkdirAll(b.store.config.Dir, 0o700); err != nil {
		return fault.Wrap(err, fault.Unavailable, "the folder of the object store cannot be used")
	}
	if err := unix.Access(b.store.config.Dir, unix.W_OK); err != nil {
		return fault.Wrap(err, fault.Unavailable, "the folder of the object store cannot be written to")
	}
	return nil
}

// bucketConfig is S3 with a client that sees to the bucket first.
func (s *Store) bucketConfig(name string) objectstore.S3Config {
	c := s.S3(name)
	c.Client = &http.Client{Transport: &creating{store: s, name: name, next: s.client.Transport}}
	return c
}

// creating makes a bucket before the first request to it.
type creating struct {
	store *Store
	name  string
	next  http.RoundTripper
	mu    sync.Mutex
	done  bool
}

func (c *creating) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := c.create(r.Context()); err != nil {
		if r.Body != nil {
			r.Body.Close()
		}
		return nil, err
	}
	return c.next.RoundTrip(r)
}

func (c *creating) create(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done {
		return nil
	}
	if err := objectstore.Create(ctx, c.store.S3(c.name)); err != nil {
		return err
	}
	c.done = true
	return nil
}

// serving starts the process unless it runs.
func (s *Store) serving(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fault.New(fault.Unavailable, "the object store has been closed")
	}
	if s.child != nil {
		select {
		case <-s.child.gone:
			s.child = nil
		default:
			return nil
		}
	}
	if s.cause != nil && time.Since(s.failed) < retryAfter {
		return s.cause
	}
	s.cause = nil
	c, err := s.start(ctx)
	if err != nil {
		s.cause, s.failed = fault.Wrap(err, fault.Unavailable, "the object store could not be started"), time.Now()
		return s.cause
	}
	s.child = c
	return nil
}

func (s *Store) start(ctx context.Context) (*child, error) {
	if err := os.MkdirAll(s.config.Dir, 0o700); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(context.WithoutCancel(ctx), s.config.Command[0], s.config.Command[1:]...) // #nosec G204 -- the program itself, or a test
	cmd.Env = append(os.Environ(), s.config.Env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a Ctrl-C is for the server, which ends this one in order
	complaints := &tail{log: s.config.Log}
	cmd.Stderr = complaints
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	c := &child{cmd: cmd, stdin: stdin, gone: make(chan struct{})}
	told := make(chan error, 1)
	read := make(chan struct{})
	go func() {
		defer close(read)
		lines := bufio.NewScanner(stdout)
		for lines.Scan() {
			if lines.Text() == ready {
				told <- nil
			}
		}
	}()
	go func() {
		<-read
		err := cmd.Wait()
		close(c.gone)
		told <- fmt.Errorf("it ended at once: %w: %s", err, complaints)
	}()
	line, err := json.Marshal(order{Dir: s.config.Dir, Address: s.address, Region: "us-east-1", Key: s.key, Secret: s.secret})
	if err == nil {
		_, err = stdin.Write(append(line, '\n'))
	}
	if err == nil {
		timer := time.NewTimer(startTimeout)
		defer timer.Stop()
		select {
		case err = <-told:
		case <-timer.C:
			err = fmt.Errorf("it does not serve after %s: %s", startTimeout, complaints)
		}
	}
	if err != nil {
		c.end()
		return nil, err
	}
	s.config.Log.DebugContext(ctx, "object store serves", "pid", cmd.Process.Pid, "dir", s.config.Dir)
	return c, nil
}

// end lets requests under way end, or not.
func (c *child) end() {
	_ = c.stdin.Close()
	timer := time.NewTimer(stopTimeout)
	defer timer.Stop()
	select {
	case <-c.gone:
	case <-timer.C:
		_ = c.cmd.Process.Kill()
		<-c.gone
	}
}

// Close ends the process.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.child != nil {
		s.client.CloseIdleConnections()
		s.child.end()
		s.child = nil
	}
	return nil
}

// PID is the process that serves, or 0.
func (s *Store) PID() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.child == nil {
		return 0
	}
	select {
	case <-s.child.gone:
		return 0
	default:
	}
	return s.child.cmd.Process.Pid
}

// tail passes on what a child complains about and keeps the end of it.
type tail struct {
	log  *slog.Logger
	mu   sync.Mutex
	kept string
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	text := strings.TrimSpace(string(p))
	if t.kept += text + "\n"; len(t.kept) > 2000 {
		t.kept = t.kept[len(t.kept)-2000:]
	}
	t.log.Warn("object store", "says", text)
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(t.kept)
}
