package fakedriver

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"daytona/api/runnerapi"
	"daytona/internal/fault"
	"daytona/runner/netns"
	"daytona/runner/rootfs"
)

// Roots keeps roots as plain directories. Every image is the same empty system
// with a user daytona; what differs is its name and configuration. What a
// process writes in a root stays over stop and start.
type Roots struct {
	faults
	dir string
	mu  sync.Mutex
	img map[string]rootfs.Image
}

// NewRoots returns roots under dir that know the named images.
func NewRoots(dir string, images ...string) (*Roots, error) {
	r := &Roots{dir: dir, img: map[string]rootfs.Image{}}
	for _, name := range images {
		r.SetImage(rootfs.Image{Name: name, Digest: "sha256:" + name, Config: ocispec.ImageConfig{User: "daytona", WorkingDir: "/home/daytona"}})
	}
	return r, os.MkdirAll(dir, 0o700)
}

// SetImage adds or replaces an image.
func (r *Roots) SetImage(img rootfs.Image) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.img[img.Name] = img
}

// Image implements runner.Roots.
func (r *Roots) Image(ctx context.Context, name string) (rootfs.Image, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	img, ok := r.img[name]
	if !ok {
		return img, fault.New(fault.NotFound, "image %s not found", name)
	}
	return img, nil
}

// Images implements runner.Roots.
func (r *Roots) Images(ctx context.Context) ([]rootfs.Image, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := []rootfs.Image{}
	for _, img := range r.img {
		list = append(list, img)
	}
	sort.Slice(list, func(i, j int) bool { return list[i].Name < list[j].Name })
	return list, nil
}

// Path is where the root of an id is.
func (r *Roots) Path(id string) string { return filepath.Join(r.dir, id) }

// Create implements runner.Roots.
func (r *Roots) Create(ctx context.Context, spec rootfs.RootSpec) error {
	if err := r.pass(ctx, "Create"); err != nil {
		return err
	}
	if _, err := r.Image(ctx, spec.Image); err != nil {
		return err
	}
	path := r.Path(spec.ID)
	for _, dir := range []string{"etc", "tmp", "home/daytona"} {
		if err := os.MkdirAll(filepath.Join(path, dir), 0o755); err != nil {
			return err
		}
	}
	const passwd = "root:x:0:0:root:/root:/bin/sh\ndaytona:x:1000:1000::/home/daytona:/bin/bash\n"
	const group = "root:x:0:\ndaytona:x:1000:\n"
	return errors.Join(
		os.WriteFile(filepath.Join(path, "etc/passwd"), []byte(passwd), 0o644),
		os.WriteFile(filepath.Join(path, "etc/group"), []byte(group), 0o644))
}

// Mount implements runner.Roots.
func (r *Roots) Mount(ctx context.Context, id string) (string, error) {
	if err := r.pass(ctx, "Mount"); err != nil {
		return "", err
	}
	if _, err := os.Stat(r.Path(id)); err != nil {
		return "", fault.Wrap(err, fault.NotFound, "root %s not found", id)
	}
	return r.Path(id), nil
}

// Unmount implements runner.Roots.
func (r *Roots) Unmount(ctx context.Context, id string) error { return r.pass(ctx, "Unmount") }

// Thaw implements runner.Roots. Its disks are never full.
func (r *Roots) Thaw(context.Context, string) error { return nil }

// Delete implements runner.Roots.
func (r *Roots) Delete(ctx context.Context, id string) error {
	if err := r.pass(ctx, "Delete"); err != nil {
		return err
	}
	return os.RemoveAll(r.Path(id))
}

// Usage implements runner.Roots. Without a limit there is no total.
func (r *Roots) Usage(ctx context.Context, id string) (rootfs.Usage, error) {
	return rootfs.Usage{}, nil
}

