package pty_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"daytona/toolbox/pty"
)

// random returns bytes of every value, always the same.
func random(n int) []byte {
	source := rand.NewChaCha8([32]byte{1})
	b := make([]byte, n)
	_, _ = source.Read(b)
	return b
}

const paste = 10 << 20

// A large paste reaches the program as it was sent, however it is cut.
func TestPaste(t *testing.T) {
	content := random(paste)
	want := fmt.Sprintf("%x", sha256.Sum256(content))
	for _, size := range []int{paste, 4099} {
		t.Run(strconv.Itoa(size), func(t *testing.T) {
			s := newSandbox(t, fmt.Sprintf("stty raw -echo; printf ready; head -c %d | sha256sum", paste))
			s.create("x")
			c := s.connect("x")
			c.see("ready")
			for rest := content; len(rest) > 0; {
				n := min(size, len(rest))
				c.send(string(rest[:n]))
				rest = rest[n:]
			}
			c.see(want)
		})
	}
}

// A program that sends everything back does not get stuck, nor does anything get
// lost on the way back.
func TestPasteEchoed(t *testing.T) {
	s := newSandbox(t, "stty raw -echo; printf ready; exec cat")
	s.create("x")
	c := s.connect("x")
	c.see("ready")
	content := random(paste)
	c.send(string(content))
	c.wait("the whole paste", func() bool { return len(c.output) >= len("ready")+paste })
	if !bytes.Equal(c.output[len("ready"):], content) {
		t.Error("what came back differs")
	}
	if c.frames > paste/256 {
		t.Errorf("%d frames for %d bytes", c.frames, paste)
	}
}

// Lines are pasted whole too where the terminal itself edits and echoes them.
// (Its echo may be cut short: that is the kernel's to decide.)
func TestPasteOfLines(t *testing.T) {
	var lines strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&lines, "line %d of a paste ☃\n", i)
	}
	s := newSandbox(t, fmt.Sprintf("printf ready; head -c %d | sha256sum", lines.Len()))
	s.create("x")
	c := s.connect("x")
	c.see("ready")
	c.send(lines.String())
	c.see(fmt.Sprintf("%x", sha256.Sum256([]byte(lines.String()))))
}

// Characters may be split between frames; the bytes are right.
func TestCharactersSplitBetweenFrames(t *testing.T) {
	s := newSandbox(t, `stty -echo; for byte in '\342' '\230' '\203'; do printf "$byte"; read -r x; done; printf '<%s>' "$x"`)
	s.create("x")
	c := s.connect("x")
	c.see("\xe2")
	c.send("\n")
	c.see("\xe2\x98")
	c.send("\n")
	c.see("☃")
	if c.frames < 3 {
		t.Errorf("%d frames", c.frames)
	}
	for _, b := range []byte("☃\n") {
		c.send(string([]byte{b}))
	}
	c.see("<☃>")
}

// While a program does not read, its clients are served all the same: output
// arrives, pings are answered, and the paste of one does not hold up others.
func TestStalledInput(t *testing.T) {
	s := newSandbox(t, "stty raw -echo; printf ready; sleep 1000")
	s.create("x")
	paster, other := s.connect("x"), s.connect("x")
	paster.see("ready")
	sent := make(chan error, 1)
	content, used := random(paste), heap()
	go func() { sent <- paster.conn.Write(context.Background(), websocket.MessageBinary, content) }()
	for range 3 {
		other.send("typed")
		if err := other.conn.Ping(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case err := <-sent:
		t.Errorf("all of it was taken although nobody reads: %v", err)
	default:
	}
	if grown := heap() - used; grown > 2<<20 {
		t.Errorf("%d bytes are held for a paste that nobody reads", grown)
	}
	runtime.KeepAlive(content)
	s.want(200, "DELETE", "/process/pty/x", nil, nil)
	if status, reason := other.end(); status != 1011 || reason != `{"exitCode":137,"exitReason":"SIGKILL"}` {
		t.Errorf("%d %q", status, reason)
	}
	paster.end()
	// Whether the rest went anywhere is the network's business.
	select {
	case err := <-sent:
		t.Log("paste:", err)
	case <-t.Context().Done():
	}
}

func TestTwoClients(t *testing.T) {
	s := newSandbox(t, `stty -echo; printf early; while read -r x; do printf 'got:%s.' "$x"; done`)
	s.create("x")
	one := s.connect("x")
	one.see("early")
	two := s.connect("x")
	two.wait("connected", func() bool { return len(two.texts) > 0 })
	one.send("1\n")
	two.see("got:1.")
	two.send("2\n")
	one.see("got:2.")
	two.see("got:2.")
	if two.all() != "got:1.got:2." {
		t.Errorf("the second client saw %q", two.all())
	}
	// One leaves, the other stays.
	if err := one.conn.Close(websocket.StatusNormalClosure, ""); err != nil {
		t.Error(err)
	}
	two.send("3\n")
	two.see("got:3.")
	// Nobody is left, and the program lives on.
	if err := two.conn.CloseNow(); err != nil {
		t.Error(err)
	}
	three := s.connect("x")
	three.wait("connected", func() bool { return len(three.texts) > 0 })
	three.send("4\n")
	three.see("got:4.")
	if strings.Contains(three.all(), "3") {
		t.Errorf("replayed: %q", three.all())
	}
}

// All who connect at once to a session that waits for its first client get one
// and the same program.
func TestStartedOnce(t *testing.T) {
	s := newSandbox(t, `echo started >> starts; exec cat`)
	s.create("x")
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			c := s.connect("x")
			c.wait("connected", func() bool { return len(c.texts) > 0 })
		})
	}
	all.Wait()
	c := s.connect("x")
	c.send("ready\n")
	c.see("ready\r\nready\r\n") // the echo, and what the program answers
	b, err := os.ReadFile(filepath.Join(s.dir, "starts"))
	if err != nil || string(b) != "started\n" {
		t.Errorf("%q %v", b, err)
	}
}

