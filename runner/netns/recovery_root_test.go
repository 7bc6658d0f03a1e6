//go:build root

package netns

import (
	"bufio"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"daytona/internal/fault"
)

func reconcile(t *testing.T, p *Pool, keep ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	if err := p.Reconcile(ctx, keep); err != nil {
		t.Fatal(err)
	}
}

// filled waits until the pool has its ready slots.
func filled(t *testing.T, p *Pool) {
	t.Helper()
	timeout := time.After(deadline)
	for {
		p.mu.Lock()
		n, changed := len(p.ready), p.changed
		p.mu.Unlock()
		if n >= p.cfg.Ready {
			return
		}
		select {
		case <-changed:
		case <-timeout:
			t.Fatalf("%d of %d slots ready", n, p.cfg.Ready)
		}
	}
}

func TestIdempotence(t *testing.T) {
	p := open(t, testConfig(t))
	a := acquire(t, p, "a", Policy{})
	if again := acquire(t, p, "a", Policy{}); again != a {
		t.Errorf("second Acquire: %v, first %v", again, a)
	}
	if got, ok := p.Slot("a"); !ok || got != a {
		t.Errorf("Slot: %v, %v", got, ok)
	}
	for range 2 {
		if err := p.Release(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
	}
	if _, ok := p.Slot("a"); ok {
		t.Error("a slot is held after its release")
	}
	if err := p.Reset(t.Context(), "a"); !fault.Is(err, fault.NotFound) {
		t.Errorf("Reset of an unknown id: %v", err)
	}
}

func TestSecondPoolIsRefused(t *testing.T) {
	cfg := testConfig(t)
	open(t, cfg)
	if p, err := Open(t.Context(), cfg); !fault.Is(err, fault.Unavailable) {
		if err == nil {
			p.Close()
		}
		t.Errorf("a second pool on the same state: %v", err)
	}
}

func TestExhaustion(t *testing.T) {
	cfg := testConfig(t)
	cfg.Max, cfg.Ready = 3, 2
	p := open(t, cfg)
	for i := range 3 {
		acquire(t, p, fmt.Sprint(i), Policy{})
	}
	if _, err := p.Acquire(t.Context(), "more", Policy{}); !fault.Is(err, fault.Unavailable) {
		t.Errorf("a fourth of three slots: %v", err)
	}
	if err := p.Release(t.Context(), "1"); err != nil {
		t.Fatal(err)
	}
	acquire(t, p, "more", Policy{}) // waits for the removal
}

// TestReset takes the addresses away, as gVisor does, and puts them back.
func TestReset(t *testing.T) {
	cfg := testConfig(t)
	world(t)
	p := open(t, cfg)
	s := acquire(t, p, "a", Policy{})
	takeAddresses(t, s)
	if _, err := dialFrom(s.NetNS, "tcp", public4+":8080", time.Second); err == nil {
		t.Fatal("it works without addresses")
	}
	if err := p.Reset(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	reaches(t, s, "tcp", public4+":8080", hostLink4)
	reaches(t, s, "tcp", "["+public6+"]:8080", hostLink6)
}

// TestReopen closes and opens a pool with slots in use: connections through it
// live on, and policies hold all the while.
func TestReopen(t *testing.T) {
	cfg := testConfig(t)
	world(t)
	p := open(t, cfg)
	a := acquire(t, p, "a", Policy{AllowList: []string{public4 + "/32"}})
	b := acquire(t, p, "b", Policy{BlockAll: true})
	filled(t, p)
	ready := slices.Clone(p.ready)
	var c net.Conn
	inside(t, a.NetNS, func() (err error) {
		c, err = net.DialTimeout("tcp", public4+":8080", 5*time.Second)
		return err
	})
	defer c.Close()

	// While the pool is reopened, the blocked sandbox keeps trying.
	stop, tried := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		defer func() { tried <- n }()
		for {
			select {
			case <-stop:
				return
			default:
			}
			if got, err := dialFrom(b.NetNS, "tcp", public4+":8080", time.Second); err == nil {
				t.Errorf("a blocked sandbox got out, seen as %q", got)
			}
			n++
		}
	}()
	for range 5 {
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		p = open(t, cfg)
		for id, want := range map[string]Slot{"a": a, "b": b} {
			if got, ok := p.Slot(id); !ok || got != want {
				t.Fatalf("slot of %s: %v, was %v", id, got, want)
			}
		}
		c.SetDeadline(time.Now().Add(5 * time.Second))
		if _, err := c.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 64)); err != nil {
			t.Fatalf("the open connection: %v", err)
		}
		isRefused(t, a, "tcp", public4b+":8080")
	}
	close(stop)
	if n := <-tried; n == 0 {
		t.Error("the blocked sandbox did not try")
	}
	if !slices.Equal(p.ready, ready) {
		t.Errorf("ready slots %v became %v", ready, p.ready)
	}
}

