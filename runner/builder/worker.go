package builder

import (
	"context"
	"log/slog"
	"path/filepath"
	"strings"

	"github.com/containerd/containerd/v2/plugins/diff/walking"
	"github.com/containerd/platforms"
	"github.com/moby/buildkit/cache/metadata"
	"github.com/moby/buildkit/client"
	containerdsnapshot "github.com/moby/buildkit/snapshot/containerd"
	"github.com/moby/buildkit/source/http"
	"github.com/moby/buildkit/util/bklog"
	"github.com/moby/buildkit/util/leaseutil"
	"github.com/moby/buildkit/worker/base"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sirupsen/logrus"
)

// newWorker makes BuildKit's worker over the store's own stores.
func (b *Builder) newWorker(ctx context.Context, md *metadata.Store) (*base.Worker, error) {
	shared := b.cfg.Store.Share()
	content := containerdsnapshot.NewContentStore(shared.Content, shared.Namespace)
	w, err := base.NewWorker(ctx, base.WorkerOpt{
		ID:              "local",
		Root:            b.cfg.Dir,
		Labels:          map[string]string{},
		Platforms:       []ocispec.Platform{platforms.Normalize(platforms.DefaultSpec())},
		BuildkitVersion: client.BuildkitVersion{Package: "github.com/moby/buildkit", Version: buildKitVersion()},
		Executor:        &executor{b: b},
		Snapshotter:     containerdsnapshot.NewSnapshotter(shared.Snapshotter, shared.Snapshots, shared.Namespace, nil),
		ContentStore:    content,
		Applier:         shared.Applier,
		Differ:          walking.NewWalkingDiff(content),
		RegistryHosts:   shared.Hosts,
		LeaseManager:    leaseutil.WithNamespace(shared.Leases, shared.Namespace),
		GarbageCollect:  shared.Collect,
		MetadataStore:   md,
		MountPoolRoot:   filepath.Join(b.cfg.Dir, "cachemounts"),
	})
	if err != nil {
		return nil, err
	}
	// What ADD fetches, it fetches with a sandbox's rights.
	web, err := http.NewSource(http.Opt{CacheAccessor: w.CacheMgr, Transport: b.guardedTransport()})
	if err != nil {
		return nil, err
	}
	w.SourceManager.Register(web)
	w.SourceManager.Register(refused{})
	return w, nil
}

// quietBuildKit sends what BuildKit's libraries log to ours, warnings and worse.
func quietBuildKit(log *slog.Logger) {
	l := logrus.New()
	l.SetOutput(writerFunc(func(p []byte) (int, error) {
		log.Debug("builder", "said", strings.TrimSpace(string(p)))
		return len(p), nil
	}))
	l.SetLevel(logrus.WarnLevel)
	bklog.L = logrus.NewEntry(l)
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