// A client that sends and leaves at once has said what it said.
func TestSendAndLeave(t *testing.T) {
	s := newSandbox(t, `stty raw -echo; printf ready; head -c 200000 > all; mv all done; exec cat`)
	s.create("x")
	c := s.connect("x")
	c.see("ready")
	content := random(200_000)
	c.send(string(content))
	if err := c.conn.Close(websocket.StatusNormalClosure, ""); err != nil {
		t.Error(err)
	}
	s.eventually("all was read", func() bool {
		b, err := os.ReadFile(filepath.Join(s.dir, "done"))
		return err == nil && bytes.Equal(b, content)
	})
}

// A client that does not read loses its connection, and is told why if it reads
// on; the others get everything and the program goes on.
func TestSlowClientAmongOthers(t *testing.T) {
	const size = 24 << 20
	s := newSandbox(t, fmt.Sprintf("printf ready; read -r x; stty raw; head -c %d /dev/zero; read -r x", size), func(c *pty.Config) {
		c.Lag = 100 * time.Millisecond
	})
	s.create("x")
	quick := s.connect("x")
	quick.see("ready")
	slow := s.dial("/process/pty/x/connect")
	if _, _, err := slow.Read(t.Context()); err != nil { // connected
		t.Fatal(err)
	}
	quick.send("\n")
	quick.wait("all of the output", func() bool { return len(quick.output) >= size })
	var err error
	got := 0
	for err == nil {
		var b []byte
		_, b, err = slow.Read(t.Context())
		got += len(b)
	}
	if status := websocket.CloseStatus(err); status != 1008 || !strings.Contains(err.Error(), "slow consumer") {
		t.Errorf("slow client: %v", err)
	}
	if got >= size {
		t.Error("the slow client got everything: it was not slow")
	}
	quick.send("\n")
	if status, _ := quick.end(); status != 1000 {
		t.Errorf("quick client: %d", status)
	}
}

// A program is held back for its only client, and goes on without it when that
// has hung.
func TestOnlyClientHangs(t *testing.T) {
	s := newSandbox(t, "stty raw; head -c 24000000 /dev/zero; echo done > end; read -r x", func(c *pty.Config) {
		c.Stall = 200 * time.Millisecond
	})
	s.create("x")
	hung := s.dial("/process/pty/x/connect")
	s.eventually("the program went on", func() bool {
		_, err := os.Stat(filepath.Join(s.dir, "end"))
		return err == nil
	})
	var err error
	for err == nil {
		_, _, err = hung.Read(t.Context())
	}
	if status := websocket.CloseStatus(err); status != 1008 {
		t.Errorf("hung client: %v", err)
	}
	// The session is as good as before.
	c := s.connect("x")
	c.wait("connected", func() bool { return len(c.texts) > 0 })
	c.send("\r\n")
	if status, _ := c.end(); status != 1000 {
		t.Errorf("%d", status)
	}
}

