//go:build root

package local_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"daytona/api/runnerapi"
	"daytona/internal/fault"
	"daytona/runner/builder"
	"daytona/runner/local"
	"daytona/runner/registrytest"
)

// contextServer serves one archive.
func contextServer(t *testing.T, headers ...tar.Header) string {
	t.Helper()
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	for _, h := range headers {
		text := h.Uname // stands for the content
		h.Uname = ""
		h.Size = int64(len(text))
		if err := tw.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(b.Bytes()) }))
	t.Cleanup(srv.Close)
	return srv.URL
}

func TestBuildContext(t *testing.T) {
	w := newImageWorld(t, local.GVisor, nil)
	good := contextServer(t,
		tar.Header{Name: "app/", Typeflag: tar.TypeDir, Mode: 0o750},
		tar.Header{Name: "app/run.sh", Mode: 0o755, Uname: "echo ran"},
		tar.Header{Name: "app/data", Mode: 0o640, Uname: "data"},
		tar.Header{Name: "app/link", Typeflag: tar.TypeSymlink, Linkname: "../app/data"},
		tar.Header{Name: "app/etc", Typeflag: tar.TypeSymlink, Linkname: "/etc"},
	)
	s := w.build("ctx", "FROM busybox:1\nCOPY sub/app /app\nRUN sh /app/run.sh > /out\n", runnerapi.BuildContext{Path: "sub", URL: good})
	if s.State != runnerapi.SnapshotReady {
		t.Fatalf("%+v\n%s", s, w.log("ctx"))
	}
	out := w.run("ctx", "cat /out; stat -c '%a %u' /app/run.sh /app/data; readlink /app/link /app/etc; readlink /app/link; cat /app/link")
	for _, want := range []string{"ran\n755 0\n640 0\n", "../app/data", "data"} {
		if !strings.Contains(out, want) {
			t.Errorf("inside lacks %q:\n%s", want, out)
		}
	}
	for name, entries := range map[string][]tar.Header{
		"dots":          {{Name: "../../out", Mode: 0o644, Uname: "x"}},
		"absolute":      {{Name: "/etc/cron.d/x", Mode: 0o644, Uname: "x"}},
		"through-link":  {{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "/tmp"}, {Name: "l/out", Mode: 0o644, Uname: "x"}},
		"hard-link-out": {{Name: "h", Typeflag: tar.TypeLink, Linkname: "../../../etc/passwd"}},
		"device":        {{Name: "d", Typeflag: tar.TypeChar, Mode: 0o666, Devmajor: 1, Devminor: 3}},
	} {
		t.Run(name, func(t *testing.T) {
			s := w.build("bad-"+name, "FROM busybox:1\nCOPY . /x\n", runnerapi.BuildContext{URL: contextServer(t, entries...)})
			if s.State != runnerapi.SnapshotFailed || !strings.Contains(s.Reason, "context is refused") {
				t.Errorf("%+v", s)
			}
		})
	}
}

