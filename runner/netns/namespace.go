package netns

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// namespaceDir is where named network namespaces live, as ip-netns(8) has it.
const namespaceDir = "/run/netns"

func namespacePath(name string) string { return filepath.Join(namespaceDir, name) }

// shareNamespaceDir makes namespaceDir a shared mount point. Without that,
// other mount namespaces (engines make them) would keep their copies of our
// mounts, and with them the namespaces, alive after we removed them.
func shareNamespaceDir() error {
	if err := os.MkdirAll(namespaceDir, 0o755); err != nil {
		return err
	}
	err := unix.Mount("", namespaceDir, "", unix.MS_SHARED|unix.MS_REC, "")
	if err == nil {
		return nil
	}
	if !errors.Is(err, unix.EINVAL) { // EINVAL: not a mount point yet
		return fmt.Errorf("share %s: %w", namespaceDir, err)
	}
	if err := unix.Mount(namespaceDir, namespaceDir, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("bind %s: %w", namespaceDir, err)
	}
	if err := unix.Mount("", namespaceDir, "", unix.MS_SHARED|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("share %s: %w", namespaceDir, err)
	}
	return nil
}

// makeNamespace makes a named network namespace and runs setup on a thread
// inside it, with a handle of the host's. setup must not start goroutines that
// count on being inside. It leaves the name behind when it fails; removeNamespace cleans up.
func makeNamespace(name string, setup func(home netns.NsHandle) error) error {
	path := namespacePath(name)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDONLY, 0o444)
	if err != nil {
		return err
	}
	f.Close()
	return onOwnThread(func(home netns.NsHandle) error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("new network namespace: %w", err)
		}
		self := fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid())
		if err := unix.Mount(self, path, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("name network namespace: %w", err)
		}
		return setup(home)
	})
}

// onOwnThread runs f on an operating system thread that may change its network
// namespace. A thread that cannot be brought back ends with f.
func onOwnThread(f func(home netns.NsHandle) error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := netns.Get()
		if err != nil {
			runtime.UnlockOSThread()
			result <- err
			return
		}
		defer func() { _ = home.Close() }() // it was only looked at
		err = f(home)
		if netns.Set(home) == nil {
			runtime.UnlockOSThread() // otherwise the thread ends with this goroutine
		}
		result <- err
	}()
	return <-result
}

// removeNamespace removes a named namespace, made completely or in part.
func removeNamespace(name string) error {
	path := namespacePath(name)
	for {
		err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
			break // not mounted (any more)
		}
		if err != nil {
			return fmt.Errorf("unmount %s: %w", path, err)
		}
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// isNamespace reports whether a namespace is mounted under the name.
func isNamespace(name string) bool {
	var st unix.Statfs_t
	return unix.Statfs(namespacePath(name), &st) == nil && st.Type == unix.NSFS_MAGIC
}

// namespaces lists the indexes of the plan's names, complete or not.
func (p plan) namespaces() ([]int, error) {
	entries, err := os.ReadDir(namespaceDir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	var out []int
	for _, e := range entries {
		if i, ok := p.index(e.Name()); ok {
			out = append(out, i)
		}
	}
	return out, err
}