// A connection that hangs for good is ended, and nothing is kept for it.
func TestHungConnections(t *testing.T) {
	s := newSandbox(t, "stty raw -echo; printf ready; read -r x; stty raw; head -c 24000000 /dev/zero; echo done > end; read -r x", func(c *pty.Config) {
		c.Stall, c.FrameLimit = 300*time.Millisecond, 600*time.Millisecond
	})
	s.create("x")
	c := s.connect("x")
	c.see("ready")
	before, used := runtime.NumGoroutine(), heap()
	const hung = 16
	for range hung {
		s.dial("/process/pty/x/connect")
	}
	c.send("\n")
	if err := c.conn.CloseNow(); err != nil {
		t.Error(err)
	}
	most := used
	s.eventually("the program went on", func() bool {
		most = max(most, heap())
		_, err := os.Stat(filepath.Join(s.dir, "end"))
		return err == nil
	})
	if grown := most - used; grown > 8<<20 {
		t.Errorf("%d bytes were held for %d connections", grown, hung)
	}
	// Each connection has two goroutines at this end; what is left are the
	// test's own, of the other end.
	s.eventually("connections were ended", func() bool { return runtime.NumGoroutine() < before+hung })
}

// heap returns how many bytes are in use.
func heap() int {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// A client that reads slowly but steadily gets everything.
func TestSteadyClient(t *testing.T) {
	const size = 8 << 20
	s := newSandbox(t, fmt.Sprintf("stty raw; head -c %d /dev/zero", size), func(c *pty.Config) { c.Lag = time.Nanosecond })
	s.create("x")
	conn := s.dial("/process/pty/x/connect")
	got := 0
	for n := 0; ; n++ {
		_, b, err := conn.Read(t.Context())
		if err != nil {
			if websocket.CloseStatus(err) != 1000 {
				t.Error(err)
			}
			break
		}
		got += len(b)
		if n%64 == 0 {
			time.Sleep(time.Millisecond) // a reader's own pace
		}
	}
	if got < size {
		t.Errorf("%d bytes of %d", got, size)
	}
}

func TestResize(t *testing.T) {
	s := newSandbox(t, `trap 'stty size' WINCH; stty size; while :; do read -r -t 0.05 x; done`)
	s.want(201, "POST", "/process/pty", `{"id":"x","lazyStart":true,"cols":90,"rows":20}`, nil)
	var info pty.Info
	s.want(200, "POST", "/process/pty/x/resize", `{"cols":91,"rows":21}`, &info) // before it is started
	if info.Cols != 91 || info.Rows != 21 {
		t.Errorf("%+v", info)
	}
	c := s.connect("x")
	c.see("21 91\r\n")
	s.want(200, "POST", "/process/pty/x/resize", `{"cols":1000,"rows":1}`, &info)
	c.see("1 1000\r\n")
	if got := s.get("x"); got.Cols != 1000 || got.Rows != 1 || fmt.Sprint(got) != fmt.Sprint(info) {
		t.Errorf("%+v", got)
	}
}

// Keys that interrupt work also when something was typed that nobody has read.
func TestInterrupt(t *testing.T) {
	s := newSandbox(t, "trap 'printf interrupted' INT; printf ready; sleep 1000; printf 'status:%s.' $?; exec cat")
	s.create("x")
	c := s.connect("x")
	c.see("ready")
	c.send("typed ahead\n")
	c.see("typed ahead")
	c.send("more\x03")
	c.see("interrupted")
	c.see("status:130.")
	// What was typed before the key has gone with it, what comes after has not.
	c.send("after\n")
	c.see("after\r\nafter\r\n")
	if strings.Count(c.all(), "typed ahead") != 1 {
		t.Errorf("%q", c.all())
	}
}

// In raw mode the same keys are bytes like others.
func TestRawKeys(t *testing.T) {
	s := newSandbox(t, "stty raw -echo; printf ready; head -c 8 | od -An -tx1; exec cat")
	s.create("x")
	c := s.connect("x")
	c.see("ready")
	c.send("a\x03b\x1c\x1ac\x04\x00")
	c.see("61 03 62 1c 1a 63 04 00")
}

// Killing takes everything along that the session started and still knows.
func TestKill(t *testing.T) {
	s := newSandbox(t, "") // bash, with job control
	s.create("x")
	c := s.connect("x", "X-Daytona-Pty-Exit-Control")
	base := 100_000 + 10*os.Getpid() // found by their numbers, which no other test has
	c.send(fmt.Sprintf("trap '' HUP TERM; sleep %d & disown; nohup sleep %d >/dev/null 2>&1 & (setsid sleep %d &); (sleep %d)\n", base, base+1, base+2, base+3))
	started := func() []string { return running("sleep", base, base+3) }
	s.eventually("all run", func() bool { return len(started()) == 4 })
	s.want(200, "DELETE", "/process/pty/x", nil, nil)
	s.eventually("none is left", func() bool { return len(started()) == 0 })
	if status, reason := c.end(); status != 1011 || reason != `{"exitCode":137,"exitReason":"SIGKILL"}` {
		t.Errorf("%d %q", status, reason)
	}
	if got := c.texts[len(c.texts)-1]; got != `{"type":"control","status":"exited","exitCode":137,"exitReason":"SIGKILL"}` {
		t.Errorf("%q", got)
	}
	s.want(404, "DELETE", "/process/pty/x", nil, nil)
}

// running lists the processes that are a program with one number of a range as
// its argument.
func running(program string, from, to int) []string {
	var found []string
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range files {
		b, _ := os.ReadFile(file)
		name, argument, _ := strings.Cut(strings.TrimRight(string(b), "\x00"), "\x00")
		if n, err := strconv.Atoi(argument); err == nil && name == program && n >= from && n <= to {
			found = append(found, file)
		}
	}
	return found
}

// Shells that ignore being asked to end, as interactive ones do, end when their
// terminals are closed, with their jobs.
func TestHangUp(t *testing.T) {
	s := newSandbox(t, "")
	s.create("idle")
	s.create("x")
	base := 100_000 + 10*os.Getpid() + 5
	c := s.connect("x")
	c.send(fmt.Sprintf("trap; sleep %d & sleep %d\n", base, base+1))
	started := func() int { return len(running("sleep", base, base+1)) }
	s.eventually("both run", func() bool { return started() == 2 })
	s.service.HangUp()
	if status, reason := c.end(); status != 1011 || reason != `{"exitCode":129,"exitReason":"signal 1"}` {
		t.Errorf("%d %q", status, reason)
	}
	s.eventually("none is left", func() bool { return started() == 0 })
}

// What a shell that was killed leaves is told that its terminal has gone; what
// does not care stays.
func TestShellKilled(t *testing.T) {
	s := newSandbox(t, "")
	s.create("x")
	base := 100_000 + 10*os.Getpid() + 7
	c := s.connect("x")
	c.send(fmt.Sprintf("(trap '' HUP; exec sleep %d) &\n sh -c 'kill -9 $PPID; exec sleep %d'\n", base, base+1))
	if status, reason := c.end(); status != 1011 || reason != `{"exitCode":137,"exitReason":"SIGKILL"}` {
		t.Errorf("%d %q", status, reason)
	}
	s.eventually("the job has ended", func() bool { return len(running("sleep", base+1, base+1)) == 0 })
	left := running("sleep", base, base)
	if len(left) != 1 {
		t.Fatalf("what ignores SIGHUP has ended too: %q", left)
	}
	pid, err := strconv.Atoi(filepath.Base(filepath.Dir(left[0])))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Error(err)
	}
}

