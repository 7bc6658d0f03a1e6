//go:build root

package e2e

import "daytona/internal/footprint"

// look takes stock of what belongs to the server on its host.
func look(s *server) (footprint.Footprint, error) { return s.host().Look() }

func (s *server) host() footprint.Server {
	h := footprint.Server{Data: s.dir, CgroupParent: cgroupParent, NetworkPrefix: networkPrefix}
	if s.cmd != nil {
		h.PID = s.cmd.Process.Pid
	}
	return h
}
