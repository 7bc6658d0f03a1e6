package runner

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path"
	"strconv"
	"syscall"
	"time"

	"daytona/api/runnerapi"
	"daytona/internal/fault"
)

// dialWait bounds the wait for a program that listens but does not accept.
const dialWait = 10 * time.Second

// DialPort implements runnerapi.Runner. Most programs listen on the address at
// which the host reaches the sandbox; those that listen on loopback alone are
// reached through the toolbox.
func (r *Runner) DialPort(ctx context.Context, id string, port int) (net.Conn, error) {
	if port < 1 || port > 65535 {
		return nil, fault.New(fault.Invalid, "port %d is not between 1 and 65535", port)
	}
	l, err := r.linkOf(id)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, dialWait)
	defer cancel()
	conn, err := l.dial(ctx, port)
	if err == nil {
		return conn, nil
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return nil, r.whyUnreachable(id, err)
	}
	return l.connect(ctx, port)
}

// connect asks the toolbox to connect to a port, and returns the connection.
func (l *link) connect(ctx context.Context, port int) (net.Conn, error) {
	conn, err := l.dial(ctx, toolboxPort)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	from, err := l.handshake(conn, "/port/"+strconv.Itoa(port)+"/connect")
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return &tunnel{conn, from}, nil
}

// handshake asks for an upgrade of a connection to the toolbox. What follows is
// to be read from the reader.
func (l *link) handshake(conn net.Conn, path string) (*bufio.Reader, error) {
	_, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: toolbox\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n%s: %s\r\n\r\n", path, tokenHeader, l.token)
	if err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "the sandbox's toolbox cannot be reached")
	}
	from := bufio.NewReader(conn)
	res, err := http.ReadResponse(from, nil)
	if err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "the sandbox's toolbox cannot be reached")
	}
	if res.StatusCode == http.StatusSwitchingProtocols {
		return from, nil
	}
	defer res.Body.Close()
	var said struct{ Message, Code string }
	data, _ := io.ReadAll(io.LimitReader(res.Body, 64<<10)) // what there is of it
	if json.Unmarshal(data, &said) == nil && said.Code == runnerapi.CodeNotListening {
		return nil, fault.New(fault.Upstream, "%s", said.Message).WithCode(said.Code)
	}
	return nil, fault.Wrap(fmt.Errorf("%s: %s: %.300s", path, res.Status, data), fault.Unavailable, "the sandbox's toolbox did not connect to the port")
}

// tunnel is a connection of which a reader may hold the first bytes.
type tunnel struct {
	net.Conn
	from *bufio.Reader
}

func (t *tunnel) Read(b []byte) (int, error) { return t.from.Read(b) }

// CloseWrite says that nothing more will be sent.
func (t *tunnel) CloseWrite() error {
	if c, ok := t.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return t.Close()
}

// RoundTripToolbox implements runnerapi.Runner.
func (r *Runner) RoundTripToolbox(req *http.Request, id string) (*http.Response, error) {
	l, err := r.linkOf(id)
	if err != nil {
		return nil, err
	}
	switch path.Clean("/" + req.URL.Path) {
	case routeInit, routeEnv:
		return nil, fault.New(fault.NotFound, "not found: no route %s %s", req.Method, req.URL.Path)
	}
	out := req.Clone(req.Context())
	out.URL.Scheme, out.URL.Host, out.Host = "http", "toolbox", "toolbox"
	stripCredentials(out)
	out.Header.Set(tokenHeader, l.token)
	out.Header.Set(forwardedHeader, "1")
	res, err := watched{l, r.probes}.RoundTrip(out)
	if err != nil {
		return nil, r.whyUnreachable(id, err)
	}
	return res, nil
}
