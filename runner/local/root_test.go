//go:build root

package local_test

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"daytona/api/runnerapi"
	"daytona/internal/fault"
	"daytona/runner"
	"daytona/runner/local"
	"daytona/runner/rootfs"
)

const (
	prefix = "drt" // of network devices and tables
	cgroup = "/daytona-rtest"
	tiny   = "tiny"

	dirPrefix = "rtest-" // of data directories
	patience  = 2 * time.Minute

	readyNetworks = 2
)

var toolbox string

func TestMain(m *testing.M) {
	if dir := os.Getenv(victimDir); dir != "" {
		os.Exit(victim(dir))
	}
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "runner-rtest-")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(dir)
		toolbox = filepath.Join(dir, "toolbox")
		build := exec.Command("go", "build", "-o", toolbox, "daytona/cmd/toolbox")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			panic(string(out))
		}
		return m.Run()
	}())
}

// engine finds an engine's program where `make engines` puts it.
func engine(name string) string {
	path, err := filepath.Abs("../../bin/" + name)
	if err != nil {
		panic(err)
	}
	return path
}

func config(dir, toolbox string, warm int, isolations ...string) local.Config {
	level := slog.LevelWarn
	if os.Getenv("RUNNER_TEST_DEBUG") != "" {
		level = slog.LevelDebug
	}
	return local.Config{
		DataDir: dir, ID: "rtest", Isolations: isolations,
		Runsc: engine("runsc"), Runc: engine("runc"), Toolbox: toolbox,
		CgroupParent: cgroup, Disk: "loop", NetworkPrefix: prefix,
		Outer4: netip.MustParsePrefix("10.217.0.0/24"), Outer6: netip.MustParsePrefix("fd64:6179:7402::/64"),
		ReadyNetworks: readyNetworks, NoDefaultSnapshot: true, MemoryReserveMiB: 1,
		Default: runner.Size{CPU: 1, MemoryMiB: 256, DiskMiB: 64},
		Warm:    map[string]int{tiny: warm},
		Log:     slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level})),
	}
}

// importTiny makes an image with nothing but users and folders.
func importTiny(t *testing.T, dir string) {
	t.Helper()
	store, err := rootfs.Open(t.Context(), rootfs.Config{Dir: filepath.Join(dir, "images"), Disk: "loop", Log: slog.Default()})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	var layer bytes.Buffer
	tw := tar.NewWriter(&layer)
	for _, h := range []tar.Header{
		{Name: "etc/", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "proc/", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "dev/", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "sys/", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "usr/local/bin/", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "tmp/", Typeflag: tar.TypeDir, Mode: 0o1777},
		{Name: "home/daytona/", Typeflag: tar.TypeDir, Mode: 0o755, Uid: 1000, Gid: 1000},
	} {
		if err := tw.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{
		"etc/passwd": "root:x:0:0:root:/root:/bin/sh\ndaytona:x:1000:1000::/home/daytona:/bin/sh\n",
		"etc/group":  "root:x:0:\ndaytona:x:1000:\n",
	} {
		if err := tw.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text))}); err != nil {
			t.Fatal(err)
		}
		io.WriteString(tw, text)
	}
	tw.Close()
	if _, err := store.ImportTar(t.Context(), tiny, &layer, ocispec.ImageConfig{User: "daytona"}, func(string) {}); err != nil {
		t.Fatal(err)
	}
}

