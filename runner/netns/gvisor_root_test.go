//go:build root

package netns

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

const gvisorEnv = "NETNS_TEST_GVISOR"

// TestGVisorProcess is not a test: TestGVisor runs it inside a sandbox. Each
// connection to port 2280 asks one thing of it.
func TestGVisorProcess(t *testing.T) {
	if os.Getenv(gvisorEnv) == "" {
		t.Skip("runs in TestGVisor")
	}
	l, err := net.Listen("tcp", ":2280")
	if err != nil {
		t.Fatal(err)
	}
	for {
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		go serveInside(c)
	}
}

func serveInside(c net.Conn) {
	defer c.Close()
	in := bufio.NewReader(c)
	line, err := in.ReadString('\n')
	if err != nil {
		return
	}
	var network, addr string
	var size int64
	switch {
	case scan(line, "dial %s %s\n", &network, &addr):
		got, err := dialFrom("", network, addr, 3*time.Second)
		fmt.Fprintf(c, "%s|%v", got, err)
	case scan(line, "take %d\n", &size):
		n, err := io.CopyN(io.Discard, in, size)
		fmt.Fprintf(c, "%d|%v", n, err)
	case scan(line, "give %d\n", &size):
		io.CopyN(c, zeros{}, size)
	}
}

func scan(line, format string, to ...any) bool {
	n, err := fmt.Sscanf(line, format, to...)
	return err == nil && n == len(to)
}

// TestGVisor runs a sandbox in a slot, twice: gVisor takes the addresses off the
// device and moves packets past the namespace's own IP stack.
func TestGVisor(t *testing.T) {
	runsc := os.Getenv("DAYTONA_RUNSC")
	if runsc == "" {
		var err error
		if runsc, err = filepath.Abs("../../bin/runsc"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(runsc); err != nil {
		t.Skipf("engine not built: %v", err)
	}
	cfg := testConfig(t)
	world(t)
	addr, _ := upstream(t)
	cfg.Upstreams = []string{addr}
	p := open(t, cfg)
	s := acquire(t, p, "a", Policy{})
	greet(t, "", ":18088")
	for round := range 2 {
		if round > 0 {
			if err := p.Reset(t.Context(), "a"); err != nil {
				t.Fatal(err)
			}
		}
		stop := startGVisor(t, runsc, s)
		ask := func(format string, args ...any) net.Conn {
			t.Helper()
			var c net.Conn
			for end := time.Now().Add(deadline); ; {
				var err error
				if c, err = p.DialContext(t.Context(), s, 2280); err == nil {
					break
				}
				if time.Now().After(end) {
					t.Fatalf("the sandbox does not answer: %v", err)
				}
				time.Sleep(20 * time.Millisecond) // between attempts: nothing tells when it listens
			}
			t.Cleanup(func() { c.Close() })
			c.SetDeadline(time.Now().Add(deadline))
			if _, err := fmt.Fprintf(c, format+"\n", args...); err != nil {
				t.Fatal(err)
			}
			return c
		}
		for target, want := range map[string]string{
			"tcp " + public4 + ":8080":            hostLink4,
			"udp " + public4 + ":8080":            hostLink4,
			"tcp [" + public6 + "]:8080":          hostLink6,
			"udp [" + public6 + "]:8080":          hostLink6,
			"tcp 192.0.2.2:18088":                 "",
			"tcp 10.9.9.9:8080":                   "",
			"tcp 169.254.169.254:8080":            "",
			"tcp [fd00:ec2::254]:8080":            "",
			"tcp " + hostLink4 + ":18088":         "",
			"tcp [" + hostLink6 + "]:18088":       "",
			"tcp " + Gateway4.String() + ":18088": "",
		} {
			answer, err := io.ReadAll(ask("dial %s", target))
			if err != nil {
				t.Fatal(err)
			}
			seen, failure, _ := strings.Cut(string(answer), "|")
			if seen != want || (want != "") != (failure == "<nil>") {
				t.Errorf("round %d: %s: seen as %q, %s; want %q", round, target, seen, failure, want)
			}
			if want == "" && !strings.Contains(failure, "refused") {
				t.Errorf("round %d: %s: not refused but %s", round, target, failure)
			}
		}
		const size = 16 << 20
		c := ask("take %d", size)
		if _, err := io.CopyN(c, zeros{}, size); err != nil {
			t.Error(err)
		}
		if answer, err := io.ReadAll(c); err != nil || string(answer) != fmt.Sprintf("%d|<nil>", size) {
			t.Errorf("bytes into the sandbox: %q, %v", answer, err)
		}
		if n, err := io.Copy(io.Discard, ask("give %d", size)); err != nil || n != size {
			t.Errorf("bytes out of the sandbox: %d, %v", n, err)
		}
		stop()
	}
}

// startGVisor runs this test binary in a sandbox whose root is the host's,
// read-only, and returns what ends it.
func startGVisor(t *testing.T, runsc string, s Slot) (stop func()) {
	t.Helper()
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	spec := specs.Spec{
		Version: "1.0.0",
		Root:    &specs.Root{Path: "/", Readonly: true},
		Process: &specs.Process{
			Args: []string{self, "-test.run=^TestGVisorProcess$"}, Cwd: "/",
			Env: []string{gvisorEnv + "=1"},
		},
		Mounts: []specs.Mount{{Destination: "/proc", Type: "proc", Source: "proc"}},
		Linux: &specs.Linux{Namespaces: []specs.LinuxNamespace{
			{Type: specs.PIDNamespace}, {Type: specs.IPCNamespace}, {Type: specs.MountNamespace}, {Type: specs.UTSNamespace},
			{Type: specs.NetworkNamespace, Path: s.NetNS},
		}},
	}
	data, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	const id = "dtstgvisor"
	flags := []string{"--root", filepath.Join(dir, "state"), "--platform=systrap", "--network=sandbox", "--ignore-cgroups"}
	output, err := os.Create(filepath.Join(dir, "output"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(runsc, append(flags, "run", "--bundle", dir, id)...)
	cmd.Stdout, cmd.Stderr = output, output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		exec.Command(runsc, append(flags, "kill", id, "KILL")...).Run()
		cmd.Wait()
		exec.Command(runsc, append(flags, "delete", "--force", id)...).Run()
		unix.Unmount(filepath.Join(dir, "state", "null-netns"), unix.MNT_DETACH)
		output.Close()
		if t.Failed() {
			b, _ := os.ReadFile(output.Name())
			t.Logf("%s", b)
		}
	}
	t.Cleanup(stop)
	return stop
}
