package rootfs

import (
	"context"
	"errors"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Reconcile removes every root that is not in keep, and every mount, loop device
// and leftover of this store that belongs to none of those kept. It takes what
// the disk and the kernel say for the truth, not what this process remembers. It
// is for the start, before anything else is asked of the store: a root being
// created meanwhile would be one not in keep.
func (s *Store) Reconcile(ctx context.Context, keep []string) error {
	kept := map[string]bool{}
	for _, id := range keep {
		kept[id] = true
	}
	names := map[string]bool{}
	for _, d := range []string{"roots", "staging"} {
		entries, err := os.ReadDir(s.path(d))
		if err != nil {
			return err
		}
		for _, e := range entries {
			names[e.Name()] = true
		}
	}
	var errs []error
	for id := range names {
		if kept[id] {
			continue
		}
		if checkID(id) != nil {
			errs = append(errs, removeTree(s.path("roots", id)), removeTree(s.path("staging", id)))
			continue
		}
		errs = append(errs, s.Delete(ctx, id))
	}
	entries, err := os.ReadDir(s.path("trash"))
	errs = append(errs, err)
	for _, e := range entries {
		errs = append(errs, removeTree(s.path("trash", e.Name())))
	}
	mounts, err := mountsBelow(s.path("roots"))
	errs = append(errs, err)
	for _, m := range mounts {
		if !kept[s.ownerOf(m)] {
			if err := unix.Unmount(m, unix.UMOUNT_NOFOLLOW|unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
				errs = append(errs, err)
			}
		}
	}
	errs = append(errs, loopClear(s.dir, func(file string) bool { return kept[s.ownerOf(file)] }))
	return errors.Join(errs...)
}

// ownerOf returns the id of the root that a path belongs to, or "".
func (s *Store) ownerOf(path string) string {
	rest, ok := strings.CutPrefix(path, s.path("roots")+"/")
	if !ok {
		return ""
	}
	id, _, _ := strings.Cut(rest, "/")
	return id
}
