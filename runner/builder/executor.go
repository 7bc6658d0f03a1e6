package builder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/continuity/fs"
	bkexecutor "github.com/moby/buildkit/executor"
	resourcestypes "github.com/moby/buildkit/executor/resources/types"
	gatewayapi "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/identity"
	"github.com/moby/buildkit/solver/pb"

	"daytona/api/runnerapi"
	"daytona/internal/fault"
	"daytona/runner"
	"daytona/runner/rootfs"
)

// executor runs the RUN steps of builds, each in a container that has what a
// sandbox has and no more. It implements BuildKit's Executor.
type executor struct{ b *Builder }

// caTarget is where a step sees the host's certificates.
const caTarget = "/run/daytona-build-ca.crt"

// caVariables lead the usual programs to them.
var caVariables = []string{"PIP_CERT", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "REQUESTS_CA_BUNDLE"}

// Exec implements BuildKit's Executor. Nothing that we offer needs it.
func (e *executor) Exec(context.Context, string, bkexecutor.ProcessInfo) error {
	return fault.New(fault.Invalid, "a step of a build takes no further commands")
}

// Run implements BuildKit's Executor.
func (e *executor) Run(ctx context.Context, _ string, root bkexecutor.Mount, mounts []bkexecutor.Mount, process bkexecutor.ProcessInfo, started chan<- struct{}) (_ resourcestypes.Recorder, err error) {
	if started != nil {
		defer close(started)
	}
	meta := process.Meta
	if meta.SecurityMode == pb.SecurityMode_INSECURE || meta.NetMode == pb.NetMode_HOST || len(meta.CDIDevices) > 0 {
		return nil, fault.New(fault.Invalid, "a step of a build has the rights and the network of a sandbox, and no more")
	}
	id := "build-" + identity.NewID() // BuildKit's own may come again
	s := &step{b: e.b, dir: filepath.Join(e.b.cfg.Dir, "steps", id)}
	clean := context.WithoutCancel(ctx)
	defer func() {
		if cerr := s.close(clean); cerr != nil {
			e.b.log.Warn("what a build's step left could not be removed", "step", id, "error", cerr)
			if err == nil {
				err = cerr // the layer may be in use still
			}
		}
	}()
	bundle, err := s.prepare(ctx, id, root, mounts, meta)
	if err != nil {
		return nil, err
	}
	policy := runnerapi.NetworkPolicy{BlockAll: meta.NetMode == pb.NetMode_NONE}
	slot, err := e.b.cfg.Network.Acquire(ctx, id, policy)
	if err != nil {
		return nil, err
	}
	defer func() {
		if rerr := e.b.cfg.Network.Release(clean, id); rerr != nil {
			e.b.log.Warn("a network slot could not be released", "slot", id, "error", rerr)
		}
	}()
	bundle.NetNS = slot.NetNS
	if slot.Addr.IsValid() {
		bundle.Addr = slot.Addr.String()
	}
	tidy := bkexecutor.MountStubsCleaner(clean, bundle.RootFS, stubs(mounts), true)
	out := io.Discard
	if process.Stdout != nil {
		out = process.Stdout
	}
	watched, stop := s.watchDisk(ctx, e.b.cfg.Limits.DiskBytes)
	end, err := e.b.cfg.Driver.(runner.Attacher).RunToEnd(watched, bundle, out)
	stop()
	tidy()
	if err != nil {
		return nil, err
	}
	return nil, exitError(end, meta.ValidExitCodes)
}

// stubs are the mounts whose mount points must not become part of the image.
func stubs(mounts []bkexecutor.Mount) []bkexecutor.Mount {
	all := slices.Clone(mounts)
	for _, dest := range []string{"/etc/hostname", caTarget, "/proc", "/dev", "/sys", "/tmp"} {
		all = append(all, bkexecutor.Mount{Dest: dest})
	}
	return all
}

// exitError says how a step failed, or nil.
func exitError(end runnerapi.End, valid []int) error {
	if valid == nil && end.ExitCode == 0 || slices.Contains(valid, end.ExitCode) {
		return nil
	}
	exit := &gatewayapi.ExitError{ExitCode: uint32(end.ExitCode)}
	if end.Cause != runnerapi.CauseExit {
		exit.Err = errors.New(end.Evidence)
	}
	return exit
}

