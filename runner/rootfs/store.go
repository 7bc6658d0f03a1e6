package rootfs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/containerd/v2/plugins/snapshots/overlay"
	"github.com/containerd/errdefs"
	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	"daytona/internal/fault"
)

const (
	// namespace is the one namespace that we use of the metadata database.
	namespace = "daytona"
	// snapshotterName must be this one: containerd's unpacker knows by it how
	// to convert whiteouts.
	snapshotterName = "overlayfs"

	defaultReserve = 1 << 30
)

// Config says where a store lives and how it works.
type Config struct {
	// Dir is the store's own directory. One process at a time uses it. Its
	// parents must let others pass (mode o+x) when roots use a user namespace.
	Dir string
	// Disk is the kind of writable layer: "auto" or "" probes, "loop" is an
	// ext4 image per root, "btrfs" a subvolume with a quota.
	Disk string
	// Mirrors maps a registry host, as in "docker.io", to the base URL of a
	// registry asked first for what that host holds.
	Mirrors map[string]string
	Log     *slog.Logger
	// Ready is how many formatted disks are kept ready, by size in bytes. Sizes
	// that are in use get a few without being named.
	Ready map[int64]int
	// Reserve is how many bytes of the backing file system are left alone:
	// Create, Pull and ImportTar refuse to go below. 0 means 1 GiB.
	Reserve int64
}

// Store keeps images and roots below one directory.
type Store struct {
	dir     string
	log     *slog.Logger
	mirrors map[string]string
	reserve int64

	lock    *os.File
	bolt    *bbolt.DB
	db      *metadata.DB
	content content.Store
	snaps   snapshots.Snapshotter
	images  images.Store
	leases  leases.Manager

	disks    map[string]disk
	diskKind string
	userns   *usernsCache
	guard    *guard // nil unless disks are images

	ids keyedMutex // serialises work on one root
	// pin guards which layers are in use: it is held while a root starts to use
	// an image and while unused layers are dropped.
	pin    sync.Mutex
	roots  map[string]record
	byName map[string]unpacked // resolved images

	work     sync.WaitGroup
	stop     context.CancelFunc
	stopping context.Context
}

