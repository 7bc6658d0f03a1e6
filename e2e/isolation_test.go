//go:build root

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestIsolation holds, through the API alone, what a sandbox may not do.
func TestIsolation(t *testing.T) {
	for _, isolation := range []string{"gvisor", "runc"} {
		t.Run(isolation, func(t *testing.T) {
			api := alone(t, mode{isolation: isolation})
			a := mustCreate(t, api, nil)
			b := mustCreate(t, api, nil)
			t.Run("identity", func(t *testing.T) { testIdentity(t, api, a, isolation) })
			t.Run("toolbox", func(t *testing.T) { testToolbox(t, api, a, isolation) })
			t.Run("network", func(t *testing.T) { testNetwork(t, api, a, b) })
			t.Run("limits", func(t *testing.T) { testLimits(t, api, b) })
		})
	}
}

func testIdentity(t *testing.T, api *client, sb sandbox, isolation string) {
	for command, want := range map[string]string{
		"id -u":    "1000",
		"id -un":   "daytona",
		"hostname": sb.ID,
		"pwd":      "/home/daytona",
		// 3 GiB, less what the file system needs for itself.
		"df -BM --output=size / | tail -1 | tr -dc 0-9 | awk '{print ($1 > 2700 && $1 < 3100)}'": "1",
		// Under runc the kernel shows the host's memory, and no new privileges are given.
		"awk '/MemTotal/ {print ($2 <= 1100000)}' /proc/meminfo": map[string]string{"gvisor": "1"}[isolation],
		"sudo -n id -u": map[string]string{"gvisor": "0"}[isolation],
	} {
		if want == "" {
			continue
		}
		if r := mustExec(t, api, sb.ID, command); strings.TrimSpace(r.Result) != want {
			t.Errorf("%s: %q (exit code %d), want %q", command, r.Result, r.ExitCode, want)
		}
	}
	// Root inside is not root outside.
	for _, command := range []string{
		"sudo -n mount -t proc proc /mnt && ls /mnt/1/root/etc/hostname && cat /mnt/1/environ | grep -i daytona_api",
		"sudo -n sh -c 'echo 1 > /proc/sys/kernel/sysrq'",
		"sudo -n sh -c 'echo x > /proc/sysrq-trigger'",
		"sudo -n mknod /tmp/disk b 254 0 && sudo -n dd if=/tmp/disk of=/dev/null count=1",
		"sudo -n insmod /dev/null",
		"sudo -n dmesg -C && sudo -n dmesg | grep -v gVisor | grep -qi 'linux version'",
	} {
		if r := mustExec(t, api, sb.ID, command); r.ExitCode == 0 {
			t.Errorf("possible inside: %s\n%s", command, r.Result)
		}
	}
}