// TestOrphans removes what has a slot's name and belongs to nobody.
func TestOrphans(t *testing.T) {
	cfg := testConfig(t)
	p := open(t, cfg)
	acquire(t, p, "a", Policy{})
	filled(t, p)
	before := snapshotHost(t)
	if err := p.plan.makeSlot(40, 1500); err != nil { // a whole one, without record and mark
		t.Fatal(err)
	}
	if err := p.fw.add(40, Policy{}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(namespacePath(p.plan.name(41)), nil, 0o444); err != nil { // a name alone
		t.Fatal(err)
	}
	reconcile(t, p, "a")
	filled(t, p)
	if after := snapshotHost(t); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

// TestForeignFlush loses all rules to another program and states them anew.
func TestForeignFlush(t *testing.T) {
	cfg := testConfig(t)
	world(t)
	p := open(t, cfg)
	s := acquire(t, p, "a", Policy{BlockAll: true})
	conn, err := openNftables()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseLasting()
	if err := removeTables(conn, cfg.Prefix); err != nil {
		t.Fatal(err)
	}
	reconcile(t, p, "a")
	isRefused(t, s, "tcp", public4+":8080")
	if err := removeTables(conn, cfg.Prefix); err != nil {
		t.Fatal(err)
	}
	if err := p.SetPolicy(t.Context(), "a", Policy{}); err != nil {
		t.Fatal(err)
	}
	reaches(t, s, "tcp", public4+":8080", hostLink4)
}

func TestManyCycles(t *testing.T) {
	cfg := testConfig(t)
	cfg.Ready, cfg.Max = 4, 20
	outside := snapshotHost(t)
	p := open(t, cfg)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 50 {
				id := fmt.Sprintf("%d-%d", w, i)
				pol := []Policy{{}, {BlockAll: true}, {AllowList: []string{"45.66.77.0/24"}}}[i%3]
				ctx, cancel := context.WithTimeout(t.Context(), deadline)
				defer cancel()
				if _, err := p.Acquire(ctx, id, pol); err != nil {
					t.Error(err)
					return
				}
				if i%5 == 0 {
					if err := p.SetPolicy(ctx, id, Policy{BlockAll: i%2 == 0}); err != nil {
						t.Error(err)
					}
				}
				if err := p.Release(ctx, id); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	reconcile(t, p)
	filled(t, p)
	if n := strings.Count(snapshotHost(t), "link "); n != cfg.Ready {
		t.Errorf("%d devices, want %d", n, cfg.Ready)
	}
	if entries, _ := os.ReadDir(cfg.StateDir); len(entries) != 1 { // the lock
		t.Errorf("records left: %v", entries)
	}
	p.Close()
	if err := Destroy(t.Context(), cfg.Prefix); err != nil {
		t.Fatal(err)
	}
	if after := snapshotHost(t); after != outside {
		t.Errorf("before:\n%s\nafter:\n%s", outside, after)
	}
}

// TestConcurrentSameID acquires and releases one id from many goroutines.
func TestConcurrentSameID(t *testing.T) {
	p := open(t, testConfig(t))
	var mu sync.Mutex
	seen := make(map[Slot]bool)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			s, err := p.Acquire(t.Context(), "one", Policy{})
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			seen[s] = true
		})
	}
	wg.Wait()
	if len(seen) != 1 {
		t.Errorf("one id got %d slots", len(seen))
	}
}

const helperEnv = "NETNS_TEST_HELPER"

