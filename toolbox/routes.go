package toolbox

import (
	"net/http"

	"daytona/internal/fault"
	"daytona/toolbox/wire"
)

// routes is every route of the toolbox.
func (s *Server) routes() *http.ServeMux {
	mux := http.NewServeMux()
	for _, route := range []struct {
		pattern string
		handler wire.Handler
	}{
		// The runner's own.
		{"POST /init", s.postInit},

		{"GET /version", s.getVersion},
		{"GET /project-dir", s.getHome},
		{"GET /user-home-dir", s.getHome},
		{"GET /work-dir", s.getWorkDir},

		{"GET /files", s.files.List},
		{"GET /files/{$}", s.files.List},
		{"DELETE /files", s.files.Delete},
		{"DELETE /files/{$}", s.files.Delete},
		{"GET /files/download", s.files.Download},
		{"POST /files/bulk-download", s.files.BulkDownload},
		{"GET /files/find", s.files.Find},
		{"GET /files/search", s.files.Search},
		{"GET /files/info", s.files.Info},
		{"POST /files/folder", s.files.CreateFolder},
		{"POST /files/move", s.files.Move},
		{"POST /files/permissions", s.files.Permissions},
		{"POST /files/replace", s.files.Replace},
		{"POST /files/upload", s.files.Upload},
		{"POST /files/upload-v2", s.files.UploadEntry},
		{"POST /files/bulk-upload", s.files.BulkUpload},

		{"POST /process/execute", s.process.Execute},
		{"POST /process/code-run", s.process.CodeRun},

		{"/", s.unknown},
	} {
		mux.Handle(route.pattern, s.handle(route.handler))
	}
	return mux
}

func (s *Server) unknown(_ http.ResponseWriter, r *http.Request) error {
	return fault.New(fault.NotFound, "not found: no route %s %s", r.Method, r.URL.Path)
}
