package local

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"daytona/internal/fault"
)

// passable says what keeps other users from passing through a directory and
// those above it, to what they may read inside. The root of a sandbox in a user
// namespace is reached by ids that mean nobody on the host; an engine would only
// say "permission denied". What does not exist yet is none of its business.
func passable(dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	for ; ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return err
		case info.Mode().Perm()&0o001 == 0:
			return fault.New(fault.Invalid,
				"%s has mode %04o: sandboxes of runc run as users of their own, which must pass through it to their files; "+
					"allow that by `chmod o+x %[1]s` (nobody can list it by that), or choose another data directory", dir, info.Mode().Perm())
		}
		if dir == filepath.Dir(dir) {
			return nil
		}
	}
}
