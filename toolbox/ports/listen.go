package ports

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"daytona/internal/fault"
)

// listenProtocol is what Listen switches to: lines of JSON.
const listenProtocol = "daytona-listen"

// claimWait is how long an accepted connection waits to be taken.
const claimWait = 30 * time.Second

// waiting are the connections that have been accepted for a client and not yet
// taken by it.
type waiting struct {
	mu    sync.Mutex
	conns map[string]net.Conn
}

const mostWaiting = 256

func (w *waiting) put(conn net.Conn) (id string, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.conns == nil {
		w.conns = map[string]net.Conn{}
	}
	if len(w.conns) >= mostWaiting {
		return "", false
	}
	id = rand.Text()
	w.conns[id] = conn
	time.AfterFunc(claimWait, func() {
		if late := w.take(id); late != nil {
			late.Close()
		}
	})
	return id, true
}

func (w *waiting) take(id string) net.Conn {
	w.mu.Lock()
	defer w.mu.Unlock()
	conn := w.conns[id]
	delete(w.conns, id)
	return conn
}

// Listen answers GET /port/listen?port=N with Upgrade: daytona-listen: it listens
// on a loopback port of the sandbox, any when N is 0, for as long as the
// connection lasts. It says {"port":N} and then, for each connection that comes,
// {"id":"…","from":"…"}, by which Accept takes it.
func (s *Service) Listen(w http.ResponseWriter, r *http.Request) error {
	port, err := strconv.Atoi(r.URL.Query().Get("port"))
	if err != nil || port < 0 || port > 65535 {
		return fault.New(fault.Invalid, "port must be a number between 0 and 65535, not %q", r.URL.Query().Get("port"))
	}
	if !strings.EqualFold(upgrade(r.Header), listenProtocol) {
		return fault.New(fault.Invalid, "%s is a connection: ask for an upgrade to %s", r.URL.Path, listenProtocol)
	}
	listener, err := new(net.ListenConfig).Listen(r.Context(), "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return fault.Wrap(err, fault.Conflict, "cannot listen on port %d: it is in use, or not for this user", port)
	}
	defer listener.Close()
	client, err := s.switchTo(w, listenProtocol)
	if client == nil {
		return err
	}
	defer client.Close()
	go func() {
		_, _ = io.Copy(io.Discard, client) // until the client has gone
		listener.Close()
	}()
	say := json.NewEncoder(client)
	if say.Encode(map[string]int{"port": listener.Addr().(*net.TCPAddr).Port}) != nil {
		return nil
	}
	for {
		conn, err := listener.Accept()
		if err != nil {
			return nil //nolint:nilerr // the client has gone
		}
		id, ok := s.accepted.put(conn)
		if !ok {
			conn.Close()
			continue
		}
		if say.Encode(map[string]string{"id": id, "from": conn.RemoteAddr().String()}) != nil {
			return nil
		}
	}
}

// Accept answers GET /port/listen/accept/{id} with Upgrade: tcp by the bytes of a
// connection that Listen has announced.
func (s *Service) Accept(w http.ResponseWriter, r *http.Request) error {
	if !strings.EqualFold(upgrade(r.Header), tunnelProtocol) {
		return fault.New(fault.Invalid, "%s is a connection: ask for an upgrade to %s", r.URL.Path, tunnelProtocol)
	}
	program := s.accepted.take(r.PathValue("id"))
	if program == nil {
		return fault.New(fault.NotFound, "no such connection waits")
	}
	defer program.Close()
	client, err := s.switchTo(w, tunnelProtocol)
	if client == nil {
		return err
	}
	splice(client, program)
	return nil
}

// switchTo takes the connection of a request over. It is nil without an error
// when the client has gone.
func (s *Service) switchTo(w http.ResponseWriter, protocol string) (*buffered, error) {
	client, from, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, fmt.Errorf("take over the connection: %w", err)
	}
	_, err = io.WriteString(client, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+protocol+"\r\n\r\n")
	if err != nil || client.SetDeadline(time.Time{}) != nil {
		client.Close()
		return nil, nil //nolint:nilerr,nilnil // the client has gone
	}
	return &buffered{client, from.Reader}, nil
}