// testToolbox: what is inside cannot replace the toolbox or speak to it.
func testToolbox(t *testing.T, api *client, sb sandbox, isolation string) {
	exe := strings.TrimSpace(mustExec(t, api, sb.ID, "tr '\\0' '\\n' < /proc/1/cmdline | head -1").Result)
	if !strings.HasPrefix(exe, "/") {
		t.Fatalf("where is the toolbox? %q", exe)
	}
	for _, command := range []string{
		"echo x >> " + exe,
		"sudo -n sh -c 'echo x >> " + exe + "'",
		"sudo -n rm -f " + exe,
		"sudo -n mv " + exe + " /tmp/toolbox",
	} {
		if r := mustExec(t, api, sb.ID, command); r.ExitCode == 0 {
			t.Errorf("possible inside: %s", command)
		}
	}
	for _, route := range []string{"/version", "/files/?path=/", "/process/execute", "/init"} {
		r := mustExec(t, api, sb.ID, "curl -s -o /dev/null -w '%{http_code}' -X "+
			map[bool]string{true: "POST", false: "GET"}[route == "/process/execute" || route == "/init"]+
			" -H 'Content-Type: application/json' -d '{\"command\":\"id\"}' 'http://127.0.0.1:2280"+route+"'")
		if code := strings.TrimSpace(r.Result); strings.HasPrefix(code, "2") {
			t.Errorf("%s answers %s without a token", route, code)
		}
	}
	r := mustExec(t, api, sb.ID, "env; cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'; sudo -n cat /proc/1/cmdline")
	for line := range strings.Lines(r.Result) {
		if strings.Contains(strings.ToUpper(line), "TOKEN") || strings.Contains(line, "dtn_") {
			t.Errorf("a secret lies open: %s", line)
		}
	}
	// What a process inside does to the others does not end the toolbox.
	for _, command := range []string{"kill -TERM 1", "kill -SEGV 1", "kill -HUP 1", "sudo -n kill -TERM 1", "kill -9 -1"} {
		_, _ = api.exec(t.Context(), sb.ID, command, 10)
		if r := mustExec(t, api, sb.ID, "echo still here"); r.Result != "still here\n" {
			t.Fatalf("after %s: %+v", command, r)
		}
	}
	// Linux keeps SIGKILL from PID 1. gVisor does not: it ends the sandbox, and
	// no more than that.
	mustExec(t, api, sb.ID, "echo kept > /home/daytona/kept")
	_, _ = api.exec(t.Context(), sb.ID, "kill -9 1; sudo -n kill -9 1", 10)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if r, err := api.exec(ctx, sb.ID, "cat /home/daytona/kept", 10); err == nil && r.Result == "kept\n" {
		return
	} else if isolation != "gvisor" {
		t.Fatalf("after kill -9 1: %+v, %v", r, err)
	}
	if _, err := api.waitFor(ctx, sb.ID, "stopped"); err != nil {
		t.Fatal(err)
	}
	if err := api.do(ctx, "POST", "/sandbox/"+sb.ID+"/start", nil, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := api.waitFor(ctx, sb.ID, "started"); err != nil {
		t.Fatal(err)
	}
	if r := mustExec(t, api, sb.ID, "cat /home/daytona/kept"); r.Result != "kept\n" {
		t.Errorf("after the start: %+v", r)
	}
}

// probe connects from inside to each address, all at once, and prints as JSON
// which of them a connection was made to.
const probe = `
import json, socket, sys, threading
open_ = []
def dial(target):
    host, port = target.rsplit(':', 1)
    try:
        socket.create_connection((host.strip('[]'), int(port)), 4).close()
        open_.append(target)
    except OSError:
        pass
threads = [threading.Thread(target=dial, args=(t,)) for t in sys.argv[1:]]
[t.start() for t in threads]
[t.join() for t in threads]
print(json.dumps(open_))
`

func reachable(t *testing.T, api *client, id string, targets []string) []string {
	t.Helper()
	r := mustExec(t, api, id, "python3 - "+strings.Join(targets, " ")+" <<'END'"+probe+"END")
	var open []string
	if err := json.Unmarshal([]byte(r.Result), &open); err != nil {
		t.Fatalf("probing: %v in %q", err, r.Result)
	}
	return open
}

// testNetwork: a sandbox reaches the outside and nothing else. A namespace on
// the host plays the outside: it owns a public address, private ones and a
// metadata service's, all of which the host itself reaches.
func testNetwork(t *testing.T, api *client, a, b sandbox) {
	const public = "11.98.76.54"
	forbidden := []string{"169.254.169.254", "10.98.76.54", "172.31.76.54", "192.168.76.54", "100.98.76.54", "fd12:3456::54"}
	outside(t, append(forbidden, public))
	for _, addr := range append(forbidden, public) {
		if strings.Contains(addr, ":") {
			continue // the host may have no IPv6; what must fail fails then for that reason
		}
		c, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(t.Context(), "tcp", net.JoinHostPort(addr, "8080"))
		if err != nil {
			t.Fatalf("the host itself does not reach %s: %v", addr, err)
		}
		c.Close()
	}

	if open := reachable(t, api, a.ID, []string{public + ":8080"}); len(open) != 1 {
		t.Errorf("the outside cannot be reached")
	}
	var targets []string
	for _, addr := range forbidden {
		targets = append(targets, net.JoinHostPort(addr, "8080"))
	}
	// The host: a service on every address of it, the API, and others' ports.
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	_, apiPort, _ := net.SplitHostPort(shared.listen)
	for _, addr := range hostAddresses(t) {
		targets = append(targets, net.JoinHostPort(addr, port), net.JoinHostPort(addr, apiPort), net.JoinHostPort(addr, "22"))
	}
	gateway := strings.Fields(mustExec(t, api, a.ID, "python3 - <<'END'\n"+
		"import socket, struct\nfor l in open('/proc/net/route'):\n    f = l.split()\n    if f[1] == '00000000': print(socket.inet_ntoa(struct.pack('<L', int(f[2], 16))))\nEND").Result)
	for _, addr := range gateway {
		targets = append(targets, addr+":"+port, addr+":"+apiPort)
	}
	// The other sandbox, at every address that a sandbox could have.
	if r := mustExec(t, api, b.ID, "setsid nohup python3 -m http.server 8000 --bind 0.0.0.0 >/tmp/http.log 2>&1 & until curl -s -o /dev/null http://127.0.0.1:8000/; do sleep 0.1; done"); r.ExitCode != 0 {
		t.Fatalf("starting a service in the other sandbox: %+v", r)
	}
	for _, addr := range sandboxAddresses(t) {
		targets = append(targets, addr+":8000", addr+":2280")
	}
	for _, target := range reachable(t, api, a.ID, targets) {
		t.Errorf("a sandbox reaches %s", target)
	}

	t.Run("real outside", func(t *testing.T) {
		url := packageSource(t)
		if err := fetch(t.Context(), url); err != nil {
			t.Skipf("the host itself has no way out: %v", err)
		}
		r := mustExec(t, api, a.ID, "curl -sSf -m 30 -o /dev/null -w '%{http_code}' "+url)
		if r.ExitCode != 0 || !strings.HasSuffix(strings.TrimSpace(r.Result), "200") {
			t.Errorf("a sandbox does not reach the outside: %+v", r)
		}
	})
	t.Run("blocked", func(t *testing.T) {
		c := mustCreate(t, api, map[string]any{"networkBlockAll": true})
		if open := reachable(t, api, c.ID, []string{public + ":8080"}); len(open) != 0 {
			t.Errorf("a sandbox with its network blocked reaches %v", open)
		}
		d := mustCreate(t, api, map[string]any{"networkAllowList": public + "/32"})
		if open := reachable(t, api, d.ID, []string{public + ":8080"}); len(open) != 1 {
			t.Error("what the allow list names cannot be reached")
		}
		e := mustCreate(t, api, map[string]any{"networkAllowList": "11.98.77.0/24"})
		if open := reachable(t, api, e.ID, []string{public + ":8080"}); len(open) != 0 {
			t.Errorf("what the allow list does not name can be reached: %v", open)
		}
	})
}

// outside makes a namespace that owns the addresses and serves HTTP on port 8080.
func outside(t *testing.T, addrs []string) {
	t.Helper()
	ns, here, there := networkPrefix+"out", networkPrefix+"out0", networkPrefix+"out1"
	const near, far = "198.18.213.1", "198.18.213.2" // for benchmarks: hardly in use
	// One such outside a host: two would own the same addresses.
	lock, err := os.OpenFile("/run/lock/daytona-e2e-outside", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { lock.Close() })
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	clean := func() {
		_ = exec.CommandContext(context.Background(), "ip", "netns", "delete", ns).Run()
		_ = exec.CommandContext(context.Background(), "ip", "link", "delete", here).Run()
	}
	clean()
	t.Cleanup(clean)
	run := func(args ...string) {
		t.Helper()
		if err := command("", "ip", args...); err != nil {
			t.Fatal(err)
		}
	}
	run("netns", "add", ns)
	run("link", "add", here, "type", "veth", "peer", "name", there, "netns", ns)
	run("addr", "add", near+"/30", "dev", here)
	run("link", "set", here, "up")
	run("-n", ns, "addr", "add", far+"/30", "dev", there)
	run("-n", ns, "link", "set", there, "up")
	run("-n", ns, "link", "set", "lo", "up")
	run("-n", ns, "route", "add", "default", "via", near)
	for _, addr := range addrs {
		if strings.Contains(addr, ":") {
			continue // reached only where the host routes IPv6; refusal is tested all the same
		}
		run("-n", ns, "addr", "add", addr+"/32", "dev", "lo")
		run("route", "replace", addr+"/32", "via", far, "dev", here)
	}
	cmd := exec.CommandContext(t.Context(), "ip", "netns", "exec", ns, "python3", "-m", "http.server", "8080", "--bind", "0.0.0.0", "--directory", t.TempDir())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		c, err := (&net.Dialer{Timeout: time.Second}).DialContext(t.Context(), "tcp", addrs[0]+":8080")
		if err == nil {
			c.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the pretended outside does not answer: %v", err)
		}
	}
}