// Commit implements runner.Roots. The new image is as empty as all are.
func (r *Roots) Commit(ctx context.Context, id, name string, change func(*ocispec.ImageConfig)) (rootfs.Image, error) {
	if _, err := os.Stat(r.Path(id)); err != nil {
		return rootfs.Image{}, fault.Wrap(err, fault.NotFound, "root %s not found", id)
	}
	img := rootfs.Image{Name: name, Digest: "sha256:" + id}
	if change != nil {
		change(&img.Config)
	}
	r.SetImage(img)
	return img, nil
}

// Base implements runner.Roots: all images hold the same.
func (r *Roots) Base(_ context.Context, id string) (string, error) {
	if _, err := os.Stat(r.Path(id)); err != nil {
		return "", fault.Wrap(err, fault.NotFound, "root %s not found", id)
	}
	return "empty", nil
}

// Export implements runner.Roots, with all files of the root.
func (r *Roots) Export(ctx context.Context, id string, w io.Writer) error {
	if err := r.pass(ctx, "Export"); err != nil {
		return err
	}
	tw := tar.NewWriter(w)
	return errors.Join(tw.AddFS(os.DirFS(r.Path(id))), tw.Close())
}

// Import implements runner.Roots.
func (r *Roots) Import(ctx context.Context, spec rootfs.RootSpec, base string, files io.Reader) error {
	if err := r.pass(ctx, "Import"); err != nil {
		return err
	}
	if base != "" && base != "empty" {
		return fault.New(fault.Unprocessable, "the image %q is not the one that the sandbox was made from", spec.Image)
	}
	if err := r.Create(ctx, spec); err != nil {
		return err
	}
	tr := tar.NewReader(files)
	for {
		hdr, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return errors.Join(err, r.Delete(ctx, spec.ID))
		}
		path := filepath.Join(r.Path(spec.ID), filepath.Clean("/"+hdr.Name))
		if hdr.Typeflag == tar.TypeDir {
			err = os.MkdirAll(path, 0o755)
		} else if hdr.Typeflag == tar.TypeReg {
			err = writeFrom(path, tr, hdr.FileInfo().Mode().Perm())
		}
		if err != nil {
			return errors.Join(err, r.Delete(ctx, spec.ID))
		}
	}
}

// Capture implements runner.Roots. The new image is as empty as all are, and is
// called after what the root holds.
func (r *Roots) Capture(ctx context.Context, id, name string, cfg ocispec.ImageConfig, progress func(string)) (rootfs.Image, error) {
	progress("reading files")
	h := sha256.New()
	if err := r.Export(ctx, id, h); err != nil {
		return rootfs.Image{}, err
	}
	if err := r.pass(ctx, "Capture"); err != nil {
		return rootfs.Image{}, err
	}
	img := rootfs.Image{Name: name, Digest: fmt.Sprintf("sha256:%x", h.Sum(nil)), Config: cfg}
	r.SetImage(img)
	return img, nil
}

// Resize implements runner.Roots. Its disks have no size.
func (r *Roots) Resize(ctx context.Context, id string, _ int64) error { return r.pass(ctx, "Resize") }

// Fork implements runner.Roots.
func (r *Roots) Fork(ctx context.Context, from string, spec rootfs.RootSpec) error {
	if err := r.pass(ctx, "Fork"); err != nil {
		return err
	}
	if err := os.RemoveAll(r.Path(spec.ID)); err != nil {
		return err
	}
	return os.CopyFS(r.Path(spec.ID), os.DirFS(r.Path(from)))
}

func writeFrom(path string, from io.Reader, mode os.FileMode) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, from)
	return errors.Join(err, f.Close())
}

// Pull implements runner.Roots. What comes is as empty as all are; its digest
// follows from the reference.
func (r *Roots) Pull(ctx context.Context, name, ref string, _ []runnerapi.RegistryAuth, progress func(string)) (rootfs.Image, error) {
	progress("resolving " + ref)
	if err := r.pass(ctx, "Pull"); err != nil {
		return rootfs.Image{}, err
	}
	img := rootfs.Image{Name: name, Digest: digest.FromString(ref).String(), Config: ocispec.ImageConfig{User: "daytona", WorkingDir: "/home/daytona"}}
	r.SetImage(img)
	img.Pulled = img.Digest
	return img, nil
}

