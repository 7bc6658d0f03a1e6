// Package ports tells on which TCP ports programs of the sandbox listen, and
// forwards requests to them.
//
// The kernel is asked when a client asks: nothing is watched in between.
package ports

import (
	"log/slog"
	"net"
	"net/http"
	"strconv"

	"daytona/internal/fault"
	"daytona/toolbox/wire"
)

// Service answers the routes below /port and /proxy. The zero value is ready.
type Service struct {
	// ProcNet holds the kernel's tables of sockets. Defaults to /proc/net.
	ProcNet string
	Log     *slog.Logger // defaults to none

	accepted waiting
}

// Routes are the routes that the service answers, without Proxy: paths below
// /proxy belong to the program that they are passed to, and a mux would tidy
// them up.
func (s *Service) Routes() []wire.Route {
	return []wire.Route{
		{Pattern: "GET /port", Handler: s.List},
		{Pattern: "GET /port/{port}/in-use", Handler: s.InUse},
		{Pattern: "GET /port/{port}/connect", Handler: s.Connect},
		{Pattern: "GET /port/listen", Handler: s.Listen},
		{Pattern: "GET /port/listen/accept/{id}", Handler: s.Accept},
	}
}

// List answers GET /port: {"ports":[3000,8080]}, in ascending order, without
// the port at which the toolbox itself was asked.
func (s *Service) List(w http.ResponseWriter, r *http.Request) error {
	open, err := s.open(r)
	if err != nil {
		return err
	}
	return wire.JSON(w, http.StatusOK, struct {
		Ports []int `json:"ports"`
	}{open})
}

// The ports that may be asked about one by one.
const (
	lowest  = 3000
	highest = 9999
)

// InUse answers GET /port/{port}/in-use: {"isInUse":true}.
func (s *Service) InUse(w http.ResponseWriter, r *http.Request) error {
	port, err := strconv.Atoi(r.PathValue("port"))
	if err != nil || port < lowest || port > highest {
		return fault.New(fault.Invalid, "port must be a number between %d and %d, not %q", lowest, highest, r.PathValue("port"))
	}
	all, err := listeners(s.procNet())
	if err != nil {
		return err
	}
	used := false
	for _, l := range all {
		used = used || int(l.Port()) == port
	}
	return wire.JSON(w, http.StatusOK, struct {
		IsInUse bool `json:"isInUse"`
	}{used})
}

// open returns the ports on which somebody else than this server listens.
func (s *Service) open(r *http.Request) ([]int, error) {
	all, err := listeners(s.procNet())
	if err != nil {
		return nil, err
	}
	return numbers(all, ownPort(r)), nil
}

func (s *Service) procNet() string {
	if s.ProcNet == "" {
		return "/proc/net"
	}
	return s.ProcNet
}

// ownPort is the TCP port at which the request arrived; 0 when it came another
// way.
func ownPort(r *http.Request) int {
	if addr, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr); ok {
		return addr.Port
	}
	return 0
}
