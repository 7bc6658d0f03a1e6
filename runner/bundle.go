package runner

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"daytona/internal/fault"
	"daytona/runner/netns"
	"daytona/runner/rootfs"
)

const (
	// toolboxTarget is where the toolbox is seen inside.
	toolboxTarget = "/usr/local/bin/daytona"
	toolboxPort   = 2280
	tokenEnv      = "DAYTONA_TOOLBOX_TOKEN"
	defaultUser   = "daytona"
	defaultPath   = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
)

// users returns the names to try, in order, for the user of a sandbox: who was
// asked for, else whom the image names, else daytona, else root. Only in the
// last two cases may a missing user be passed over.
func users(asked, image string) (names []string, fallback bool) {
	switch {
	case asked != "":
		return []string{asked}, false
	case image != "":
		return []string{image}, false
	default:
		return []string{defaultUser, "root"}, true
	}
}

// account is a user as a root's passwd file has it.
type account struct {
	uid, gid uint32
	groups   []uint32
	home     string
}

// lookupUser finds the user of a sandbox in its root.
func lookupUser(root, asked, image string) (name string, u account, err error) {
	names, fallback := users(asked, image)
	for _, name = range names {
		u.uid, u.gid, u.groups, u.home, _, err = rootfs.LookupUser(root, name)
		if err == nil {
			return name, u, nil
		}
		if !fallback || !fault.Is(err, fault.Invalid) {
			return name, u, err
		}
	}
	// An image whose passwd file does not list root still has one.
	return "root", account{home: "/"}, nil
}

// entrypoint returns the image's own command, which the toolbox runs as its
// child. One that only waits is left out: the toolbox keeps the sandbox alive,
// and every process costs memory.
func entrypoint(img ocispec.ImageConfig) []string {
	args := slices.Concat(img.Entrypoint, img.Cmd)
	switch strings.Join(args, " ") {
	case "sleep infinity", "/bin/sleep infinity", "/usr/bin/sleep infinity", "tail -f /dev/null":
		return nil
	}
	return args
}

// environ is the environment of the toolbox, which passes all but its own
// settings on to the processes it starts. What the request asked for comes
// later, with the sandbox's identity.
func environ(img ocispec.ImageConfig, home, user, token string) []string {
	env := slices.Clone(img.Env)
	set := func(key, value string, override bool) {
		at := slices.IndexFunc(env, func(kv string) bool { return strings.HasPrefix(kv, key+"=") })
		switch {
		case at < 0:
			env = append(env, key+"="+value)
		case override:
			env[at] = key + "=" + value
		}
	}
	set("PATH", defaultPath, false)
	set("LANG", "C.UTF-8", false)
	set("HOME", home, true)
	set("USER", user, true)
	set(tokenEnv, token, true)
	return env
}

// makeBundle writes the container's files and says what the container is made
// of. The files under /etc are mounted read-only: written from inside they
// would be a way to fill the host's disk.
func (r *Runner) makeBundle(ctx context.Context, rec *record, img rootfs.Image, root string, slot netns.Slot) (Bundle, string, error) {
	name, user, err := lookupUser(root, rec.Spec.User, img.Config.User)
	if err != nil {
		return Bundle{}, "", err
	}
	dir := r.store.bundleDir(rec.Spec.ID)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return Bundle{}, "", err
	}
	host := rec.Spec.ID
	var mounts []Mount
	for _, f := range []struct{ name, text string }{
		{"resolv.conf", r.cfg.Network.ResolvConf()},
		{"hostname", host + "\n"},
		{"hosts", fmt.Sprintf("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.1.1\t%s\n", host)},
	} {
		path := filepath.Join(dir, f.name)
		if err := os.WriteFile(path, []byte(f.text), 0o644); err != nil {
			return Bundle{}, "", fault.Wrap(err, fault.Unavailable, "the runner cannot write the sandbox's files")
		}
		mounts = append(mounts, Mount{Source: path, Target: "/etc/" + f.name, ReadOnly: true})
	}
	mounts = append(mounts, Mount{Source: r.toolbox.path, Target: toolboxTarget, ReadOnly: true})
	home := or(user.home, "/")
	args := []string{toolboxTarget}
	if ep := entrypoint(img.Config); len(ep) > 0 && !rec.Build {
		args = append(append(args, "--"), ep...)
	}
	b := Bundle{
		ID:       rec.Spec.ID,
		Dir:      dir,
		RootFS:   root,
		IDMapped: rec.UserNS != 0, // Roots show the ids as shifted
		NetNS:    slot.NetNS,
		Hostname: host,
		Args:     args,
		Env:      environ(img.Config, home, name, rec.Token),
		Cwd:      or(img.Config.WorkingDir, home),
		UID:      user.uid,
		GID:      user.gid,
		Groups:   user.groups,
		Mounts:   mounts,
		Limits:   Limits{CPU: rec.Spec.CPU, MemoryBytes: rec.Spec.MemoryMiB << 20},
		UserNS:   rec.UserNS,
		// What is done ahead must not slow down what somebody waits for.
		Background: rec.Warm != nil,
	}
	if slot.Addr.IsValid() {
		b.Addr = slot.Addr.String()
	}
	return b, name, nil
}
