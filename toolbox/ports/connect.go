package ports

import (
	"context"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"

	"daytona/internal/fault"
)

// tunnelProtocol is what Connect switches to: the bytes of a TCP connection.
const tunnelProtocol = "tcp"

// Connect answers GET /port/{port}/connect with Upgrade: tcp by connecting to the
// port and passing on the bytes of both directions. Each direction ends by
// itself, as with TCP. Where nobody listens the answer is a 502 that names the
// ports on which somebody does.
func (s *Service) Connect(w http.ResponseWriter, r *http.Request) error {
	port, err := strconv.Atoi(r.PathValue("port"))
	if err != nil || port < 1 || port > 65535 {
		return fault.New(fault.Invalid, "port must be a number between 1 and 65535, not %q", r.PathValue("port"))
	}
	if !strings.EqualFold(upgrade(r.Header), tunnelProtocol) {
		return fault.New(fault.Invalid, "%s is a connection: ask for an upgrade to %s", r.URL.Path, tunnelProtocol)
	}
	program, err := s.dial(r.Context(), port)
	if err != nil {
		s.refuse(w, r, "PORT_NOT_LISTENING", s.nobody(r, port), err)
		return nil
	}
	defer program.Close()
	client, err := s.switchTo(w, tunnelProtocol)
	if client == nil {
		return err
	}
	splice(client, program)
	return nil
}

// buffered is a connection of which a reader may hold the first bytes.
type buffered struct {
	net.Conn
	from io.Reader
}

func (b *buffered) Read(p []byte) (int, error) { return b.from.Read(p) }

// CloseWrite says that nothing more will be sent.
func (b *buffered) CloseWrite() error { return closeWrite(b.Conn) }

// splice passes the bytes of two connections on to each other until both have
// said all, and closes both. A side that breaks off ends the other one; one that
// has merely said all does not.
func splice(a, b net.Conn) {
	both, end := context.WithCancel(context.Background())
	defer end()
	context.AfterFunc(both, func() { a.Close(); b.Close() })
	done := make(chan struct{}, 2)
	pipe := func(to io.Writer, from io.Reader) {
		defer func() { done <- struct{}{} }()
		if _, err := io.Copy(to, from); err != nil || closeWrite(to) != nil {
			end()
		}
	}
	go pipe(a, b)
	go pipe(b, a)
	<-done
	<-done
}

// closeWrite ends one direction of a connection that can be half closed, else
// the connection.
func closeWrite(to io.Writer) error {
	switch c := to.(type) {
	case interface{ CloseWrite() error }:
		return c.CloseWrite()
	case io.Closer:
		return c.Close()
	}
	return nil
}
