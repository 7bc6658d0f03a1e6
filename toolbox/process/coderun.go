package process

import (
	"net/http"

	"daytona/internal/fault"
)

// CodeRun answers POST /process/code-run.
func (s *Service) CodeRun(w http.ResponseWriter, r *http.Request) error {
	return fault.New(fault.Unavailable, "not yet")
}
