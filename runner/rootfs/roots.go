package rootfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"daytona/internal/atomicfile"
	"daytona/internal/fault"
)

// A root's directory is roots/<id>:
//
//	root.json   its record
//	disk.img    the loop disk's image
//	disk/       where the disk is mounted, with ids as they are
//	  upper/    what the sandbox wrote
//	  work/     overlayfs's own
//	merged/     the mounted root
//	ids/        layers and disk with shifted ids, only while merged is mounted
//
// It is made in staging and renamed into place when it is complete, and renamed
// to trash before it is taken apart: in roots there is never half of one.

// loadRoots reads the records of all roots.
func (s *Store) loadRoots() error {
	entries, err := os.ReadDir(s.path("roots"))
	if err != nil {
		return err
	}
	for _, e := range entries {
		r, err := readRecord(s.path("roots", e.Name()))
		if err != nil {
			// Kept as it is: somebody may still save its files.
			s.log.Error("root cannot be used", "root", e.Name(), "err", err)
			continue
		}
		s.roots[r.ID] = r
	}
	return nil
}

// Create makes a root of an image. It is not mounted yet. Creating one that
// exists with the same spec is no error; with another spec it is a Conflict.
func (s *Store) Create(ctx context.Context, spec RootSpec) error {
	if err := spec.check(); err != nil {
		return err
	}
	unlock, err := s.ids.lock(ctx, spec.ID)
	if err != nil {
		return err
	}
	defer unlock()
	if old, ok := s.root(spec.ID); ok {
		if old.spec() != spec {
			return fault.New(fault.Conflict, "root %s exists with another specification", spec.ID)
		}
		return nil
	}
	if err := s.room(0); err != nil {
		return err
	}
	r, err := s.claimLayers(s.scope(ctx), spec)
	if err != nil {
		return err
	}
	if err := s.makeRoot(ctx, r); err != nil {
		s.forget(spec.ID)
		return fmt.Errorf("create root %s: %w", spec.ID, err)
	}
	return nil
}

// claimLayers enters the root in memory, from when on its layers are kept.
func (s *Store) claimLayers(ctx context.Context, spec RootSpec) (record, error) {
	s.pin.Lock()
	defer s.pin.Unlock()
	u, err := s.lookupLocked(ctx, spec.Image)
	if err != nil {
		return record{}, err
	}
	r := record{
		ID: spec.ID, Image: spec.Image, Config: u.Digest, Chain: u.chain,
		Disk: s.diskKind, Bytes: spec.DiskBytes, UserNS: spec.UserNS, Created: time.Now().UTC(),
	}
	for _, d := range u.spec.RootFS.DiffIDs {
		r.DiffIDs = append(r.DiffIDs, d.String())
	}
	s.roots[r.ID] = r
	return r, nil
}

func (s *Store) makeRoot(ctx context.Context, r record) error {
	return s.makeRootWith(ctx, r, func(stage string) error { return s.disks[r.Disk].create(ctx, stage, r.Bytes) })
}

// makeRootWith makes a root whose disk makeDisk makes.
func (s *Store) makeRootWith(ctx context.Context, r record, makeDisk func(stage string) error) (err error) {
	stage := s.path("staging", r.ID)
	if err := removeTree(stage); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, removeTree(stage))
		}
	}()
	if err := os.MkdirAll(filepath.Join(stage, "merged"), 0o700); err != nil {
		return err
	}
	if err := makeDisk(stage); err != nil {
		return err
	}
	// Programs with the set-user-id bit in a root must not be within reach of
	// the host's users; the root of a user namespace has to get through.
	if r.UserNS != 0 {
		if err := errors.Join(os.Chown(stage, 0, int(r.UserNS)), os.Chmod(stage, 0o710)); err != nil {
			return err
		}
	} else if err := os.Chmod(stage, 0o700); err != nil {
		return err
	}
	b, err := encodeRecord(r)
	if err != nil {
		return err
	}
	if err := atomicfile.WriteFile(filepath.Join(stage, recordFile), b, 0o600); err != nil {
		return err
	}
	final := s.path("roots", r.ID)
	if _, err := os.Lstat(final); err == nil {
		// An unusable one, see loadRoots.
		return fault.New(fault.Conflict, "the remains of root %s must be deleted first", r.ID)
	}
	if err := os.Rename(stage, final); err != nil {
		return err
	}
	return atomicfile.SyncDir(s.path("roots"))
}