// step is a step of a build while it runs.
type step struct {
	b        *Builder
	dir      string
	mounted  []string       // in the order in which they were
	releases []func() error // of BuildKit's mounts
	written  []string       // directories of layers that it may write to
}

func (s *step) prepare(ctx context.Context, id string, root bkexecutor.Mount, mounts []bkexecutor.Mount, meta bkexecutor.Meta) (runner.Bundle, error) {
	none := runner.Bundle{}
	userNS := s.b.cfg.UserNS
	if err := os.MkdirAll(s.dir, 0o711); err != nil {
		return none, fault.Wrap(err, fault.Unavailable, "the runner cannot write the files of a build")
	}
	rootfsDir, err := s.mount(ctx, "rootfs", root, userNS)
	if err != nil {
		return none, err
	}
	uid, gid, groups, home, err := lookup(rootfsDir, meta.User)
	if err != nil {
		return none, err
	}
	if err := makeCwd(rootfsDir, meta.Cwd, int(uid+userNS), int(gid+userNS)); err != nil {
		return none, err
	}
	limits := s.b.cfg.Limits
	b := runner.Bundle{
		ID: id, Dir: s.dir, RootFS: rootfsDir, IDMapped: userNS != 0, UserNS: userNS,
		Hostname: or(meta.Hostname, "build"), Args: meta.Args, Cwd: or(meta.Cwd, "/"),
		UID: uid, GID: gid, Groups: groups,
		Limits: runner.Limits{CPU: limits.CPU, MemoryBytes: limits.MemoryBytes, Pids: limits.Pids},
	}
	for i, m := range mounts {
		if m.Dest == "/" || m.Dest == "" {
			continue
		}
		source, err := s.mount(ctx, fmt.Sprintf("mount-%d", i), m, userNS)
		if err != nil {
			return none, err
		}
		b.Mounts = append(b.Mounts, runner.Mount{Source: source, Target: filepath.Join("/", m.Dest), ReadOnly: m.Readonly})
	}
	files, env, err := s.files(meta, b.Hostname)
	if err != nil {
		return none, err
	}
	b.Mounts = append(b.Mounts, files...)
	b.Env = withDefaults(meta.Env, home, env)
	return b, nil
}

// mount makes what BuildKit wants mounted visible at a path of ours.
func (s *step) mount(ctx context.Context, name string, m bkexecutor.Mount, userNS uint32) (string, error) {
	mountable, err := m.Src.Mount(ctx, m.Readonly)
	if err != nil {
		return "", err
	}
	list, release, err := mountable.Mount()
	if err != nil {
		return "", err
	}
	if release != nil {
		s.releases = append(s.releases, release)
	}
	target := filepath.Join(s.dir, name)
	if err := os.Mkdir(target, 0o711); err != nil {
		return "", err
	}
	if len(list) == 1 && (list[0].Type == "bind" || list[0].Type == "rbind") {
		if st, err := os.Stat(list[0].Source); err == nil && !st.IsDir() {
			return "", fault.New(fault.Invalid, "a build cannot mount the file at %s", m.Dest)
		}
	}
	list, err = s.beneath(ctx, list, userNS)
	if err != nil {
		return "", err
	}
	if err := s.b.cfg.Store.MountLayers(ctx, list, target, userNS); err != nil {
		return "", err
	}
	s.mounted = append(s.mounted, target)
	if !m.Readonly {
		s.written = append(s.written, upperDirs(list)...)
	}
	if m.Selector == "" {
		return target, nil
	}
	return fs.RootPath(target, m.Selector)
}

// beneath looks through BuildKit's own mount of a layer that is written to. In
// a user namespace the overlay must be mounted with other ids, and one layer
// must never be written through two mounts: BuildKit's is taken away meanwhile.
func (s *step) beneath(ctx context.Context, list []mount.Mount, userNS uint32) ([]mount.Mount, error) {
	if len(list) != 1 || list[0].Type != "bind" {
		return list, nil
	}
	theirs := list[0].Source
	unlock := func() {}
	if userNS != 0 { // another step may have taken it away
		var err error
		if unlock, err = s.b.borrowed.lock(ctx, theirs); err != nil {
			return nil, err
		}
	}
	overlay, ok, err := s.b.cfg.Store.OverlayAt(theirs)
	if err != nil || !ok {
		unlock()
		return list, err
	}
	s.written = append(s.written, upperDirs([]mount.Mount{overlay})...)
	if userNS == 0 {
		return list, nil
	}
	if err := s.b.cfg.Store.UnmountLayers(ctx, theirs); err != nil {
		unlock()
		return nil, err
	}
	s.releases = append(s.releases, func() error {
		defer unlock()
		return overlay.Mount(theirs)
	})
	return []mount.Mount{overlay}, nil
}

