package local

import (
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"

	"daytona/runner"
	"daytona/runner/builder"
	"daytona/runner/rootfs"
)

// buildUserNS is the first host id of the user namespace of builds' steps: the
// range before those of sandboxes.
const buildUserNS = 1<<20 - 1<<16

// newBuilder makes the builder. Its steps run with the default isolation.
func newBuilder(cfg Config, rc *runner.Config, store *rootfs.Store) (*builder.Builder, error) {
	driver := rc.Drivers[0]
	var userNS uint32
	if slices.Contains(rc.UserNS, driver.Name()) {
		userNS = buildUserNS
	}
	ca := cfg.BuildCA
	if ca == "" {
		ca = hostCA
	}
	return builder.New(builder.Config{
		Dir:   filepath.Join(cfg.DataDir, "images", "build"),
		Store: store, Driver: driver, UserNS: userNS, Network: rc.Network,
		Limits: cfg.Build, CacheBytes: cfg.BuildCacheBytes, ContextBytes: cfg.Build.DiskBytes,
		CA: ca, Env: withoutPasswords(mirrorEnv()),
		Log: cfg.Log,
	})
}

// mirrorEnv are the variables of this host that lead package managers to a
// mirror.
func mirrorEnv() map[string]string {
	env := map[string]string{}
	for _, name := range mirrors {
		if v := os.Getenv(name); v != "" {
			env[name] = v
		}
	}
	return env
}

// withoutPasswords leaves out addresses that hold credentials: a build is
// somebody else's code.
func withoutPasswords(env map[string]string) map[string]string {
	env = maps.Clone(env)
	maps.DeleteFunc(env, func(_, v string) bool {
		u, err := url.Parse(v)
		return err == nil && u.User != nil
	})
	return env
}