// sandboxAddresses are those at which the host reaches sandboxes.
func sandboxAddresses(t *testing.T) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "ip", "-4", "route").Output()
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) > 2 && f[1] == "dev" && strings.HasPrefix(f[2], networkPrefix) {
			found = append(found, f[0])
		}
	}
	if len(found) < 2 {
		t.Fatalf("the host has routes to %d sandboxes only:\n%s", len(found), out)
	}
	return found
}

func hostAddresses(t *testing.T) []string {
	t.Helper()
	all, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, a := range all {
		if ip, ok := a.(*net.IPNet); ok && !ip.IP.IsLoopback() && !ip.IP.IsLinkLocalUnicast() {
			found = append(found, ip.IP.String())
		}
	}
	return found
}

func fetch(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	// Without a proxy: a sandbox has none.
	res, err := (&http.Client{Transport: &http.Transport{}}).Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, res.Status)
	}
	return nil
}

// testLimits: one that takes all it can get harms neither its neighbour nor the
// server, and is told why it ended.
func testLimits(t *testing.T, api *client, neighbour sandbox) {
	for _, c := range []struct {
		name, command string
		check         func(t *testing.T, sb sandbox, r result, err error)
	}{
		{"memory", `python3 -c "
b = []
while True: b.append(bytearray(16 << 20))"`, func(t *testing.T, sb sandbox, r result, err error) {
			// Either the command alone was killed, and says so, or the sandbox ended, with a recorded cause.
			if err == nil && r.ExitCode != 0 {
				return
			}
			ended(t, api, sb, "memory")
		}},
		{"processes", `python3 -c "
import os, time
n = 0
while n < 20000:
    try:
        if os.fork() == 0:
            time.sleep(60)
            os._exit(0)
        n += 1
    except OSError as e:
        print('refused after', n, e.strerror)
        raise SystemExit(3)
print('made', n)"; code=$?; pkill -9 python3; exit $code`, func(t *testing.T, sb sandbox, r result, err error) {
			if err == nil && r.ExitCode == 0 && strings.Contains(r.Result, "made") {
				t.Errorf("20000 processes were made: %+v", r)
			}
			if err != nil {
				ended(t, api, sb, "")
			}
		}},
		{"disk", "dd if=/dev/zero of=/home/daytona/fill bs=1M count=8000 2>&1; code=$?; df -h /; exit $code", func(t *testing.T, sb sandbox, r result, err error) {
			if err != nil || r.ExitCode == 0 || !strings.Contains(r.Result, "No space left") {
				t.Errorf("filling the disk: %+v, %v", r, err)
			}
			if r, err := api.exec(t.Context(), sb.ID, "rm /home/daytona/fill && echo freed > /home/daytona/x && cat /home/daytona/x", 60); err != nil || r.Result != "freed\n" {
				t.Errorf("after making room: %+v, %v", r, err)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			greedy := mustCreate(t, api, nil)
			type answer struct {
				result
				err error
			}
			done := make(chan answer, 1)
			go func() {
				r, err := api.exec(t.Context(), greedy.ID, c.command, 60)
				done <- answer{r, err}
			}()
			// While it rages the neighbour works and the API answers.
			for looks := 0; ; looks++ {
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				r, err := api.exec(ctx, neighbour.ID, "echo fine", 10)
				if err != nil || r.Result != "fine\n" {
					t.Errorf("the neighbour: %+v, %v", r, err)
				}
				if _, err := api.list(ctx); err != nil {
					t.Errorf("the API: %v", err)
				}
				cancel()
				select {
				case a := <-done:
					t.Logf("%d looks meanwhile; exit code %d, error %v, %s", looks, a.ExitCode, a.err, tail(a.Result, 300))
					c.check(t, greedy, a.result, a.err)
					return
				case <-time.After(200 * time.Millisecond):
				}
			}
		})
	}
}

// ended waits until the sandbox is no longer running, and wants the cause named.
func ended(t *testing.T, api *client, sb sandbox, cause string) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		now, err := api.get(t.Context(), sb.ID)
		if err != nil {
			t.Fatal(err)
		}
		if now.State == "stopped" || now.State == "error" {
			if !strings.Contains(strings.ToLower(now.ErrorReason), cause) {
				t.Errorf("the sandbox ended as %s, and the reason %q does not name %s", now.State, now.ErrorReason, cause)
			}
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the sandbox is still %s", now.State)
		}
	}
}

// packageSource is a file that the host's own package manager fetches.
func packageSource(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "apt-get", "indextargets", "--format", "$(REPO_URI)dists/$(RELEASE)/Release").Output()
	if err != nil {
		t.Skipf("the host's package sources are not known: %v", err)
	}
	for url := range strings.Lines(string(out)) {
		if strings.HasPrefix(url, "http://") {
			return strings.TrimSpace(url)
		}
	}
	t.Skip("the host has no package source that is reached without TLS")
	return ""
}
