package files

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// walk calls visit for everything below root, directories before what is in
// them, by name. Links are reported but not followed, so it comes to an end,
// and directories that cannot be read are passed over. The files that the
// kernel makes up (/proc, /sys) are left out unless root is among them: reading
// some of them blocks, and their number has no end.
func walk(ctx context.Context, root string, visit func(path string, entry fs.DirEntry) error) error {
	info, err := os.Stat(root)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return visit(root, fs.FileInfoToDirEntry(info))
	}
	return walkDir(ctx, root, device(info), visit)
}

func walkDir(ctx context.Context, dir string, dev uint64, visit func(string, fs.DirEntry) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil && len(entries) == 0 {
		return nil
	}
	for _, entry := range entries {
		path := filepath.Join(dir, entry.Name())
		if err := visit(path, entry); err != nil {
			return err
		}
		if !entry.IsDir() {
			continue
		}
		info, err := entry.Info()
		if err != nil {
			continue // gone meanwhile
		}
		below := device(info)
		if below != dev && MadeUp(path) {
			continue
		}
		if err := walkDir(ctx, path, below, visit); err != nil {
			return err
		}
	}
	return nil
}

func device(info fs.FileInfo) uint64 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(stat.Dev)
	}
	return 0
}

// MadeUp reports whether a directory is on a file system without files.
func MadeUp(dir string) bool {
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) != nil {
		return true
	}
	switch int64(st.Type) {
	case unix.PROC_SUPER_MAGIC, unix.SYSFS_MAGIC, unix.CGROUP_SUPER_MAGIC, unix.CGROUP2_SUPER_MAGIC,
		unix.DEBUGFS_MAGIC, unix.TRACEFS_MAGIC, unix.DEVPTS_SUPER_MAGIC:
		return true
	}
	return false
}
