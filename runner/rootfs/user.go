package rootfs

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"daytona/internal/fault"
)

// maxUserFile bounds what is read of /etc/passwd and /etc/group.
const maxUserFile = 4 << 20

// maxID is the largest id that every driver can run as: user namespaces map
// this many.
const maxID = idRange - 1

// LookupUser finds a user of a root: "name", "name:group", "uid", "uid:gid"; ""
// is root. It reads the root's /etc/passwd and /etc/group, never the host's,
// whatever links lie there. An id that is not listed is fine and has group 0,
// home "/" and shell "/bin/sh"; a name that is not is Invalid.
func LookupUser(rootPath, user string) (uid, gid uint32, groups []uint32, home, shell string, err error) {
	passwd, err := readInRoot(rootPath, "etc/passwd")
	if err != nil {
		return 0, 0, nil, "", "", err
	}
	group, err := readInRoot(rootPath, "etc/group")
	if err != nil {
		return 0, 0, nil, "", "", err
	}
	u, err := findUser(passwd, group, user)
	return u.uid, u.gid, u.groups, u.home, u.shell, err
}

type osUser struct {
	name        string
	uid, gid    uint32
	groups      []uint32
	home, shell string
}

// findUser is the rule of LookupUser over the two files' content.
func findUser(passwd, group, want string) (osUser, error) {
	name, groupName, hasGroup := strings.Cut(want, ":")
	if name == "" && !hasGroup {
		name = "root"
	}
	if name == "" || (hasGroup && groupName == "") || strings.Contains(groupName, ":") {
		return osUser{}, fault.New(fault.Invalid, "user %q is not valid: want name, uid, name:group or uid:gid", want)
	}
	u, known, err := userByName(passwd, name)
	if err != nil {
		return osUser{}, err
	}
	if !known && u.name == name {
		return osUser{}, fault.New(fault.Invalid, "user %q does not exist in the image", name)
	}
	if u.home == "" {
		u.home = "/"
	}
	if u.shell == "" {
		u.shell = "/bin/sh"
	}
	if hasGroup {
		gid, err := groupByName(group, groupName)
		if err != nil {
			return osUser{}, err
		}
		u.gid = gid
		return u, nil
	}
	if known {
		u.groups = groupsOf(group, u.name, u.gid)
	}
	return u, nil
}

// userByName finds a name or a numeric id. For an id that is not listed known is
// false and the name empty.
func userByName(passwd, name string) (u osUser, known bool, err error) {
	id, numeric, err := parseID(name)
	if err != nil {
		return osUser{}, false, err
	}
	for line := range strings.Lines(passwd) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), ":")
		if len(f) < 4 || (f[0] != name && !(numeric && f[2] == name)) {
			continue
		}
		uid, ok1, err1 := parseID(f[2])
		gid, ok2, err2 := parseID(f[3])
		if !ok1 || !ok2 || err1 != nil || err2 != nil {
			continue
		}
		u = osUser{name: f[0], uid: uid, gid: gid}
		if len(f) > 5 && strings.HasPrefix(f[5], "/") {
			u.home = f[5]
		}
		if len(f) > 6 {
			u.shell = f[6]
		}
		return u, true, nil
	}
	switch {
	case numeric:
		return osUser{uid: id}, false, nil
	case name == "root": // images without /etc/passwd
		return osUser{name: name}, true, nil
	}
	return osUser{name: name}, false, nil
}

func groupByName(group, name string) (uint32, error) {
	id, numeric, err := parseID(name)
	if err != nil || numeric {
		return id, err
	}
	for line := range strings.Lines(group) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), ":")
		if len(f) >= 3 && f[0] == name {
			if id, ok, err := parseID(f[2]); ok && err == nil {
				return id, nil
			}
		}
	}
	return 0, fault.New(fault.Invalid, "group %q does not exist in the image", name)
}

// groupsOf lists the groups that name a user as a member, without the primary.
func groupsOf(group, name string, primary uint32) []uint32 {
	var out []uint32
	for line := range strings.Lines(group) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), ":")
		if len(f) < 4 || !slices.Contains(strings.Split(f[3], ","), name) {
			continue
		}
		if id, ok, err := parseID(f[2]); ok && err == nil && id != primary && !slices.Contains(out, id) {
			out = append(out, id)
		}
	}
	return out
}

// parseID reads a decimal id. ok is false for what is not a number.
func parseID(s string) (id uint32, ok bool, err error) {
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0, false, nil
	}
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || n > maxID {
		return 0, false, fault.New(fault.Invalid, "id %s is too large: at most %d", s, maxID)
	}
	return uint32(n), true, nil
}

// readInRoot reads a file below root, where links mean what they mean to a
// process inside. A missing one is empty.
func readInRoot(root, name string) (string, error) {
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", fmt.Errorf("root file system %s: %w", root, err)
	}
	defer func() { _ = unix.Close(dir) }() // nothing was written through it
	// O_NONBLOCK: a pipe of that name must not hang us.
	fd, err := unix.Openat2(dir, name, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NONBLOCK | unix.O_NOCTTY,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return "", nil
	}
	if err != nil {
		return "", fault.Wrap(err, fault.Invalid, "/%s of the image cannot be read", name)
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return "", err
	}
	if !fi.Mode().IsRegular() || fi.Size() > maxUserFile {
		return "", fault.New(fault.Invalid, "/%s of the image is not a usable file", name)
	}
	b, err := io.ReadAll(bufio.NewReader(io.LimitReader(f, maxUserFile)))
	return string(b), err
}
