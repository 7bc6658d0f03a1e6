package ports

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

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
	client, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return fmt.Errorf("take over the connection: %w", err)
	}
	defer client.Close()
	if client.SetDeadline(time.Time{}) != nil {
		return nil // the client has gone
	}
	if _, err := io.WriteString(client, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+tunnelProtocol+"\r\n\r\n"); err != nil {
		return nil //nolint:nilerr // the client has gone
	}
	// A side that breaks off ends the other one; one that has merely said all
	// does not.
	both, end := context.WithCancel(context.Background())
	defer end()
	context.AfterFunc(both, func() { client.Close(); program.Close() })
	done := make(chan struct{}, 2)
	pipe := func(to io.Writer, from io.Reader) {
		defer func() { done <- struct{}{} }()
		if _, err := io.Copy(to, from); err != nil || closeWrite(to) != nil {
			end()
		}
	}
	go pipe(program, buffered.Reader)
	go pipe(client, program)
	<-done
	<-done
	return nil
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