func TestBuildIsFencedIn(t *testing.T) {
	for _, isolation := range []string{local.GVisor, local.Runc} {
		t.Run(isolation, func(t *testing.T) {
			ca := filepath.Join(t.TempDir(), "ca.crt")
			if err := os.WriteFile(ca, []byte("the host's certificates"), 0o644); err != nil {
				t.Fatal(err)
			}
			w := newImageWorld(t, isolation, func(c *local.Config) {
				c.Build = builder.Limits{CPU: 1, MemoryBytes: 256 << 20, Pids: 64, DiskBytes: 64 << 20, Time: 10 * time.Second}
				c.BuildCA = ca
			})
			secret := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "of the host") }))
			l, err := net.Listen("tcp", "0.0.0.0:0")
			if err != nil {
				t.Fatal(err)
			}
			secret.Listener = l
			secret.Start()
			defer secret.Close()
			port := l.Addr().(*net.TCPAddr).Port
			before := look(t, w.dir)
			for name, tt := range map[string]struct{ dockerfile, reason string }{
				"disk":     {"FROM busybox:1\nRUN dd if=/dev/zero of=/big bs=1M count=2000", "written more than 64 MiB"},
				"time":     {"FROM busybox:1\nRUN sleep 600", "longer than 10s"},
				"exit":     {"FROM busybox:1\nRUN echo the last words && exit 7", "exit code 7"},
				"insecure": {"FROM busybox:1\nRUN --security=insecure true", "--security=insecure"},
				"network":  {"FROM busybox:1\nRUN --network=host true", "--network=host"},
				"secret":   {"FROM busybox:1\nRUN --mount=type=secret,id=x cat /run/secrets/x", "type=secret"},
				"ssh":      {"FROM busybox:1\nRUN --mount=type=ssh true", "type=ssh"},
				"git":      {"FROM busybox:1\nADD https://example.com/some/thing.git /x", "git"},
				"syntax":   {"# syntax=evil.example/frontend\nFROM busybox:1", "syntax"},
				"add":      {fmt.Sprintf("FROM busybox:1\nADD http://127.0.0.1:%d/ /x", port), ""},
				"none":     {"FROM busybox:1\nRUN exit 0\nNOSUCH x", "unknown instruction"},
				"user":     {"FROM busybox:1\nUSER nosuchuser\nRUN true", "nosuchuser"},
				"scratch":  {"FROM scratch\nENV A=b", "no files"},
			} {
				t.Run(name, func(t *testing.T) {
					s := w.build("f-"+name, tt.dockerfile)
					if s.State != runnerapi.SnapshotFailed || !strings.Contains(s.Reason, tt.reason) {
						t.Errorf("%+v", s)
					}
				})
			}
			if log := w.log("f-exit"); !strings.Contains(log, "the last words") || !strings.Contains(log, "exit code 7") {
				t.Errorf("the log of a failed step:\n%s", log)
			}
			ok := fmt.Sprintf(`FROM busybox:1
RUN cat "$SSL_CERT_FILE" > /seen; id -u > /who
RUN for a in 127.0.0.1 $(ip route | head -1 | cut -d' ' -f3) %s; do wget -T 2 -q -O - http://$a:%d/ >> /reached; done; true
RUN grep -c . /proc/self/status && ! mount -t tmpfs x /mnt 2>/dev/null && ! dd if=/dev/mem of=/dev/null bs=1 count=1 2>/dev/null
`, hostAddress(t), port)
			if s := w.build("ok", ok); s.State != runnerapi.SnapshotReady {
				t.Fatalf("%+v\n%s", s, w.log("ok"))
			}
			out := w.run("ok", "cat /seen /who; wc -c < /reached; ls /run; env")
			if !strings.HasPrefix(out, "the host's certificates0\n0\n") || strings.Contains(out, "CERT") || strings.Contains(out, "ca.crt") {
				t.Errorf("inside: %s", out)
			}
			if after := look(t, w.dir); strings.Join(before, "\n") != strings.Join(after, "\n") {
				t.Errorf("left behind:\n%s", strings.Join(after, "\n"))
			}
		})
	}
}

// hostAddress is an address of this host at which others reach it.
func hostAddress(t *testing.T) string {
	t.Helper()
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if ip, ok := a.(*net.IPNet); ok && ip.IP.To4() != nil && !ip.IP.IsLoopback() {
			return ip.IP.String()
		}
	}
	return "127.0.0.2"
}