// open opens a runner, and removes everything of it when the test ends.
func open(t *testing.T, cfg local.Config) *runner.Runner {
	t.Helper()
	r, err := local.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func dataDir(t *testing.T) string {
	t.Helper()
	sweepKilled(t)
	dir, err := os.MkdirTemp("", dirPrefix)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cfg := config(dir, toolbox, 0, local.Runc, local.GVisor)
		ctx := context.Background()
		r, err := local.Open(ctx, cfg)
		if err != nil {
			t.Error(err)
			return
		}
		list, _ := r.List(ctx)
		for _, sb := range list {
			if err := r.Delete(ctx, sb.ID); err != nil {
				t.Error(err)
			}
		}
		if err := r.StopAll(ctx); err != nil {
			t.Error(err)
		}
		if err := r.Close(ctx); err != nil {
			t.Error(err)
		}
		leaveHost(t)
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func request(r *runner.Runner, method, id, path string, body string) *httptest.ResponseRecorder {
	rec := httptest.NewRecorder()
	req := httptest.NewRequest(method, path, strings.NewReader(body))
	r.ServeToolbox(rec, req, id)
	return rec
}

func TestLifecycle(t *testing.T) {
	for _, isolation := range []string{local.Runc, local.GVisor} {
		t.Run(isolation, func(t *testing.T) {
			dir := dataDir(t)
			importTiny(t, dir)
			before := look(t, dir)
			r := open(t, config(dir, toolbox, 0, isolation))
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			spec := runnerapi.Spec{ID: uuid.NewString(), OrgID: "org", Snapshot: tiny}
			sb, err := r.Create(ctx, spec)
			if err != nil {
				got, _ := r.Inspect(ctx, spec.ID)
				t.Fatalf("%v; %+v", err, got.End)
			}
			if sb.State != runnerapi.StateRunning || sb.Isolation != isolation {
				t.Fatalf("%+v", sb)
			}
			if res := request(r, http.MethodGet, spec.ID, "/version", ""); res.Code != http.StatusOK {
				t.Errorf("version: %d %s", res.Code, res.Body)
			}
			if res := request(r, http.MethodPost, spec.ID, "/files/folder?path=kept&mode=0755", ""); res.Code != http.StatusCreated {
				t.Errorf("folder: %d %s", res.Code, res.Body)
			}
			if _, err := r.Stop(ctx, spec.ID, false); err != nil {
				t.Fatal(err)
			}
			if _, err := r.Start(ctx, spec.ID); err != nil {
				t.Fatal(err)
			}
			if res := request(r, http.MethodGet, spec.ID, "/files/info?path=kept", ""); res.Code != http.StatusOK || !strings.Contains(res.Body.String(), `"owner":"1000"`) {
				t.Errorf("info: %d %s", res.Code, res.Body)
			}
			if err := r.Delete(ctx, spec.ID); err != nil {
				t.Fatal(err)
			}
			if _, err := r.Inspect(ctx, spec.ID); !fault.Is(err, fault.NotFound) {
				t.Errorf("inspect: %v", err)
			}
			if err := r.Close(ctx); err != nil {
				t.Fatal(err)
			}
			if after := look(t, dir); !slices.Equal(before, after) {
				t.Errorf("left behind:\n%s", strings.Join(after, "\n"))
			}
		})
	}
}

// TestClaim takes sandboxes from a real pool, and checks that none is shared.
func TestClaim(t *testing.T) {
	for _, isolation := range []string{local.Runc, local.GVisor} {
		t.Run(isolation, func(t *testing.T) {
			dir := dataDir(t)
			importTiny(t, dir)
			r := open(t, config(dir, toolbox, 3, isolation))
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			background, stop := context.WithCancel(ctx)
			done := make(chan struct{})
			go func() { defer close(done); r.Run(background) }()
			for len(r.Waiting()) < 3 && ctx.Err() == nil {
				time.Sleep(10 * time.Millisecond)
			}
			stop()
			<-done
			for i := range 3 {
				spec := runnerapi.Spec{OrgID: "org", Snapshot: tiny, Network: runnerapi.NetworkPolicy{BlockAll: i == 1}}
				id, ok := r.Reserve(ctx, spec)
				if !ok {
					t.Fatal("nothing is offered")
				}
				spec.ID = id
				start := time.Now()
				sb, err := r.Create(ctx, spec)
				if err != nil || !sb.Warm {
					t.Fatalf("claim: %+v %v", sb, err)
				}
				t.Logf("claimed in %s", time.Since(start))
				if res := request(r, http.MethodGet, id, "/version", ""); res.Code != http.StatusOK {
					t.Errorf("version: %d %s", res.Code, res.Body)
				}
			}
			if err := r.Close(ctx); err != nil {
				t.Fatal(err)
			}
		})
	}
}