// TestHelperProcess is not a test: TestKill runs it as a process to be killed.
// It acquires and releases ids at random, and says what it was told to be done.
func TestHelperProcess(t *testing.T) {
	dir := os.Getenv(helperEnv)
	if dir == "" {
		t.Skip("runs in TestKill")
	}
	cfg := killConfig(dir)
	p, err := Open(t.Context(), cfg)
	if err != nil {
		fmt.Println("failed", err)
		return
	}
	var wg sync.WaitGroup
	for w := range 3 {
		wg.Go(func() {
			for i := 0; ; i++ {
				id := fmt.Sprintf("%d-%d-%d", os.Getpid(), w, i)
				pol := Policy{BlockAll: i%2 == 0}
				if _, err := p.Acquire(t.Context(), id, pol); err != nil {
					if !fault.Is(err, fault.Unavailable) {
						fmt.Println("failed", err)
					}
					return
				}
				fmt.Println("acquired", id, pol.BlockAll)
				if rand.IntN(3) > 0 {
					fmt.Println("releasing", id)
					if err := p.Release(t.Context(), id); err != nil {
						fmt.Println("failed", err)
					}
				}
			}
		})
	}
	wg.Wait()
	fmt.Println("done")
	select {} // until killed
}

func killConfig(dir string) Config {
	return Config{Prefix: "dtst", Ready: 2, Max: 30, StateDir: dir,
		Outer4: prefixes("10.212.0.0/24")[0], Outer6: prefixes("fd64:6179:7401::/64")[0]}
}

// TestKill kills a process that works with the pool, at random moments, and
// checks each time what the next one finds.
func TestKill(t *testing.T) {
	cfg := testConfig(t)
	outside := snapshotHost(t)
	for range 15 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestHelperProcess$", "-test.v")
		cmd.Env = append(os.Environ(), helperEnv+"="+cfg.StateDir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		held := make(map[string]bool)     // surely acquired, not given back
		released := make(map[string]bool) // giving back has begun
		lines := rand.IntN(25)            // after how many steps to kill; 0: while it opens
		scan := bufio.NewScanner(out)
		for n := 0; n < lines && scan.Scan(); {
			f := strings.Fields(scan.Text())
			switch {
			case len(f) == 3 && f[0] == "acquired":
				held[f[1]] = f[2] == "true"
				n++
			case len(f) == 2 && f[0] == "releasing":
				released[f[1]] = true
				n++
			case len(f) > 0 && f[0] == "failed":
				t.Error(scan.Text())
			case len(f) == 1 && f[0] == "done":
				n = lines
			}
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for scan.Scan() { // what it had said before it died
			f := strings.Fields(scan.Text())
			if len(f) == 3 && f[0] == "acquired" {
				held[f[1]] = f[2] == "true"
			} else if len(f) == 2 && f[0] == "releasing" {
				released[f[1]] = true
			}
		}
		cmd.Wait()
		maps.DeleteFunc(held, func(id string, _ bool) bool { return released[id] })

		p := open(t, cfg)
		used := make(map[int]string)
		p.mu.Lock()
		for id, l := range p.held {
			if other, twice := used[l.index]; twice {
				t.Errorf("slot %d is held by %s and %s", l.index, id, other)
			}
			used[l.index] = id
		}
		p.mu.Unlock()
		for id, blocked := range held {
			l, ok := p.lease(id)
			if !ok {
				t.Errorf("%s lost its slot", id)
				continue
			}
			if l.policy.BlockAll != blocked {
				t.Errorf("%s: policy %v", id, l.policy)
			}
			s := p.plan.slot(l.index)
			greet(t, s.NetNS, ":2280")
			if _, err := dialFrom("", "tcp", net.JoinHostPort(s.Addr.String(), "2280"), 5*time.Second); err != nil {
				t.Errorf("%s is not reachable: %v", id, err)
			}
		}
		reconcile(t, p, slices.Collect(maps.Keys(held))...)
		filled(t, p)
		if n, want := strings.Count(snapshotHost(t), "link "), len(held)+cfg.Ready; n != want {
			t.Errorf("%d devices, want %d:\n%s", n, want, snapshotHost(t))
		}
		reconcile(t, p) // free all, for the next round
		p.Close()
	}
	if err := Destroy(t.Context(), cfg.Prefix); err != nil {
		t.Fatal(err)
	}
	if after := snapshotHost(t); after != outside {
		t.Errorf("before:\n%s\nafter:\n%s", outside, after)
	}
}