// Open opens the store of cfg.Dir, which it makes if missing, and clears what a
// killed process left half made there. Mounted roots are not disturbed.
func Open(ctx context.Context, cfg Config) (_ *Store, err error) {
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return nil, fmt.Errorf("store directory: %w", err)
	}
	// The kernel lists mounts by the names they have without symbolic links,
	// and what is mounted here is found again by that list.
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return nil, fmt.Errorf("store directory: %w", err)
	}
	if strings.ContainsAny(dir, ":,\\\n") {
		return nil, fault.New(fault.Invalid, "the data directory %q may not contain a colon, comma, backslash or newline", dir)
	}
	s := &Store{
		dir: dir, log: cfg.Log, mirrors: cfg.Mirrors, reserve: cfg.Reserve,
		roots: map[string]record{}, byName: map[string]unpacked{},
		userns: newUsernsCache(),
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.reserve == 0 {
		s.reserve = defaultReserve
	}
	s.stopping, s.stop = context.WithCancel(context.Background())
	defer func() {
		if err != nil {
			_ = s.Close()
		}
	}()
	if err := s.layout(); err != nil {
		return nil, err
	}
	if s.lock, err = lockDir(ctx, s.path("lock")); err != nil {
		return nil, err
	}
	if err := s.openImages(ctx); err != nil {
		return nil, err
	}
	if err := s.loadRoots(); err != nil {
		return nil, err
	}
	s.clearScratch()
	loop := newLoopDisk(s.path("disks"), s.log, cfg.Ready)
	s.disks = map[string]disk{loop.kind(): loop, "btrfs": btrfsDisk{}}
	if s.diskKind, err = probeDisk(s.dir, cfg.Disk, s.log); err != nil {
		return nil, err
	}
	if err := s.settleImages(s.scope(ctx)); err != nil {
		return nil, err
	}
	if s.diskKind == loop.kind() {
		if s.guard, err = newGuard(s.dir, s.log); err != nil {
			return nil, err
		}
		loop.guard = s.guard
		s.work.Go(func() { s.guard.watch(s.stopping) })
		if err := loop.start(s.stopping, &s.work); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// layout makes the directories. Those on the way to a root let others pass,
// since the root of a user namespace is not our root.
func (s *Store) layout() error {
	for _, d := range []struct {
		name string
		mode os.FileMode
	}{
		{"", 0o711}, {"roots", 0o711}, {"staging", 0o700}, {"trash", 0o700},
		{"tmp", 0o700}, {"content", 0o700}, {"snapshots", 0o700}, {"disks", 0o700},
	} {
		if err := os.MkdirAll(s.path(d.name), d.mode); err != nil {
			return fmt.Errorf("store directory: %w", err)
		}
		if err := os.Chmod(s.path(d.name), d.mode); err != nil {
			return fmt.Errorf("store directory: %w", err)
		}
	}
	return nil
}

// lockDir takes the lock that makes us the only process in the directory. A
// predecessor that was just killed may need a moment to vanish.
func lockDir(ctx context.Context, path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			_ = f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		select {
		case <-ctx.Done():
			_ = f.Close()
			return nil, fault.New(fault.Unavailable, "another process uses the image store at %s", filepath.Dir(path))
		case <-tick.C:
		}
	}
}

// openImages opens containerd's stores.
func (s *Store) openImages(ctx context.Context) error {
	quietDefault()
	var err error
	s.bolt, err = bbolt.Open(s.path("metadata.db"), 0o600, &bbolt.Options{Timeout: 5 * time.Second})
	if err != nil {
		return fmt.Errorf("image metadata: %w", err)
	}
	cs, err := local.NewStore(s.path("content"))
	if err != nil {
		return fmt.Errorf("image content: %w", err)
	}
	sn, err := overlay.NewSnapshotter(s.path("snapshots"))
	if err != nil {
		return fmt.Errorf("image layers: %w", err)
	}
	// A kill between making a layer's directory and recording it leaves a
	// directory whose number the next layer gets, and cannot take.
	if cl, ok := sn.(snapshots.Cleaner); ok {
		err := cl.Cleanup(s.scope(ctx))
		if errdefs.IsNotFound(err) { // not one was ever recorded
			err = emptyOut(s.path("snapshots", "snapshots"))
		}
		if err != nil {
			return fmt.Errorf("image layers: %w", err)
		}
	}
	s.db = metadata.NewDB(s.bolt, cs, map[string]snapshots.Snapshotter{snapshotterName: sn})
	if err := s.db.Init(s.scope(ctx)); err != nil {
		return fmt.Errorf("image metadata: %w", err)
	}
	s.content = s.db.ContentStore()
	s.snaps = s.db.Snapshotter(snapshotterName)
	s.images = metadata.NewImageStore(s.db)
	s.leases = metadata.NewLeaseManager(s.db)
	return nil
}

// Close ends background work and closes the databases. Roots stay mounted.
func (s *Store) Close() error {
	s.stop()
	s.work.Wait()
	s.userns.close()
	var errs []error
	if s.snaps != nil {
		errs = append(errs, s.snaps.Close())
	}
	if s.bolt != nil {
		errs = append(errs, s.bolt.Close())
	}
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
	}
	return errors.Join(errs...)
}

// DiskKind is the kind of disk that new roots get.
func (s *Store) DiskKind() string { return s.diskKind }

// TempDir is a directory for scratch files of whoever feeds the store. Open
// empties it.
func (s *Store) TempDir() string { return s.path("tmp") }

func (s *Store) path(elem ...string) string {
	return filepath.Join(append([]string{s.dir}, elem...)...)
}

// scope adds to ctx what containerd's libraries look for in it.
func (s *Store) scope(ctx context.Context) context.Context {
	return namespaces.WithNamespace(quietLog(ctx, s.log), namespace)
}

// clearScratch removes what a killed process left in directories whose content
// never outlives one.
func (s *Store) clearScratch() {
	for _, d := range []string{"staging", "trash", "tmp"} {
		if err := emptyOut(s.path(d)); err != nil {
			s.log.Warn("scratch cannot be removed", "dir", d, "err", err)
		}
	}
}

// emptyOut removes everything in a directory.
func emptyOut(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		errs = append(errs, removeTree(filepath.Join(dir, e.Name())))
	}
	return errors.Join(errs...)
}

// reservedFiles is how many files the host's file system must have room for: a
// disk without inodes is full too. Some have no limit, and say that there are 0.
const reservedFiles = 10_000

// room refuses with Unavailable when the backing file system has less than the
// reserve and need bytes left, or hardly any inode.
func (s *Store) room(need int64) error {
	var st unix.Statfs_t
	if err := unix.Statfs(s.dir, &st); err != nil {
		return fmt.Errorf("free space of %s: %w", s.dir, err)
	}
	free := int64(st.Bavail) * st.Bsize
	if free-need < s.reserve {
		return fault.New(fault.Unavailable, "the runner's disk is full: %d MiB free, %d MiB kept in reserve", free>>20, s.reserve>>20)
	}
	if st.Files > reservedFiles && st.Ffree < reservedFiles {
		return fault.New(fault.Unavailable, "the runner's disk is full: it has room for %d more files, and %d are kept in reserve", st.Ffree, reservedFiles)
	}
	return nil
}
