package toolbox

import (
	"net/http"
	"slices"

	"daytona/internal/fault"
	"daytona/toolbox/wire"
)

// routes is every route of the toolbox.
func (s *Server) routes() *http.ServeMux {
	mux := http.NewServeMux()
	for _, route := range slices.Concat(
		[]wire.Route{
			// The runner's own.
			{Pattern: "POST /init", Handler: s.postInit},

			{Pattern: "GET /version", Handler: s.getVersion},
			{Pattern: "GET /project-dir", Handler: s.getHome},
			{Pattern: "GET /user-home-dir", Handler: s.getHome},
			{Pattern: "GET /work-dir", Handler: s.getWorkDir},

			{Pattern: "/", Handler: s.unknown},
		},
		s.files.Routes(),
		s.process.Routes(),
		s.contexts.Routes(),
		s.ports.Routes(), // and /proxy/{port}/…, before the mux
		s.lsp.Routes(),
		s.pty.Routes(),
		s.watch.Routes(),
	) {
		mux.Handle(route.Pattern, s.handle(route.Handler))
	}
	return mux
}

func (s *Server) unknown(_ http.ResponseWriter, r *http.Request) error {
	return fault.New(fault.NotFound, "not found: no route %s %s", r.Method, r.URL.Path)
}
