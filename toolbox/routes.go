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
			{Pattern: "POST /init", Handler: s.forRunner(s.postInit)},
			{Pattern: "POST /env", Handler: s.forRunner(s.postEnv)},

			{Pattern: "GET /version", Handler: s.getVersion},
			{Pattern: "GET /project-dir", Handler: s.getHome},
			{Pattern: "GET /user-home-dir", Handler: s.getHome},
			{Pattern: "GET /work-dir", Handler: s.getWorkDir},

			{Pattern: "/", Handler: s.unknown},
		},
		s.files.Routes(),
		s.process.Routes(),
		s.git.Routes(),
		s.contexts.Routes(),
		s.ports.Routes(), // and /proxy/{port}/…, before the mux
		s.lsp.Routes(),
		s.pty.Routes(),
		s.watch.Routes(),
		s.session.Routes(),
		s.desktop.Routes(),
	) {
		mux.Handle(route.Pattern, s.handle(route.Handler))
	}
	return mux
}

// forRunner makes a route the runner's own: for clients it is not there.
func (s *Server) forRunner(h wire.Handler) wire.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if r.Header.Get(ForwardedHeader) != "" {
			return s.unknown(w, r)
		}
		return h(w, r)
	}
}

func (s *Server) unknown(_ http.ResponseWriter, r *http.Request) error {
	return fault.New(fault.NotFound, "not found: no route %s %s", r.Method, r.URL.Path)
}
