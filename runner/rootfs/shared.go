package rootfs

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/gc"
	"github.com/moby/sys/mountinfo"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"
)

// Shared is what a builder works on: the very stores that images are unpacked
// in, so that what it builds is at once what runs.
type Shared struct {
	Namespace   string
	Snapshotter string // its name
	Content     content.Store
	Snapshots   snapshots.Snapshotter
	Images      images.Store
	Leases      leases.Manager
	Applier     diff.Applier
	Collect     func(context.Context) (gc.Stats, error)
	Hosts       docker.RegistryHosts // mirrors first
}

// Share returns the store's own stores.
func (s *Store) Share() Shared {
	return Shared{
		Namespace: namespace, Snapshotter: snapshotterName,
		Content: s.content, Snapshots: s.snaps, Images: s.images, Leases: s.leases,
		Applier: applier{s: s},
		Collect: func(ctx context.Context) (gc.Stats, error) { return s.db.GarbageCollect(s.scope(ctx)) },
		Hosts: func(host string) ([]docker.RegistryHost, error) {
			client := &http.Client{Transport: impatient{http.DefaultTransport, registryPatience}}
			return s.registryHosts(client, nil)(host)
		},
	}
}

// Dir is the directory of the store. A subdirectory "build" is the builder's.
func (s *Store) Dir() string { return s.dir }

// Room refuses with Unavailable when less than the reserve and need bytes are
// left for the store.
func (s *Store) Room(need int64) error { return s.room(need) }

// PublishBuilt gives a layer, with everything below it, a name as an image. The
// layer must be complete and not collectable while this is called.
func (s *Store) PublishBuilt(ctx context.Context, name, layer string, spec ocispec.Image) (Image, error) {
	if err := checkName(name); err != nil {
		return Image{}, err
	}
	return s.leased(s.scope(ctx), func(ctx context.Context) (Image, error) {
		spec.RootFS = ocispec.RootFS{Type: "layers"}
		m, err := s.writeManifest(ctx, spec, nil, layer)
		if err != nil {
			return Image{}, err
		}
		return s.publish(ctx, name, m, layer)
	})
}

// MountLayers mounts what a snapshotter describes at target, in the way in which
// roots are mounted: what is written to it can be read as a layer. With userNS,
// ids are shown shifted, as RootSpec.UserNS says.
func (s *Store) MountLayers(ctx context.Context, mounts []mount.Mount, target string, userNS uint32) error {
	if len(mounts) != 1 {
		return fmt.Errorf("mount layers: %d mounts", len(mounts))
	}
	m := mounts[0]
	readOnly := slices.Contains(m.Options, "ro")
	if m.Type == "bind" || m.Type == "rbind" {
		return s.mountBind(ctx, m.Source, target, readOnly, userNS)
	}
	if m.Type != "overlay" {
		return m.Mount(target)
	}
	o := overlayMount{target: target, fsID: userNS}
	var lowers []string
	for _, opt := range m.Options {
		k, v, _ := strings.Cut(opt, "=")
		switch k {
		case "lowerdir":
			lowers = strings.Split(v, ":")
		case "upperdir":
			o.upper = v
		case "workdir":
			o.work = v
		}
	}
	base, rel, err := s.lowerBase(lowers)
	if err != nil {
		return err
	}
	o.base, o.lowers = base, rel
	if userNS == 0 {
		return mountOverlay(o)
	}
	ids := target + ".ids"
	layers := filepath.Join(ids, "layers")
	if err := os.MkdirAll(layers, 0o700); err != nil {
		return err
	}
	err = s.userns.with(userNS, func(ns *os.File) error { return mountIDMapped(base, layers, ns) })
	if err == nil {
		o.base = layers
		for _, p := range []*string{&o.upper, &o.work} {
			if *p != "" {
				*p = filepath.Join(layers, strings.TrimPrefix(*p, base))
			}
		}
		err = mountOverlay(o)
	}
	// overlayfs has its own clone of the shifted mount now.
	return errors.Join(err, unmount(ctx, layers, s.log), os.RemoveAll(ids))
}

func (s *Store) mountBind(ctx context.Context, source, target string, readOnly bool, userNS uint32) error {
	if userNS != 0 {
		err := s.userns.with(userNS, func(ns *os.File) error { return mountIDMapped(source, target, ns) })
		if err != nil {
			return err
		}
	} else if err := unix.Mount(source, target, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount %s: %w", source, err)
	}
	flags := uintptr(unix.MS_REMOUNT | unix.MS_BIND | unix.MS_NODEV)
	if readOnly {
		flags |= unix.MS_RDONLY
	}
	if err := unix.Mount("", target, "", flags, ""); err != nil {
		return errors.Join(fmt.Errorf("mount %s: %w", source, err), unmount(ctx, target, s.log))
	}
	return nil
}

// UnmountLayers undoes MountLayers. What is not mounted is no error.
func (s *Store) UnmountLayers(ctx context.Context, target string) error {
	return unmount(ctx, target, s.log)
}

// ClearMounts unmounts everything below dir, and every mount elsewhere that
// shows layers of this store and lies below one of the temporary directories
// whose names begin with prefix. It is for what a killed process left.
func (s *Store) ClearMounts(ctx context.Context, dir, prefix string) error {
	layers := s.path("snapshots", "snapshots")
	list, err := mountinfo.GetMounts(func(i *mountinfo.Info) (skip, stop bool) {
		if strings.HasPrefix(i.Mountpoint, dir+"/") {
			return false, false
		}
		ours := strings.Contains(i.VFSOptions, layers+"/") || strings.Contains(i.Root, strings.TrimPrefix(layers, "/")) || strings.HasSuffix(layers, i.Root) && i.Root != "/"
		return !ours || !strings.HasPrefix(i.Mountpoint, prefix), false
	})
	if err != nil {
		return err
	}
	var errs []error
	for _, m := range slices.Backward(list) {
		if err := unix.Unmount(m.Mountpoint, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) {
			errs = append(errs, fmt.Errorf("unmount %s: %w", m.Mountpoint, err))
		}
		if strings.HasPrefix(m.Mountpoint, prefix) {
			errs = append(errs, os.Remove(m.Mountpoint))
		}
	}
	return errors.Join(errs...)
}

// OverlayAt returns the overlay that is mounted at path, as a snapshotter would
// describe it. ok is false when there is none.
func (s *Store) OverlayAt(path string) (m mount.Mount, ok bool, err error) {
	list, err := mountinfo.GetMounts(func(i *mountinfo.Info) (skip, stop bool) { return i.Mountpoint != path, false })
	if err != nil || len(list) == 0 || list[len(list)-1].FSType != "overlay" {
		return m, false, err
	}
	m = mount.Mount{Type: "overlay", Source: "overlay"}
	var lowers []string
	for opt := range strings.SplitSeq(list[len(list)-1].VFSOptions, ",") {
		k, v, _ := strings.Cut(opt, "=")
		switch k {
		case "lowerdir", "lowerdir+":
			for l := range strings.SplitSeq(v, ":") {
				if !filepath.IsAbs(l) { // a long list is given relative to where all layers are
					l = s.path("snapshots", "snapshots", l)
				}
				lowers = append(lowers, l)
			}
		case "upperdir", "workdir":
			m.Options = append(m.Options, opt)
		}
	}
	m.Options = append(m.Options, "lowerdir="+strings.Join(lowers, ":"))
	return m, true, nil
}
