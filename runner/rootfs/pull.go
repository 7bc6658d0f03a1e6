package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path"
	"strings"
	"sync/atomic"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	remoteserrors "github.com/containerd/containerd/v2/core/remotes/errors"
	"github.com/containerd/containerd/v2/core/unpack"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"daytona/api/runnerapi"
	"daytona/internal/fault"
)

// maxMetadataBytes bounds manifests and configurations, which are read into memory.
const maxMetadataBytes = 8 << 20

// parseRef parses a reference as people write it.
func parseRef(ref string) (reference.Named, error) {
	named, err := reference.ParseDockerRef(ref)
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "%q is not a valid image reference: write it as in \"debian:12.11\" or \"registry.example.com/team/name:1.0\"", ref)
	}
	return named, nil
}

// CheckRef refuses a reference that cannot be pulled, as Invalid.
func CheckRef(ref string) error {
	_, err := parseRef(ref)
	return err
}

func hostPlatform() ocispec.Platform {
	p := platforms.DefaultSpec()
	return ocispec.Platform{OS: "linux", Architecture: p.Architecture, Variant: p.Variant}
}

// Pull fetches ref ("python:3.12", "host/name@sha256:...") for this machine's
// platform, unpacks it and gives it a name. With both a tag and a digest the
// digest counts. Of auths the one with the longest prefix counts. progress may
// be nil; it gets lines for a person. Errors: Invalid for a bad ref, NotFound, Forbidden when the
// registry refuses, Unprocessable for an image that this machine cannot use,
// Unavailable when the registry cannot be reached or sends damaged data.
func (s *Store) Pull(ctx context.Context, name, ref string, auths []runnerapi.RegistryAuth, progress func(string)) (Image, error) {
	if err := checkName(name); err != nil {
		return Image{}, err
	}
	named, err := parseRef(ref)
	if err != nil {
		return Image{}, err
	}
	if err := s.room(0); err != nil {
		return Image{}, err
	}
	if progress == nil {
		progress = func(string) {}
	}
	im, err := s.leased(s.scope(ctx), func(ctx context.Context) (Image, error) {
		return s.pull(ctx, name, named, auths, progress)
	})
	if err != nil {
		return Image{}, pullFault(err, ref)
	}
	return im, nil
}

func (s *Store) pull(ctx context.Context, name string, named reference.Named, auths []runnerapi.RegistryAuth, progress func(string)) (Image, error) {
	ref := named.String()
	transport := docker.DefaultHTTPTransport(nil)
	defer transport.CloseIdleConnections()
	creds := func(host string) (string, string, error) {
		a, _ := FindAuth(auths, host, reference.Path(named))
		return a.Username, a.Password, nil
	}
	client := &http.Client{Transport: impatient{transport, registryPatience}}
	resolver := docker.NewResolver(docker.ResolverOptions{Hosts: s.registryHosts(client, creds)})
	progress("resolving " + ref)
	resolved, desc, err := resolver.Resolve(ctx, ref)
	if err != nil {
		return Image{}, fmt.Errorf("resolve: %w", err)
	}
	fetcher, err := resolver.Fetcher(ctx, resolved)
	if err != nil {
		return Image{}, fmt.Errorf("fetch: %w", err)
	}
	matcher := platforms.Only(hostPlatform())
	meter := &pullMeter{}
	children := images.SetChildrenMappedLabels(s.content, images.ChildrenHandler(s.content), images.ChildGCLabels)
	children = images.LimitManifests(images.FilterPlatforms(children, matcher), matcher, 1)
	// Another name for an image that is here needs its content again only when
	// it was collected; the unpacker skips layers that are unpacked.
	unpacker, err := unpack.NewUnpacker(ctx, s.content, unpack.WithUnpackPlatform(unpack.Platform{
		Platform:       matcher,
		SnapshotterKey: snapshotterName,
		Snapshotter:    s.snaps,
		Applier:        applier{s, progress},
	}), unpack.WithFetchAllContent())
	if err != nil {
		return Image{}, err
	}
	handler := unpacker.Unpack(images.Handlers(
		boundSizes(s, meter),
		remotes.FetchHandler(s.content, meter.wrap(fetcher)),
		children,
	))
	stop := meter.every(time.Second, progress)
	err = images.Dispatch(ctx, handler, nil, desc)
	res, uerr := unpacker.Wait()
	stop()
	if err = errors.Join(err, uerr); err != nil {
		return Image{}, err
	}
	if res.Unpacks == 0 {
		return Image{}, fault.New(fault.Unprocessable, "image %q has nothing that runs on %s", ref, platforms.Format(hostPlatform()))
	}
	// The platform's own manifest is the image; an index of others is not kept.
	m, err := s.platformManifest(ctx, desc, matcher)
	if err != nil {
		return Image{}, err
	}
	im, err := s.publish(ctx, name, m, "")
	im.Pulled = desc.Digest.String()
	return im, err
}

// platformManifest descends from an index to the manifest for this machine.
func (s *Store) platformManifest(ctx context.Context, desc ocispec.Descriptor, matcher platforms.MatchComparer) (ocispec.Descriptor, error) {
	for depth := 0; images.IsIndexType(desc.MediaType); depth++ {
		if depth == 4 {
			return ocispec.Descriptor{}, fault.New(fault.Unprocessable, "the image's indexes are nested too deeply")
		}
		h := images.LimitManifests(images.FilterPlatforms(images.ChildrenHandler(s.content), matcher), matcher, 1)
		list, err := h(ctx, desc)
		if err != nil {
			return ocispec.Descriptor{}, err
		}
		if len(list) == 0 {
			return ocispec.Descriptor{}, fault.New(fault.Unprocessable, "the image has nothing that runs on %s", platforms.Format(hostPlatform()))
		}
		desc = list[0]
	}
	return ocispec.Descriptor{MediaType: desc.MediaType, Digest: desc.Digest, Size: desc.Size}, nil
}