// Derive implements runner.Roots.
func (r *Roots) Derive(ctx context.Context, from, name string, change func(*ocispec.ImageConfig)) (rootfs.Image, error) {
	if err := r.pass(ctx, "Derive"); err != nil {
		return rootfs.Image{}, err
	}
	img, err := r.Image(ctx, from)
	if err != nil {
		return img, err
	}
	img.Name = name
	change(&img.Config)
	r.SetImage(img)
	return img, nil
}

// RemoveImage implements runner.Roots.
func (r *Roots) RemoveImage(ctx context.Context, name string) error {
	if err := r.pass(ctx, "RemoveImage"); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.img[name]; !ok {
		return fault.New(fault.NotFound, "image %s not found", name)
	}
	delete(r.img, name)
	return nil
}

// Roots lists the ids that have a root.
func (r *Roots) Roots(ctx context.Context) ([]string, error) { return names(r.dir) }

// Reconcile implements runner.Roots.
func (r *Roots) Reconcile(ctx context.Context, keep []string) error {
	ids, err := names(r.dir)
	for _, id := range ids {
		if !slices.Contains(keep, id) {
			err = errors.Join(err, os.RemoveAll(r.Path(id)))
		}
	}
	return err
}

// Network is a network without namespaces: slots are files, so that what is
// left of one can be seen.
type Network struct {
	faults
	dir string
	mu  sync.Mutex
}

// NewNetwork keeps its slots in dir.
func NewNetwork(dir string) (*Network, error) {
	return &Network{dir: dir}, os.MkdirAll(dir, 0o700)
}

// Acquire implements runner.Network.
func (n *Network) Acquire(ctx context.Context, id string, policy runnerapi.NetworkPolicy) (netns.Slot, error) {
	if err := n.pass(ctx, "Acquire"); err != nil {
		return netns.Slot{}, err
	}
	return netns.Slot{}, n.write(id, policy)
}

func (n *Network) write(id string, policy runnerapi.NetworkPolicy) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	data, err := json.Marshal(policy)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(n.dir, id), data, 0o600)
}

// SetPolicy implements runner.Network.
func (n *Network) SetPolicy(ctx context.Context, id string, policy runnerapi.NetworkPolicy) error {
	if err := n.pass(ctx, "SetPolicy"); err != nil {
		return err
	}
	if _, err := n.Policy(id); err != nil {
		return err
	}
	return n.write(id, policy)
}

// Policy returns what was set for an id.
func (n *Network) Policy(id string) (policy runnerapi.NetworkPolicy, err error) {
	data, err := os.ReadFile(filepath.Join(n.dir, id))
	if errors.Is(err, fs.ErrNotExist) {
		return policy, fault.New(fault.NotFound, "sandbox %s has no network", id)
	}
	if err == nil {
		err = json.Unmarshal(data, &policy)
	}
	return policy, err
}

// Release implements runner.Network.
func (n *Network) Release(ctx context.Context, id string) error {
	if err := n.pass(ctx, "Release"); err != nil {
		return err
	}
	err := os.Remove(filepath.Join(n.dir, id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Slots lists the ids that have a slot.
func (n *Network) Slots() ([]string, error) { return names(n.dir) }

// Reconcile implements runner.Network.
func (n *Network) Reconcile(ctx context.Context, keep []string) error {
	ids, err := names(n.dir)
	for _, id := range ids {
		if !slices.Contains(keep, id) {
			err = errors.Join(err, n.Release(ctx, id))
		}
	}
	return err
}

// ResolvConf implements runner.Network.
func (n *Network) ResolvConf() string { return "nameserver 127.0.0.1\n" }

func names(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	var ids []string
	for _, e := range entries {
		ids = append(ids, e.Name())
	}
	return ids, err
}
