// Package testpg gives tests a real PostgreSQL.
//
// The first call of DSN in a test binary starts one private cluster from the
// binaries of the distribution, on a Unix socket in a temporary directory; each
// call makes a database of its own in it. Where the binaries are missing the
// test is skipped. A binary that uses it calls Main from its TestMain, which
// stops the cluster:
//
//	func TestMain(m *testing.M) { os.Exit(testpg.Main(m)) }
//
// A cluster never outlives its test binary, however that ends. Nothing is made
// durable: never use one for anything but tests.
package testpg

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // registers "pgx"
)

const dirPrefix = "daytona-testpg-"

var errMissing = errors.New("PostgreSQL is not installed here (Debian package: postgresql)")

// Cluster is a private PostgreSQL.
type Cluster struct {
	dir     string
	bin     string
	cred    *syscall.Credential
	process *os.Process
	exited  chan struct{}
}

// One cluster per test binary: starting one costs a second.
var (
	once    sync.Once
	shared  *Cluster
	failure error
	serial  atomic.Int64
)

// Main runs the tests of a binary and stops the cluster, if one was started.
func Main(m *testing.M) int {
	code := m.Run()
	if shared != nil {
		shared.Stop()
	}
	return code
}

// DSN makes an empty database and returns its address. The test is skipped
// where PostgreSQL is not installed.
func DSN(t testing.TB) string {
	t.Helper()
	once.Do(func() { shared, failure = New(context.Background()) })
	if errors.Is(failure, errMissing) {
		t.Skip(failure)
	}
	if failure != nil {
		t.Fatal("start PostgreSQL: ", failure)
	}
	name := fmt.Sprintf("test_%d", serial.Add(1))
	shared.exec(t, "CREATE DATABASE "+name)
	t.Cleanup(func() { shared.exec(t, "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)") })
	return shared.DSN(name)
}

// DSN is the address of a database; "postgres" is there from the beginning.
func (c *Cluster) DSN(database string) string {
	return "postgres://postgres@/" + database + "?host=" + url.QueryEscape(c.dir)
}

func (c *Cluster) exec(t testing.TB, query string) {
	t.Helper()
	db, err := sql.Open("pgx", c.DSN("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }() // the query is what counts
	if _, err := db.ExecContext(context.Background(), query); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

// New makes a cluster and starts it. Stop ends it.
func New(ctx context.Context) (_ *Cluster, err error) {
	bin, err := binaries()
	if err != nil {
		return nil, err
	}
	cred, err := unprivileged()
	if err != nil {
		return nil, err
	}
	removeLeftovers()
	// Not below TMPDIR: the path of a Unix socket is short.
	dir, err := os.MkdirTemp("/tmp", dirPrefix)
	if err != nil {
		return nil, err
	}
	c := &Cluster{dir: dir, bin: bin, cred: cred}
	defer func() {
		if err != nil {
			c.Stop()
		}
	}()
	if cred != nil {
		if err := os.Chown(dir, int(cred.Uid), int(cred.Gid)); err != nil {
			return nil, err
		}
	}
	initdb := exec.CommandContext(ctx, filepath.Join(bin, "initdb"), "-D", filepath.Join(dir, "data"), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")
	initdb.Dir, initdb.SysProcAttr = dir, &syscall.SysProcAttr{Credential: cred}
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w\n%s", err, out)
	}
	return c, c.Start(ctx)
}

// Start starts the server, which New has done and Kill undone, and waits until
// it answers. What was committed before a Kill is there.
func (c *Cluster) Start(ctx context.Context) error {
	var out bytes.Buffer
	exited := make(chan struct{})
	server := exec.CommandContext(context.Background(), filepath.Join(c.bin, "postgres"), "-D", filepath.Join(c.dir, "data"), "-k", c.dir, "-c", "listen_addresses=",
		"-c", "fsync=off", "-c", "full_page_writes=off",
		"-c", "max_connections=300", "-c", "shared_buffers=32MB", "-c", "dynamic_shared_memory_type=mmap")
	server.Dir, server.Stdout, server.Stderr = c.dir, &out, &out
	server.SysProcAttr = &syscall.SysProcAttr{Credential: c.cred, Pdeathsig: syscall.SIGQUIT, Setpgid: true}
	started := make(chan error)
	go func() {
		// The signal comes when the thread that started the process ends, so
		// this one must not end before the binary does.
		runtime.LockOSThread()
		err := server.Start()
		started <- err
		if err == nil {
			_ = server.Wait() // what it printed says how it ended
			close(exited)
		}
		select {}
	}()
	if err := <-started; err != nil {
		return err
	}
	c.process, c.exited = server.Process, exited
	db, err := sql.Open("pgx", c.DSN("postgres"))
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }() // nothing was written
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	for {
		if err = db.PingContext(ctx); err == nil {
			return nil
		}
		select {
		case <-exited:
			return fmt.Errorf("postgres ended:\n%s", out.String())
		case <-ctx.Done():
			return fmt.Errorf("postgres does not answer: %w", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Kill ends the server as kill -9 does. Its processes notice and end as well.
func (c *Cluster) Kill() {
	_ = c.process.Kill() // it may have ended by itself
	<-c.exited
}

// Stop ends the server and removes all its data.
func (c *Cluster) Stop() {
	if c.process != nil {
		_ = c.process.Signal(syscall.SIGQUIT) // at once, without a checkpoint; it may have ended by itself
		<-c.exited
	}
	os.RemoveAll(c.dir)
}

// binaries finds the newest version installed.
func binaries() (string, error) {
	dirs, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if len(dirs) == 0 {
		return "", errMissing
	}
	version := func(path string) int {
		n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path))))
		return n
	}
	return filepath.Dir(slices.MaxFunc(dirs, func(a, b string) int { return version(a) - version(b) })), nil
}

// unprivileged is who the server runs as: PostgreSQL refuses to be root.
func unprivileged() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, fmt.Errorf("%w: there is no user to run it as: %w", errMissing, err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, err
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

// removeLeftovers clears the directories of test binaries that were killed.
func removeLeftovers() {
	dirs, _ := filepath.Glob("/tmp/" + dirPrefix + "*")
	for _, dir := range dirs {
		pidFile, err := os.ReadFile(filepath.Join(dir, "data", "postmaster.pid"))
		if err != nil {
			continue // perhaps just being made
		}
		first, _, _ := strings.Cut(string(pidFile), "\n")
		pid, err := strconv.Atoi(first)
		if err == nil && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			os.RemoveAll(dir)
		}
	}
}
