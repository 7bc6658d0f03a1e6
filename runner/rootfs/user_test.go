package rootfs

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"daytona/internal/fault"
)

const (
	passwdFile = "root:x:0:0:root:/root:/bin/bash\n" +
		"daytona:x:1000:1001:,,,:/home/daytona:/bin/zsh\n" +
		"bare:x:5:6::\n" +
		"broken\nlarge:x:99999999999:0::/:\n" +
		"1234:x:77:78:a number as name:/n:/bin/n\n"
	groupFile = "root:x:0:\nadm:x:4:daytona,other\ndaytona:x:1001:daytona\nsudo:x:27:daytona\nempty:x:30:\nbroken:x\n"
)

func TestFindUser(t *testing.T) {
	for _, c := range []struct {
		user        string
		uid, gid    uint32
		groups      []uint32
		home, shell string
	}{
		{user: "", home: "/root", shell: "/bin/bash"},
		{user: "root", home: "/root", shell: "/bin/bash"},
		{user: "daytona", uid: 1000, gid: 1001, groups: []uint32{4, 27}, home: "/home/daytona", shell: "/bin/zsh"},
		{user: "1000", uid: 1000, gid: 1001, groups: []uint32{4, 27}, home: "/home/daytona", shell: "/bin/zsh"},
		{user: "1000:1000", uid: 1000, gid: 1000, home: "/home/daytona", shell: "/bin/zsh"},
		{user: "daytona:sudo", uid: 1000, gid: 27, home: "/home/daytona", shell: "/bin/zsh"},
		{user: "daytona:30", uid: 1000, gid: 30, home: "/home/daytona", shell: "/bin/zsh"},
		{user: "bare", uid: 5, gid: 6, home: "/", shell: "/bin/sh"},
		{user: "4242", uid: 4242, home: "/", shell: "/bin/sh"},
		{user: "4242:17", uid: 4242, gid: 17, home: "/", shell: "/bin/sh"},
		{user: "1234", uid: 77, gid: 78, home: "/n", shell: "/bin/n"},
	} {
		u, err := findUser(passwdFile, groupFile, c.user)
		if err != nil {
			t.Errorf("%q: %v", c.user, err)
			continue
		}
		if u.uid != c.uid || u.gid != c.gid || !slices.Equal(u.groups, c.groups) || u.home != c.home || u.shell != c.shell {
			t.Errorf("%q: %+v, want %+v", c.user, u, c)
		}
	}
	for _, user := range []string{"nobody-here", "daytona:", ":1", "a:b:c", "daytona:nogroup", "65536", "1:65536", "99999999999", "large", "broken", "-1", "1000:-1"} {
		if u, err := findUser(passwdFile, groupFile, user); !fault.Is(err, fault.Invalid) {
			t.Errorf("%q: %+v, %v; want Invalid", user, u, err)
		} else if name, _, _ := strings.Cut(user, ":"); len(name) > 1 && !strings.Contains(err.Error(), strings.Split(user, ":")[strings.Count(user, ":")]) {
			t.Errorf("%q is not named in %q", user, err)
		}
	}
	if u, err := findUser("", "", "root"); err != nil || u.uid != 0 {
		t.Error("root without a passwd file:", u, err)
	}
}

// lookupHome makes a root, lets prepare change it and looks daytona up.
func lookupHome(t *testing.T, prepare func(root string) error) (string, error) {
	t.Helper()
	top := t.TempDir()
	root := filepath.Join(top, "root")
	for _, d := range []string{root + "/etc", root + "/real", top + "/etc"} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	files := map[string]string{
		root + "/etc/group": groupFile,
		root + "/real/pw":   passwdFile,
		// What an escape would read.
		top + "/etc/passwd": "daytona:x:0:0::/escaped:/bin/sh\n",
	}
	for p, c := range files {
		if err := os.WriteFile(p, []byte(c), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := prepare(root); err != nil {
		t.Fatal(err)
	}
	_, _, _, home, _, err := LookupUser(root, "daytona")
	return home, err
}

func TestLookupUserStaysInRoot(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(root string) error
		home    string // "" when the user must not be found
	}{
		"plain file":      {func(r string) error { return os.WriteFile(r+"/etc/passwd", []byte(passwdFile), 0o644) }, "/home/daytona"},
		"relative link":   {func(r string) error { return os.Symlink("../real/pw", r+"/etc/passwd") }, "/home/daytona"},
		"absolute link":   {func(r string) error { return os.Symlink("/real/pw", r+"/etc/passwd") }, "/home/daytona"},
		"too many dotdot": {func(r string) error { return os.Symlink("../../../../real/pw", r+"/etc/passwd") }, "/home/daytona"},
		"link out":        {func(r string) error { return os.Symlink("../../etc/passwd", r+"/etc/passwd") }, ""},
		"directory link out": {func(r string) error {
			if err := os.RemoveAll(r + "/etc"); err != nil {
				return err
			}
			return os.Symlink("../etc", r+"/etc")
		}, ""},
		"loop":          {func(r string) error { return os.Symlink("passwd", r+"/etc/passwd") }, ""},
		"pipe":          {func(r string) error { return unix.Mkfifo(r+"/etc/passwd", 0o644) }, ""},
		"directory":     {func(r string) error { return os.Mkdir(r+"/etc/passwd", 0o755) }, ""},
		"missing":       {func(string) error { return nil }, ""},
		"huge file":     {func(r string) error { return hugeFile(r + "/etc/passwd") }, ""},
		"own proc link": {func(r string) error { return os.Symlink("/proc/self/cwd", r+"/etc/passwd") }, ""},
	} {
		home, err := lookupHome(t, c.prepare)
		if c.home == "" {
			if !fault.Is(err, fault.Invalid) {
				t.Errorf("%s: home %q, %v; want Invalid", name, home, err)
			}
			continue
		}
		if err != nil || home != c.home {
			t.Errorf("%s: home %q, %v; want %q", name, home, err, c.home)
		}
	}
}

func hugeFile(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Truncate(1 << 40)
}