// root returns a root's record.
func (s *Store) root(id string) (record, bool) {
	s.pin.Lock()
	defer s.pin.Unlock()
	r, ok := s.roots[id]
	return r, ok
}

// forget takes a root out of memory and frees its layers if they were its image's last.
func (s *Store) forget(id string) {
	s.pin.Lock()
	defer s.pin.Unlock()
	r, ok := s.roots[id]
	if !ok {
		return
	}
	delete(s.roots, id)
	for _, o := range s.roots {
		if o.Chain == r.Chain {
			return
		}
	}
	for _, u := range s.byName {
		if u.chain == r.Chain {
			return
		}
	}
	s.collectSoon()
}

// locked runs work on an existing root while nothing else works on it.
func (s *Store) locked(ctx context.Context, id string, work func(record) error) error {
	if err := checkID(id); err != nil {
		return err
	}
	unlock, err := s.ids.lock(ctx, id)
	if err != nil {
		return err
	}
	defer unlock()
	r, ok := s.root(id)
	if !ok {
		return fault.New(fault.NotFound, "root %s not found", id)
	}
	return work(r)
}

// Mount mounts a root and returns where. A mounted one stays as it is. In a root
// with UserNS the host's own user 0 has no id: it can read, but makes no files.
func (s *Store) Mount(ctx context.Context, id string) (string, error) {
	merged := s.path("roots", id, "merged")
	err := s.locked(ctx, id, func(r record) error {
		if ok, err := isMounted(merged); ok || err != nil {
			return err
		}
		if err := s.mount(ctx, r, merged); err != nil {
			err = fmt.Errorf("mount root %s: %w", id, err)
			return errors.Join(err, s.unmountRoot(context.WithoutCancel(ctx), r))
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	return merged, nil
}

func (s *Store) mount(ctx context.Context, r record, merged string) error {
	dir := s.path("roots", r.ID)
	s.pin.Lock()
	lowers, err := s.lowersLocked(s.scope(ctx), r.Chain)
	s.pin.Unlock()
	if err != nil {
		return err
	}
	base, rel, err := s.lowerBase(lowers)
	if err != nil {
		return err
	}
	s.guard.forget(filepath.Join(dir, loopMount)) // it may have been about to end before
	disk, err := s.disks[r.Disk].attach(ctx, dir)
	if err != nil {
		return err
	}
	if err := prepareUpper(disk, lowers[0]); err != nil {
		return err
	}
	m := overlayMount{base: base, lowers: rel, target: merged, fsID: r.UserNS}
	if r.UserNS != 0 {
		ids := filepath.Join(dir, "ids")
		shiftedLayers, shiftedDisk := filepath.Join(ids, "layers"), filepath.Join(ids, "disk")
		if err := s.clearIDs(ctx, dir); err != nil {
			return err
		}
		if err := errors.Join(os.MkdirAll(shiftedLayers, 0o700), os.MkdirAll(shiftedDisk, 0o700)); err != nil {
			return err
		}
		err := s.userns.with(r.UserNS, func(ns *os.File) error {
			return errors.Join(mountIDMapped(base, shiftedLayers, ns), mountIDMapped(disk, shiftedDisk, ns))
		})
		if err != nil {
			return err
		}
		m.base, disk = shiftedLayers, shiftedDisk
	}
	m.upper, m.work = filepath.Join(disk, "upper"), filepath.Join(disk, "work")
	if err := mountOverlay(m); err != nil {
		return err
	}
	if r.UserNS != 0 {
		// overlayfs has its own clones of these mounts now.
		return s.clearIDs(ctx, dir)
	}
	return nil
}

// prepareUpper makes the directories that overlayfs wants on a new disk. The
// upper directory is what the sandbox sees as "/", so it looks like the image's.
func prepareUpper(disk, lower string) error {
	upper := filepath.Join(disk, "upper")
	if err := os.Mkdir(filepath.Join(disk, "work"), 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	if _, err := os.Lstat(upper); err == nil {
		return nil
	}
	var st unix.Stat_t
	if err := unix.Stat(lower, &st); err != nil {
		return fmt.Errorf("layer %s: %w", lower, err)
	}
	tmp := filepath.Join(disk, "upper.new")
	if err := os.Mkdir(tmp, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	if err := errors.Join(unix.Chown(tmp, int(st.Uid), int(st.Gid)), unix.Chmod(tmp, st.Mode&0o7777)); err != nil {
		return err
	}
	return os.Rename(tmp, upper)
}

// clearIDs unmounts the shifted mounts of a root.
func (s *Store) clearIDs(ctx context.Context, dir string) error {
	for _, n := range []string{"layers", "disk"} {
		if err := unmount(ctx, filepath.Join(dir, "ids", n), s.log); err != nil {
			return err
		}
	}
	return nil
}

// Thaw lets what runs in a root write again, which waits while the host's disk is
// full, until the root is unmounted: a process that waits there cannot be ended.
// Unknown ids are no error.
func (s *Store) Thaw(_ context.Context, id string) error {
	return s.guard.release(filepath.Join(s.path("roots", id), loopMount))
}

// Unmount unmounts a root and writes everything to its disk. Its processes must
// have ended. An unmounted one is no error.
func (s *Store) Unmount(ctx context.Context, id string) error {
	return s.locked(ctx, id, func(r record) error { return s.unmountRoot(ctx, r) })
}

func (s *Store) unmountRoot(ctx context.Context, r record) error {
	dir := s.path("roots", r.ID)
	if err := s.Thaw(ctx, r.ID); err != nil {
		return err
	}
	if err := unmount(ctx, filepath.Join(dir, "merged"), s.log); err != nil {
		return err
	}
	if err := s.clearIDs(ctx, dir); err != nil {
		return err
	}
	return s.disks[r.Disk].detach(ctx, dir)
}

// Delete removes a root with all its files, from any state. Unknown ids are no
// error.
func (s *Store) Delete(ctx context.Context, id string) error {
	if err := checkID(id); err != nil {
		return err
	}
	unlock, err := s.ids.lock(ctx, id)
	if err != nil {
		return err
	}
	defer unlock()
	if err := s.deleteRoot(context.WithoutCancel(ctx), id); err != nil {
		return fmt.Errorf("delete root %s: %w", id, err)
	}
	s.forget(id)
	return nil
}

func (s *Store) deleteRoot(ctx context.Context, id string) error {
	if err := removeTree(s.path("staging", id)); err != nil {
		return err
	}
	dir := s.path("roots", id)
	if _, err := os.Lstat(dir); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err := s.Thaw(ctx, id); err != nil {
		return err
	}
	defer s.guard.forget(filepath.Join(dir, loopMount))
	mounts, err := mountsBelow(dir)
	if err != nil {
		return err
	}
	for _, m := range mounts {
		if err := unmount(ctx, m, s.log); err != nil {
			return err
		}
	}
	trash := s.path("trash", id+"."+uuid.NewString())
	if err := os.Rename(dir, trash); err != nil {
		return err
	}
	return removeTree(trash)
}

// Roots lists all roots by id.
func (s *Store) Roots(context.Context) ([]RootSpec, error) {
	s.pin.Lock()
	defer s.pin.Unlock()
	out := make([]RootSpec, 0, len(s.roots))
	for _, r := range s.roots {
		out = append(out, r.spec())
	}
	slices.SortFunc(out, func(a, b RootSpec) int { return strings.Compare(a.ID, b.ID) })
	return out, nil
}

// Usage measures a root's disk, mounted or not.
func (s *Store) Usage(ctx context.Context, id string) (Usage, error) {
	var u Usage
	err := s.withDisk(ctx, id, func(r record, _ string) (err error) {
		u, err = s.disks[r.Disk].usage(ctx, s.path("roots", id))
		return err
	})
	return u, err
}

// withDisk runs work while a root's disk is attached, at the path that work
// gets, and leaves the root mounted or unmounted as it was.
func (s *Store) withDisk(ctx context.Context, id string, work func(r record, disk string) error) error {
	return s.locked(ctx, id, func(r record) (err error) {
		dir := s.path("roots", id)
		mounted, err := isMounted(filepath.Join(dir, "merged"))
		if err != nil {
			return err
		}
		disk, err := s.disks[r.Disk].attach(ctx, dir)
		if err != nil {
			return err
		}
		if !mounted {
			defer func() {
				err = errors.Join(err, s.disks[r.Disk].detach(context.WithoutCancel(ctx), dir))
			}()
		}
		return work(r, disk)
	})
}