// A program that outlives its shell keeps nobody waiting, even if it prints for
// ever.
func TestShellLeavesPrinter(t *testing.T) {
	s := newSandbox(t, `trap '' HUP; (while printf 'still here '; do :; done) & sleep 0.1; exit 5`)
	s.create("x")
	c := s.connect("x")
	if status, reason := c.end(); status != 1011 || !strings.Contains(reason, `"exitCode":5`) {
		t.Errorf("%d %q", status, reason)
	}
}

// After 200 sessions nothing is left of them.
func TestNothingIsLeft(t *testing.T) {
	s := newSandbox(t, `printf hello; read -r x; exit 0`)
	cycle := func(id string) {
		s.create(id)
		c := s.connect(id)
		c.see("hello")
		switch n := len(id) % 3; n {
		case 0:
			s.want(200, "DELETE", "/process/pty/"+id, nil, nil)
		case 1:
			c.send("\n")
		case 2:
			_ = c.conn.CloseNow()
			s.want(200, "DELETE", "/process/pty/"+id, nil, nil)
		}
		if len(id)%3 != 2 {
			c.end()
		}
	}
	for i := range 6 {
		cycle(strings.Repeat("w", i+1)) // warm up
	}
	count := func() (files, routines int) {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries), runtime.NumGoroutine()
	}
	files, routines := count()
	for i := range 200 {
		cycle(strconv.Itoa(i) + strings.Repeat("x", i%3))
	}
	s.eventually("files and goroutines are back where they were", func() bool {
		f, r := count()
		return f <= files && r <= routines
	})
	if left := s.list(); len(left) > 0 {
		t.Errorf("%+v", left)
	}
}