func TestImageFaults(t *testing.T) {
	w := newImageWorld(t, local.GVisor, nil)
	pull := func(name, ref string, auths ...runnerapi.RegistryAuth) runnerapi.Snapshot {
		t.Helper()
		err := w.EnsureImage(t.Context(), runnerapi.ImageSpec{Name: name, Pull: &runnerapi.Pull{Ref: ref}, Auths: auths})
		if err != nil {
			t.Fatal(err)
		}
		return w.settled(name)
	}
	failed := func(s runnerapi.Snapshot, want string) {
		t.Helper()
		if s.State != runnerapi.SnapshotFailed || !strings.Contains(s.Reason, want) {
			t.Errorf("%+v; want %q", s, want)
		}
	}
	base := registrytest.Busybox(t)
	host := w.reg.Host()

	w.reg.Push(t, "library/foreign:1", func(i *ocispec.Image) { i.Architecture = "s390x" }, base)
	failed(pull("foreign", host+"/library/foreign:1"), "nothing that runs on linux/")
	failed(w.build("foreign-build", "FROM "+host+"/library/foreign:1\nENV A=b"), "s390x")
	failed(pull("absent", host+"/library/absent:1"), "was not found")
	failed(w.build("absent-build", "FROM "+host+"/library/absent:1"), "absent:1")
	w.reg.Push(t, "library/crash:1", func(i *ocispec.Image) { i.Config.Entrypoint = []string{"sh", "-c", "exit 3"} }, base)
	if s := pull("crash", host+"/library/crash:1"); s.State != runnerapi.SnapshotReady || strings.Join(s.Entrypoint, " ") != "sleep infinity" {
		t.Errorf("an image whose process ends: %+v", s)
	}
	w.reg.Push(t, "library/nouser:1", func(i *ocispec.Image) { i.Config.User = "nobodyhere" }, base)
	failed(pull("nouser", host+"/library/nouser:1"), "nobodyhere")

	// A lie about what a layer unpacks to must not poison what others share.
	victim := registrytest.Layer(t, registrytest.File{Name: "victim", Text: "the victim's"})
	w.reg.Push(t, "library/liar:1", func(i *ocispec.Image) {
		honest := w.reg.Push(t, "library/honest:1", nil, base, victim)
		_ = honest
		i.RootFS.DiffIDs[1] = digestOf(victim)
	}, base, registrytest.Layer(t, registrytest.File{Name: "victim", Text: "the attacker's"}))
	failed(w.build("liar", "FROM "+host+"/library/liar:1\nRUN true"), "")
	if s := w.build("honest", "FROM "+host+"/library/honest:1\nRUN true"); s.State != runnerapi.SnapshotReady {
		t.Errorf("%+v", s)
	} else if out := w.run("honest", "cat /victim"); out != "the victim's" {
		t.Errorf("poisoned: %q", out)
	}

	// Truncated on the way, then not: nothing of the first attempt is kept.
	w.reg.Push(t, "library/cut:1", nil, base, registrytest.Layer(t, registrytest.File{Name: "f", Text: strings.Repeat("0123456789", 1000)}))
	w.reg.Meddle(func(rw http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/blobs/") {
			return false
		}
		rw.Header().Set("Content-Length", "100000")
		_, _ = rw.Write([]byte("short"))
		panic(http.ErrAbortHandler)
	})
	failed(pull("cut", host+"/library/cut:1"), "the registry")
	failed(w.build("cut-build", "FROM "+host+"/library/cut:1\nRUN true"), "")
	w.reg.Meddle(nil)
	if s := pull("cut", host+"/library/cut:1"); s.State != runnerapi.SnapshotReady {
		t.Errorf("tried again: %+v", s)
	}
	if s := w.build("cut-build", "FROM "+host+"/library/cut:1\nRUN true"); s.State != runnerapi.SnapshotReady {
		t.Errorf("tried again: %+v", s)
	}

	// A registry that hangs does not hold up a removal.
	hanging, released := make(chan struct{}, 16), make(chan struct{})
	w.reg.Meddle(func(_ http.ResponseWriter, r *http.Request) bool {
		hanging <- struct{}{}
		select {
		case <-r.Context().Done():
		case <-released:
		}
		return true
	})
	for name, spec := range map[string]runnerapi.ImageSpec{
		"hang-pull":  {Name: "hang-pull", Pull: &runnerapi.Pull{Ref: host + "/library/new:1"}},
		"hang-build": {Name: "hang-build", Build: &runnerapi.Build{Dockerfile: "FROM " + host + "/library/new:2"}},
	} {
		if err := w.EnsureImage(t.Context(), spec); err != nil {
			t.Fatal(err)
		}
		<-hanging
		if err := w.RemoveImage(t.Context(), name); err != nil {
			t.Error(err)
		}
		if s := w.state(name); s.Name != "" {
			t.Errorf("%+v", s)
		}
	}
	w.reg.Meddle(nil)
	close(released)

	// Credentials: none, wrong ones, those of a longer prefix.
	w.reg.Push(t, "acme/private:1", nil, base)
	w.reg.Protect("user", "hush")
	right := []runnerapi.RegistryAuth{{Prefix: host, Username: "user", Password: "wrong"}, {Prefix: host + "/acme", Username: "user", Password: "hush"}}
	failed(pull("private", host+"/acme/private:1"), "refuses access")
	failed(pull("private", host+"/acme/private:1", right[0]), "refuses access")
	if s := pull("private", host+"/acme/private:1", right...); s.State != runnerapi.SnapshotReady {
		t.Errorf("%+v", s)
	}
	build := runnerapi.ImageSpec{Name: "private-build", Build: &runnerapi.Build{Dockerfile: "FROM " + host + "/acme/private:1\nRUN true"}}
	for i, auths := range [][]runnerapi.RegistryAuth{right[:1], right} {
		build.Auths = auths
		if err := w.EnsureImage(t.Context(), build); err != nil {
			t.Fatal(err)
		}
		if s := w.settled("private-build"); (s.State == runnerapi.SnapshotReady) != (i == 1) {
			t.Errorf("build with credentials %d: %+v", i, s)
		}
	}
	// Nothing of them is on the disk.
	out, err := exec.Command("grep", "-rl", "hush", filepath.Join(w.dir, "runner"), filepath.Join(w.dir, "images", "build")).CombinedOutput()
	if len(out) > 0 {
		t.Errorf("a password is kept in %s (%v)", out, err)
	}
}

