package builder

import (
	"context"

	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/solver"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/source"
	srctypes "github.com/moby/buildkit/source/types"

	"daytona/internal/fault"
)

// refused stands for the kinds of sources that a build may not begin from: they
// would have programs of this host work on hostile data outside of any sandbox,
// or reach what belongs to others.
type refused struct{}

func (refused) Schemes() []string {
	return []string{srctypes.GitScheme, srctypes.OCIScheme, srctypes.DockerImageBlobScheme, srctypes.OCIBlobScheme}
}

func (refused) Identifier(scheme, ref string, _ map[string]string, _ *pb.Platform) (source.Identifier, error) {
	if scheme == srctypes.GitScheme {
		return nil, fault.New(fault.Invalid, "ADD cannot fetch the git repository %q; clone it in a RUN step", ref)
	}
	return nil, fault.New(fault.Invalid, "a build cannot use %s://%s", scheme, ref)
}

func (refused) Resolve(context.Context, source.Identifier, *session.Manager, solver.Vertex) (source.SourceInstance, error) {
	return nil, fault.New(fault.Invalid, "a build cannot use this source")
}
