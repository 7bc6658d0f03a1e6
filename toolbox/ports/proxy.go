package ports

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"daytona/internal/fault"
	"daytona/toolbox/wire"
)

// Prefix begins the paths that Proxy answers.
const Prefix = "/proxy/"

// Proxy answers /proxy/{port}/{path…} with what the program that listens on the
// port answers to /{path…}: every method, bodies as they come in both
// directions, WebSockets too. What is ours in the request's headers is taken
// out. Where nobody listens the answer is a 502 that names the ports on which
// somebody does.
func (s *Service) Proxy(w http.ResponseWriter, r *http.Request) error {
	port, rest, err := target(r.URL.EscapedPath())
	if err != nil {
		return err
	}
	if port == ownPort(r) {
		return fault.New(fault.Forbidden, "port %d is the toolbox's own: call its routes without %s%d", port, Prefix, port)
	}
	inner := "/" + strings.TrimPrefix(rest, "/")
	plain, err := url.PathUnescape(inner)
	if err != nil {
		return fault.New(fault.Invalid, "path is malformed: %s", inner)
	}
	conn, err := s.dial(r.Context(), port)
	if err != nil {
		s.refuse(w, r, "PORT_NOT_LISTENING", s.nobody(r, port), err)
		return nil
	}
	defer conn.Close()
	defer context.AfterFunc(r.Context(), func() { _ = conn.Close() })()

	out := outgoing(r)
	out.Host = "localhost:" + strconv.Itoa(port)
	out.URL = &url.URL{Path: plain, RawPath: inner, RawQuery: r.URL.RawQuery, ForceQuery: r.URL.ForceQuery}
	res, from, err := exchange(w, conn, out)
	if err != nil {
		s.refuse(w, r, "BAD_GATEWAY", fmt.Sprintf("the program that listens on port %d broke off the connection", port), err)
		return nil
	}
	defer func() {
		// In this order: closing the body first would read on to its end.
		conn.Close()
		res.Body.Close()
	}()
	if res.StatusCode == http.StatusSwitchingProtocols {
		if upgrade(r.Header) == "" {
			s.refuse(w, r, "BAD_GATEWAY", fmt.Sprintf("the program that listens on port %d switched to another protocol unasked", port), nil)
			return nil
		}
		return join(w, res, conn, from)
	}
	relocate(res, port, rest)
	pass(w, res)
	return nil
}

// target takes an escaped path /proxy/{port}{rest} apart. rest is empty or begins
// with a slash.
func target(path string) (port int, rest string, err error) {
	path = strings.TrimPrefix(path, Prefix)
	number, _, _ := strings.Cut(path, "/")
	port, err = strconv.Atoi(number)
	if err != nil || port < 1 || port > 65535 {
		return 0, "", fault.New(fault.Invalid, "port must be a number between 1 and 65535, not %q", number)
	}
	return port, path[len(number):], nil
}

// connectWait bounds the wait for a program that listens but does not accept.
const connectWait = 10 * time.Second

// dial connects to whoever listens on a port, at whichever address.
func (s *Service) dial(ctx context.Context, port int) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectWait)
	defer cancel()
	addrs := []netip.AddrPort{
		netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(port)),
		netip.AddrPortFrom(netip.IPv6Loopback(), uint16(port)),
	}
	var errs []error
	for i := 0; i < len(addrs); i++ {
		c, err := new(net.Dialer).DialContext(ctx, "tcp", addrs[i].String())
		if err == nil {
			return c, nil
		}
		errs = append(errs, err)
		if i == 1 {
			// Not on a loopback address: then on one of the sandbox's others.
			all, err := listeners(s.procNet())
			if err != nil {
				errs = append(errs, err)
			}
			for _, l := range all {
				if int(l.Port()) == port && !l.Addr().IsUnspecified() {
					addrs = append(addrs, l)
				}
			}
		}
	}
	return nil, errors.Join(errs...)
}

// refuse answers 502.
func (s *Service) refuse(w http.ResponseWriter, r *http.Request, code, text string, err error) {
	if r.Context().Err() != nil {
		return // the client has gone
	}
	s.log().Debug("request not forwarded", "path", r.URL.Path, "err", err)
	body := wire.Describe(fault.New(fault.Unavailable, "%s", text).WithCode(code), r, time.Now())
	body.StatusCode, body.Reason = http.StatusBadGateway, http.StatusText(http.StatusBadGateway)
	if err := wire.JSON(w, body.StatusCode, body); err != nil {
		s.log().Error("error not shown", "err", err)
	}
}

// nobody says that a port cannot be connected to, and which can.
func (s *Service) nobody(r *http.Request, port int) string {
	open, err := s.open(r)
	switch {
	case err != nil:
		return fmt.Sprintf("nothing listens on port %d", port)
	case len(open) == 0:
		return fmt.Sprintf("nothing listens on port %d, nor on any other", port)
	}
	const most = 50
	var list []string
	for _, p := range open {
		if p == port {
			return fmt.Sprintf("the program that listens on port %d does not accept connections", port)
		}
		list = append(list, strconv.Itoa(p))
	}
	if len(list) > most {
		list = append(list[:most], "…")
	}
	return fmt.Sprintf("nothing listens on port %d. Ports with a listener: %s", port, strings.Join(list, ", "))
}

func (s *Service) log() *slog.Logger {
	if s.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return s.Log
}