func TestRemovingABuildEndsIt(t *testing.T) {
	w := newImageWorld(t, local.GVisor, nil)
	before := look(t, w.dir)
	err := w.EnsureImage(t.Context(), runnerapi.ImageSpec{Name: "long", Build: &runnerapi.Build{Dockerfile: "FROM " + w.reg.Host() + "/library/busybox:1\nRUN echo begun && sleep 600\n"}})
	if err != nil {
		t.Fatal(err)
	}
	rc, err := w.ImageLog(t.Context(), "long", true)
	if err != nil {
		t.Fatal(err)
	}
	defer rc.Close()
	var seen []byte
	buf := make([]byte, 1024)
	for !bytes.Contains(seen, []byte("begun\n#")) && !bytes.Contains(seen, []byte(" begun\n")) {
		n, err := rc.Read(buf)
		if err != nil {
			t.Fatalf("%v after %s", err, seen)
		}
		seen = append(seen, buf[:n]...)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := w.RemoveImage(ctx, "long"); err != nil {
		t.Fatal(err)
	}
	if after := look(t, w.dir); strings.Join(before, "\n") != strings.Join(after, "\n") {
		t.Errorf("left behind:\n%s", strings.Join(after, "\n"))
	}
	if _, err := w.ImageLog(t.Context(), "long", false); !fault.Is(err, fault.NotFound) {
		t.Errorf("its log: %v", err)
	}
}

const killBuild = "RTEST_KILL_BUILD" // the Dockerfile that the victim builds

func init() {
	if df := os.Getenv(killBuild); df != "" {
		os.Exit(buildVictim(df))
	}
}

// buildVictim builds, pulls and removes until it is killed.
func buildVictim(dockerfile string) int {
	r, err := local.Open(context.Background(), config(os.Getenv(victimDir), os.Getenv(victimToolbox), 0, local.GVisor))
	if err != nil {
		fmt.Fprintln(os.Stderr, "victim:", err)
		return 1
	}
	ctx := context.Background()
	for i := 0; ; i++ {
		text := strings.ReplaceAll(dockerfile, "ROUND", fmt.Sprint(i, rand.Int()))
		ref, _, _ := strings.Cut(strings.TrimPrefix(dockerfile, "FROM "), "\n")
		err := errors.Join(
			r.EnsureImage(ctx, runnerapi.ImageSpec{Name: "built", Build: &runnerapi.Build{Dockerfile: text}}),
			r.EnsureImage(ctx, runnerapi.ImageSpec{Name: "pulled", Pull: &runnerapi.Pull{Ref: ref}}))
		if err != nil {
			fmt.Fprintln(os.Stderr, "victim:", err)
			return 1
		}
		time.Sleep(time.Duration(rand.IntN(1500)) * time.Millisecond) // somewhere in the middle
		if err := errors.Join(r.RemoveImage(ctx, "built"), r.RemoveImage(ctx, "pulled")); err != nil {
			fmt.Fprintln(os.Stderr, "victim:", err)
			return 1
		}
	}
}

// TestKilledWhileImagesAreMade kills the runner in the middle of pulls, builds
// and removals, and looks at what the next one makes of it.
func TestKilledWhileImagesAreMade(t *testing.T) {
	w := newImageWorld(t, local.GVisor, nil)
	host := w.reg.Host()
	w.reg.Push(t, "library/two:1", nil, registrytest.Busybox(t), registrytest.Layer(t, registrytest.File{Name: "more", Text: strings.Repeat("more ", 1<<18)}))
	dockerfile := "FROM " + host + "/library/two:1\nRUN echo ROUND > /a\nRUN --mount=type=cache,target=/c dd if=/dev/zero of=/b bs=1M count=8; cp /b /c\nCOPY --from=" + host + "/library/busybox:1 /bin /more-bin\n"
	before := look(t, w.dir)
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for round := range 8 {
		cmd := exec.Command(self)
		cmd.Env = append(os.Environ(), victimDir+"="+w.dir, victimToolbox+"="+toolbox, killBuild+"="+dockerfile)
		cmd.Stderr = os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second + time.Duration(rand.IntN(2500))*time.Millisecond) // anywhere
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		w.open(local.GVisor, nil)
		// Whatever was under way goes on to an end.
		for _, name := range []string{"built", "pulled"} {
			if s := w.state(name); s.Name != "" {
				if s = w.settled(name); s.State != runnerapi.SnapshotReady {
					t.Errorf("round %d: %+v\n%s", round, s, w.log(name))
				} else if out := w.run(name, "wc -c < /more"); strings.TrimSpace(out) != fmt.Sprint(5<<18) {
					t.Errorf("round %d: %s lacks files: %q", round, name, out)
				}
			}
			if err := w.RemoveImage(t.Context(), name); err != nil {
				t.Error(err)
			}
		}
		if after := look(t, w.dir); strings.Join(before, "\n") != strings.Join(after, "\n") {
			t.Errorf("round %d: left behind:\n%s", round, strings.Join(after, "\n"))
		}
		if left, _ := filepath.Glob(filepath.Join(os.TempDir(), "buildkit-mount*")); len(left) > 0 {
			t.Logf("round %d: temporary directories: %v", round, left)
		}
		for _, sub := range []string{"steps", "contexts"} {
			if left, _ := filepath.Glob(filepath.Join(w.dir, "images", "build", sub, "*")); len(left) > 0 {
				t.Errorf("round %d: %v", round, left)
			}
		}
		if err := w.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if t.Failed() {
			return
		}
	}
}