// boundSizes refuses what would not fit before it is fetched.
func boundSizes(s *Store, meter *pullMeter) images.HandlerFunc {
	return func(_ context.Context, desc ocispec.Descriptor) ([]ocispec.Descriptor, error) {
		if !images.IsLayerType(desc.MediaType) && desc.Size > maxMetadataBytes {
			return nil, fault.New(fault.Unprocessable, "the image's metadata is too large: %d bytes", desc.Size)
		}
		meter.total.Add(desc.Size)
		return nil, s.room(desc.Size)
	}
}

// registryHosts says where a registry's images are asked for: its mirror first
// if there is one, then itself. Registries on this machine speak plain HTTP.
func (s *Store) registryHosts(client *http.Client, creds func(host string) (string, string, error)) docker.RegistryHosts {
	auth := docker.NewDockerAuthorizer(docker.WithAuthClient(client), docker.WithAuthCreds(creds))
	origin := docker.ConfigureDefaultRegistries(
		docker.WithClient(client), docker.WithAuthorizer(auth), docker.WithPlainHTTP(docker.MatchLocalhost))
	return func(host string) ([]docker.RegistryHost, error) {
		hosts, err := origin(host)
		if err != nil {
			return nil, err
		}
		base, ok := s.mirrors[host]
		if !ok {
			return hosts, nil
		}
		u, err := url.Parse(base)
		if err != nil || u.Host == "" {
			return nil, fault.New(fault.Invalid, "mirror %q of registry %s is not a URL", base, host)
		}
		mirror := docker.RegistryHost{
			Client: client, Authorizer: auth, Host: u.Host, Scheme: u.Scheme,
			Path:         path.Join("/", strings.TrimSuffix(u.Path, "/"), "v2"),
			Capabilities: docker.HostCapabilityPull | docker.HostCapabilityResolve,
		}
		return append([]docker.RegistryHost{mirror}, hosts...), nil
	}
}

// pullMeter counts bytes on their way.
type pullMeter struct{ total, done atomic.Int64 }

func (m *pullMeter) wrap(f remotes.Fetcher) remotes.Fetcher {
	return remotes.FetcherFunc(func(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
		rc, err := f.Fetch(ctx, desc)
		if err != nil {
			return nil, err
		}
		return &meteredBody{rc, m, desc.Size}, nil
	})
}

type meteredBody struct {
	io.ReadCloser
	m    *pullMeter
	left int64
}

// Read refuses more than was announced: a registry that never ends must not
// fill the disk.
func (b *meteredBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.m.done.Add(int64(n))
	if b.left -= int64(n); b.left < 0 {
		return 0, fmt.Errorf("%w: more data than the manifest announces", errdefs.ErrFailedPrecondition)
	}
	return n, err
}

// every reports at intervals until the returned function is called, which
// returns when no more reports come.
func (m *pullMeter) every(d time.Duration, progress func(string)) func() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		t := time.NewTicker(d)
		defer t.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-t.C:
				progress("downloaded " + mib(m.done.Load()) + " of " + mib(m.total.Load()))
			}
		}
	}()
	return func() { cancel(); <-done }
}

// pullFault turns what the libraries say into our vocabulary.
func pullFault(err error, ref string) error {
	// net.Error would not do: every system call's error is one too.
	var opErr *net.OpError
	var urlErr *url.Error
	var status remoteserrors.ErrUnexpectedStatus
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case fault.KindOf(err) != fault.Internal:
		return err
	case errdefs.IsNotFound(err) && strings.Contains(err.Error(), "platform"):
		return fault.Wrap(err, fault.Unprocessable, "image %q has nothing that runs on %s", ref, platforms.Format(hostPlatform()))
	case errdefs.IsNotFound(err):
		if tag, _, pinned := strings.Cut(ref, "@"); pinned {
			return fault.Wrap(err, fault.NotFound, "image %q was not found in its registry. If %q stands for another image by now, make a new snapshot of that", ref, tag)
		}
		return fault.Wrap(err, fault.NotFound, "image %q was not found in its registry", ref)
	case errdefs.IsUnauthorized(err), errdefs.IsPermissionDenied(err), errors.Is(err, docker.ErrInvalidAuthorization):
		return fault.Wrap(err, fault.Forbidden, "the registry refuses access to image %q", ref)
	case errors.As(err, &status) && (status.StatusCode == http.StatusUnauthorized || status.StatusCode == http.StatusForbidden):
		return fault.Wrap(err, fault.Forbidden, "the registry refuses access to image %q", ref)
	case errdefs.IsFailedPrecondition(err), errors.Is(err, io.ErrUnexpectedEOF), strings.Contains(err.Error(), "wrong diff id"):
		return fault.Wrap(err, fault.Unavailable, "the registry sent damaged data for image %q", ref)
	case errors.As(err, &status) && (status.StatusCode >= 500 || status.StatusCode == http.StatusTooManyRequests),
		errors.As(err, &opErr), errors.As(err, &urlErr), errdefs.IsUnavailable(err):
		return fault.Wrap(err, fault.Unavailable, "the registry of image %q cannot be reached", ref)
	}
	return fault.Wrap(err, fault.Unprocessable, "image %q cannot be used", ref)
}
