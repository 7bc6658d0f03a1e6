package builder

import (
	"context"
	"path/filepath"

	"github.com/distribution/reference"
	"github.com/moby/buildkit/identity"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/auth"
	"github.com/moby/buildkit/session/filesync"
	"github.com/moby/buildkit/session/testutil"
	"github.com/tonistiigi/fsutil"
	fstypes "github.com/tonistiigi/fsutil/types"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"daytona/api/runnerapi"
	"daytona/runner/rootfs"
)

// buildSession is how the solver reaches what belongs to one build alone: its
// files and its credentials. It is a connection within this process.
type buildSession struct {
	id    string
	s     *session.Session
	ended chan struct{}
}

func openSession(ctx context.Context, m *session.Manager, work string, spec runnerapi.ImageSpec) (*buildSession, error) {
	// The key is never used twice: BuildKit must not take a file of another
	// build, of the same size and time, for one of this.
	s, err := session.NewSession(ctx, identity.NewID())
	if err != nil {
		return nil, err
	}
	dirs := filesync.StaticDirSource{}
	for _, name := range []string{"context", "dockerfile"} {
		fs, err := fsutil.NewFS(filepath.Join(work, name))
		if err == nil {
			fs, err = fsutil.NewFilterFS(fs, &fsutil.FilterOpt{Map: asRoot})
		}
		if err != nil {
			return nil, err
		}
		dirs[name] = fs
	}
	s.Allow(filesync.NewFSSyncProvider(dirs))
	s.Allow(&credentials{auths: spec.Auths, images: imagesOf(spec.Build)})
	b := &buildSession{id: s.ID(), s: s, ended: make(chan struct{})}
	go func() {
		defer close(b.ended)
		_ = s.Run(context.WithoutCancel(ctx), session.Dialer(testutil.TestStream(testutil.Handler(m.HandleConn)))) // ends with close
	}()
	return b, nil
}

func (b *buildSession) close() {
	_ = b.s.Close() // nothing is lost with it
	<-b.ended
}

// asRoot gives a context's files to root, as builders do.
func asRoot(_ string, st *fstypes.Stat) fsutil.MapResult {
	st.Uid, st.Gid = 0, 0
	return fsutil.MapResultKeep
}

// credentials answers with what one build may present to registries.
type credentials struct {
	auth.UnimplementedAuthServer
	auths  []runnerapi.RegistryAuth
	images []reference.Named // that the build names
}

func (c *credentials) Register(s *grpc.Server) { auth.RegisterAuthServer(s, c) }

// Credentials implements auth.AuthServer. BuildKit asks by host; which of
// several accounts at a host is meant, the images of the build tell.
func (c *credentials) Credentials(_ context.Context, req *auth.CredentialsRequest) (*auth.CredentialsResponse, error) {
	for _, img := range c.images {
		if a, ok := rootfs.FindAuth(c.auths, req.Host, reference.Path(img)); ok && sameHost(req.Host, reference.Domain(img)) {
			return &auth.CredentialsResponse{Username: a.Username, Secret: a.Password}, nil
		}
	}
	if a, ok := rootfs.FindAuth(c.auths, req.Host, ""); ok {
		return &auth.CredentialsResponse{Username: a.Username, Secret: a.Password}, nil
	}
	return &auth.CredentialsResponse{}, nil
}

func sameHost(asked, domain string) bool {
	return asked == domain || domain == "docker.io" && asked == "registry-1.docker.io"
}

// GetTokenAuthority implements auth.AuthServer: tokens are fetched by the solver.
func (c *credentials) GetTokenAuthority(context.Context, *auth.GetTokenAuthorityRequest) (*auth.GetTokenAuthorityResponse, error) {
	return nil, status.Error(codes.Unavailable, "there is none")
}
