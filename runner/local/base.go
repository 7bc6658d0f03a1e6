package local

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"daytona/images"
	"daytona/internal/fault"
	"daytona/runner"
	"daytona/runner/rootfs"
)

// DefaultBaseImage is what the default snapshot is made from where a registry
// can be reached.
const DefaultBaseImage = "docker.io/library/debian:bookworm-slim"

// baseName is the name of the base in the store of images.
const baseName = "debian-base"

// Remake has snapshots made anew by the next start; names must be those of
// definitions.
func Remake(ctx context.Context, store *rootfs.Store, names ...string) error {
	for _, name := range names {
		defs, err := images.Named(name)
		if err != nil {
			return err
		}
		base := ""
		if defs[len(defs)-1].Base == "" {
			base = baseName
		}
		if err := runner.Remake(ctx, store, name, base); err != nil {
			return fmt.Errorf("snapshot %s: %w", name, err)
		}
	}
	return nil
}

// hostCA is where Debian keeps the certificates that the host trusts.
const hostCA = "/etc/ssl/certs/ca-certificates.crt"

// mirrors are variables of the host that lead package managers to a mirror.
var mirrors = []string{"PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST", "npm_config_registry", "http_proxy", "https_proxy", "no_proxy"}

// snapshotConfigs says how the snapshots that the configuration names are made.
func snapshotConfigs(cfg Config, store *rootfs.Store) ([]*runner.SnapshotConfig, error) {
	defs, err := images.Named(cfg.snapshots()...)
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "snapshots: %s", err)
	}
	var all []*runner.SnapshotConfig
	for _, def := range defs {
		all = append(all, snapshotConfig(cfg, store, def))
	}
	return all, nil
}

func snapshotConfig(cfg Config, store *rootfs.Store, def images.Definition) *runner.SnapshotConfig {
	s := &runner.SnapshotConfig{
		Definition: def,
		Base:       def.Base,
		Isolation:  Runc, // the quicker one, for scripts that are our own
		CA:         cfg.BuildCA,
		Env:        mirrorEnv(),
	}
	if s.Base == "" {
		s.Base = baseName
		s.MakeBase = func(ctx context.Context, name string, progress func(string)) error {
			return makeBase(ctx, cfg, store, name, progress)
		}
	}
	if s.CA == "" {
		s.CA = hostCA
	}
	return s
}

// makeBase pulls the base image; where no registry can be reached, it is made
// from Debian's packages.
func makeBase(ctx context.Context, cfg Config, store *rootfs.Store, name string, progress func(string)) error {
	ref := cfg.BaseImage
	if ref == "" {
		ref = DefaultBaseImage
	}
	err := reachable(ctx, ref, cfg.RegistryMirrors)
	if err == nil {
		progress("pulling " + ref)
		_, err = store.Pull(ctx, name, ref, nil, progress)
	}
	if err == nil || ctx.Err() != nil {
		return err
	}
	cfg.Log.Info("the base image cannot be pulled", "image", ref, "error", err)
	if cfg.BaseImage != "" { // somebody chose it; another one would be a surprise
		return err
	}
	return bootstrap(ctx, cfg.Log, store, name, progress)
}

// reachable says quickly whether the registry of a reference answers. A pull
// would try for minutes.
func reachable(ctx context.Context, ref string, mirrors map[string]string) error {
	host, _, _ := strings.Cut(ref, "/")
	url := mirrors[host]
	if url == "" {
		if host == "docker.io" {
			host = "registry-1.docker.io"
		}
		url = "https://" + host
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(url, "/")+"/v2/", nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	res.Body.Close()
	if res.StatusCode != http.StatusOK && res.StatusCode != http.StatusUnauthorized {
		return fmt.Errorf("registry %s answered %s", host, res.Status)
	}
	return nil
}

// bootstrap makes the base from Debian's packages.
func bootstrap(ctx context.Context, log *slog.Logger, store *rootfs.Store, name string, progress func(string)) error {
	progress("bootstrapping a minimal Debian")
	layer, err := rootfs.Bootstrap(ctx, rootfs.BootstrapOptions{
		Include: []string{"ca-certificates"}, TempDir: store.TempDir(), Progress: progress, Log: log,
	})
	if err != nil {
		return err
	}
	defer layer.Close()
	_, err = store.ImportTar(ctx, name, layer, ocispec.ImageConfig{}, progress)
	return err
}
