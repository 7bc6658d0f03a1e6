//go:build root

package local_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/opencontainers/go-digest"

	"daytona/api/runnerapi"
	"daytona/runner"
	"daytona/runner/local"
	"daytona/runner/registrytest"
)

// imageWorld is a runner and a registry beside it.
type imageWorld struct {
	*runner.Runner
	t   *testing.T
	dir string
	reg *registrytest.Registry
}

func newImageWorld(t *testing.T, isolation string, change func(*local.Config)) *imageWorld {
	t.Helper()
	w := &imageWorld{t: t, dir: dataDir(t), reg: registrytest.New(t)}
	w.reg.Push(t, "library/busybox:1", nil, registrytest.Busybox(t))
	w.open(isolation, change)
	return w
}

func (w *imageWorld) open(isolation string, change func(*local.Config)) {
	w.t.Helper()
	cfg := config(w.dir, toolbox, 0, isolation)
	cfg.RegistryMirrors = map[string]string{"docker.io": w.reg.URL}
	if change != nil {
		change(&cfg)
	}
	w.Runner = open(w.t, cfg)
	w.t.Cleanup(func() { _ = w.Close(context.Background()) }) // again is fine
}

func (w *imageWorld) state(name string) runnerapi.Snapshot {
	w.t.Helper()
	list, err := w.Snapshots(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	for _, s := range list {
		if s.Name == name {
			return s
		}
	}
	return runnerapi.Snapshot{}
}

// settled waits until an image is ready or has failed.
func (w *imageWorld) settled(name string) runnerapi.Snapshot {
	w.t.Helper()
	eventually(w.t, name+" is settled", func() bool {
		s := w.state(name).State
		return s == runnerapi.SnapshotReady || s == runnerapi.SnapshotFailed
	})
	return w.state(name)
}

func (w *imageWorld) build(name, dockerfile string, contexts ...runnerapi.BuildContext) runnerapi.Snapshot {
	w.t.Helper()
	// Through its own name: what BuildKit learned of a mirror lasts as long as
	// the process, and these tests have one after the other.
	dockerfile = strings.ReplaceAll(dockerfile, "busybox:1", w.reg.Host()+"/library/busybox:1")
	err := w.EnsureImage(w.t.Context(), runnerapi.ImageSpec{Name: name, OrgID: "org", Build: &runnerapi.Build{Dockerfile: dockerfile, Contexts: contexts}})
	if err != nil {
		return runnerapi.Snapshot{Name: name, State: runnerapi.SnapshotFailed, Reason: err.Error()}
	}
	return w.settled(name)
}

func (w *imageWorld) log(name string) string {
	w.t.Helper()
	rc, err := w.ImageLog(w.t.Context(), name, true)
	if err != nil {
		w.t.Fatal(err)
	}
	defer rc.Close()
	b, err := io.ReadAll(rc)
	if err != nil {
		w.t.Error(err)
	}
	return string(b)
}

// run starts a sandbox of an image and runs a command in it.
func (w *imageWorld) run(image, command string) string {
	w.t.Helper()
	spec := runnerapi.Spec{ID: uuid.NewString(), OrgID: "org", Snapshot: image}
	if _, err := w.Create(w.t.Context(), spec); err != nil {
		got, _ := w.Inspect(w.t.Context(), spec.ID)
		w.t.Fatalf("%v; %+v", err, got.End)
	}
	defer func() {
		if err := w.Delete(w.t.Context(), spec.ID); err != nil {
			w.t.Error(err)
		}
	}()
	body, _ := json.Marshal(map[string]string{"command": command})
	res := request(w.Runner, http.MethodPost, spec.ID, "/process/execute", string(body))
	var out struct {
		ExitCode int
		Result   string
	}
	if err := json.Unmarshal(res.Body.Bytes(), &out); err != nil || res.Code != http.StatusOK {
		w.t.Fatalf("%s: %d %s", command, res.Code, res.Body)
	}
	return out.Result
}

const everyFeature = `# syntax=docker/dockerfile:1
ARG BASE=busybox:1
FROM $BASE AS first
WORKDIR /work/deep
ARG GREETING=hello
ENV WHO=world
RUN echo "$GREETING $WHO" > greeting && id -u > uid
RUN <<END
set -e
echo from a heredoc > heredoc
mkdir -p sub && ln -s ../greeting sub/link && chmod 751 sub
END
COPY <<EOF written
a file of the Dockerfile
EOF
RUN --mount=type=cache,target=/cache echo kept >> /cache/f && cat /cache/f > cached
RUN --mount=type=bind,from=busybox:1,source=/etc,target=/other cat /other/passwd > passwd
RUN --mount=type=tmpfs,target=/scratch touch /scratch/x && ls /scratch > scratch
RUN --network=none true

FROM busybox:1
COPY --from=first /work/deep /result
COPY --from=first --chmod=600 /work/deep/uid /secret
USER nobody
WORKDIR /result
ENV PROMISE=kept
CMD ["sh"]
`

func TestBuild(t *testing.T) {
	for _, isolation := range []string{local.GVisor, local.Runc} {
		t.Run(isolation, func(t *testing.T) {
			w := newImageWorld(t, isolation, nil)
			before := look(t, w.dir)
			if s := w.build("acme/app:1", everyFeature); s.State != runnerapi.SnapshotReady {
				t.Fatalf("%+v\n%s", s, w.log("acme/app:1"))
			}
			log := w.log("acme/app:1")
			for _, want := range []string{"#1 [", `RUN echo "hello world" > greeting`, "DONE"} {
				if !strings.Contains(log, want) {
					t.Errorf("the log lacks %q:\n%s", want, log)
				}
			}
			out := w.run("acme/app:1", `cd /result; cat greeting uid heredoc sub/link written cached scratch; stat -c %a sub /secret; ls -d /run/* /cache /work; echo $PROMISE; id -un; pwd`)
			for _, want := range []string{"hello world\n0\nfrom a heredoc\nhello world\na file of the Dockerfile\nkept\nx\n751\n600\n", "\nkept\nnobody\n/result"} {
				if !strings.Contains(out, want) {
					t.Errorf("inside lacks %q:\n%s", want, out)
				}
			}
			for _, litter := range []string{"ca.crt", "\n/cache\n", "\n/work\n"} {
				if strings.Contains(out, litter) {
					t.Errorf("the step left %q in the image:\n%s", litter, out)
				}
			}
			if s := w.state("acme/app:1"); strings.Join(s.Entrypoint, " ") != "sleep infinity" || s.SizeBytes < 500_000 {
				t.Errorf("%+v", s)
			}
			start := time.Now()
			if s := w.build("acme/app:2", everyFeature); s.State != runnerapi.SnapshotReady {
				t.Fatalf("again: %+v", s)
			}
			t.Logf("a cached build took %s", time.Since(start))
			if log := w.log("acme/app:2"); !strings.Contains(log, "CACHED") {
				t.Errorf("nothing was cached:\n%s", log)
			}
			for _, name := range []string{"acme/app:1", "acme/app:2"} {
				if err := w.RemoveImage(t.Context(), name); err != nil {
					t.Error(err)
				}
			}
			if after := look(t, w.dir); strings.Join(before, "\n") != strings.Join(after, "\n") {
				t.Errorf("left behind:\n%s", strings.Join(after, "\n"))
			}
			if err := w.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func digestOf(b []byte) digest.Digest { return digest.FromBytes(b) }
