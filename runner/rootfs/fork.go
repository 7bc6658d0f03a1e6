package rootfs

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"daytona/internal/fault"
)

// Fork makes a root with the files of another one, which must not be mounted.
// Where the file system can share blocks it takes no time and no room. The two
// know nothing of each other afterwards. Image and size are the other's. A root
// that exists with the same specification stays as it is.
func (s *Store) Fork(ctx context.Context, from string, spec RootSpec) error {
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
	return s.locked(ctx, from, func(source record) error {
		dir := s.path("roots", from)
		switch mounted, err := isMounted(filepath.Join(dir, "merged")); {
		case err != nil:
			return err
		case mounted:
			return fault.New(fault.Conflict, "root %s is in use", from)
		case source.Image != spec.Image || source.Bytes != spec.DiskBytes:
			return fault.New(fault.Invalid, "a fork of root %s has its image and size", from)
		}
		d := s.disks[source.Disk]
		if err := d.detach(ctx, dir); err != nil { // a killed process may have left it attached
			return err
		}
		r := source
		r.ID, r.UserNS, r.Created = spec.ID, spec.UserNS, time.Now().UTC()
		s.pin.Lock()
		s.roots[r.ID] = r // its layers are kept from here on
		s.pin.Unlock()
		err := s.makeRootWith(ctx, r, func(stage string) error { return d.clone(ctx, dir, stage, r.Bytes) })
		if err != nil {
			s.forget(r.ID)
			return fmt.Errorf("fork root %s: %w", from, err)
		}
		return nil
	})
}