// close undoes everything.
func (s *step) close(ctx context.Context) error {
	var errs []error
	for _, target := range slices.Backward(s.mounted) {
		errs = append(errs, s.b.cfg.Store.UnmountLayers(ctx, target))
	}
	for _, release := range slices.Backward(s.releases) {
		errs = append(errs, release())
	}
	if errors.Join(errs...) == nil { // never remove through a mount
		errs = append(errs, os.RemoveAll(s.dir))
	}
	return errors.Join(errs...)
}

// lookup finds the user of a step in its root.
func lookup(root, user string) (uid, gid uint32, groups []uint32, home string, err error) {
	if user == "" {
		user = "root"
	}
	uid, gid, groups, home, _, err = rootfs.LookupUser(root, user)
	if err != nil && user == "root" { // an image whose passwd file does not list root still has one
		return 0, 0, nil, "/root", nil
	}
	return uid, gid, groups, home, err
}

// makeCwd makes the working directory of a step, as builders do.
func makeCwd(root, cwd string, uid, gid int) error {
	dir, err := fs.RootPath(root, or(cwd, "/"))
	if err != nil {
		return fault.Wrap(err, fault.Unprocessable, "the working directory %s leads nowhere", cwd)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	var missing []string
	for p := dir; p != root; p = filepath.Dir(p) {
		if _, err := os.Lstat(p); err == nil {
			break
		}
		missing = append(missing, p)
	}
	for _, p := range slices.Backward(missing) {
		if err := errors.Join(os.Mkdir(p, 0o755), os.Chown(p, uid, gid)); err != nil {
			return err
		}
	}
	return nil
}

// files are what a step sees besides its layers, and the variables that go with
// them.
func (s *step) files(meta bkexecutor.Meta, hostname string) ([]runner.Mount, map[string]string, error) {
	var hosts strings.Builder
	fmt.Fprintf(&hosts, "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.1.1\t%s\n", hostname)
	for _, h := range meta.ExtraHosts {
		fmt.Fprintf(&hosts, "%s\t%s\n", h.IP, h.Host)
	}
	list := []struct{ target, text string }{
		{"/etc/resolv.conf", s.b.cfg.Network.ResolvConf()},
		{"/etc/hostname", hostname + "\n"},
		{"/etc/hosts", hosts.String()},
	}
	env := maps.Clone(s.b.cfg.Env)
	if env == nil {
		env = map[string]string{}
	}
	if s.b.cfg.CA != "" {
		if ca, err := os.ReadFile(s.b.cfg.CA); err == nil {
			list = append(list, struct{ target, text string }{caTarget, string(ca)})
			for _, name := range caVariables {
				env[name] = caTarget
			}
		}
	}
	var mounts []runner.Mount
	for _, f := range list {
		source := filepath.Join(s.dir, filepath.Base(f.target))
		if err := os.WriteFile(source, []byte(f.text), 0o644); err != nil {
			return nil, nil, fault.Wrap(err, fault.Unavailable, "the runner cannot write the files of a build")
		}
		mounts = append(mounts, runner.Mount{Source: source, Target: f.target, ReadOnly: true})
	}
	return mounts, env, nil
}

// withDefaults adds to a step's environment what it does not set itself.
func withDefaults(env []string, home string, extra map[string]string) []string {
	out := slices.Clone(env)
	has := func(name string) bool {
		return slices.ContainsFunc(out, func(kv string) bool { return strings.HasPrefix(kv, name+"=") })
	}
	if !has("HOME") {
		out = append(out, "HOME="+home)
	}
	if !has("PATH") {
		out = append(out, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	}
	for _, name := range slices.Sorted(maps.Keys(extra)) {
		if !has(name) {
			out = append(out, name+"="+extra[name])
		}
	}
	return out
}

var _ bkexecutor.Executor = (*executor)(nil)
