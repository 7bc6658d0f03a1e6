package sshgate

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/url"
	"strconv"
	"sync"

	"golang.org/x/crypto/ssh"

	"daytona/api/proxyapi"
)

// local reports that a host is the sandbox itself.
func local(host string) bool {
	if host == "localhost" || host == "" || host == "0.0.0.0" || host == "::" || host == "*" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// direct connects to a port of the sandbox for the client.
func (l *login) direct(asked ssh.NewChannel, notReady error) {
	var p struct {
		Host       string
		Port       uint32
		OriginHost string
		OriginPort uint32
	}
	switch {
	case ssh.Unmarshal(asked.ExtraData(), &p) != nil:
		_ = asked.Reject(ssh.ConnectionFailed, "malformed")
		return
	case notReady != nil:
		_ = asked.Reject(ssh.ConnectionFailed, textOf(notReady))
		return
	case !local(p.Host) && p.Host != l.pass.SandboxID:
		_ = asked.Reject(ssh.Prohibited, "only ports of the sandbox itself, at localhost, can be reached")
		return
	case p.Port == proxyapi.ToolboxPort:
		_ = asked.Reject(ssh.Prohibited, "this port is the sandbox's own")
		return
	}
	conn, err := l.Plane.DialPort(l.ctx, l.pass.SandboxID, int(p.Port))
	if err != nil {
		_ = asked.Reject(ssh.ConnectionFailed, textOf(err))
		return
	}
	l.join(asked, conn)
}

// join passes the bytes of a connection on to a channel and back, until both have
// said all.
func (l *login) join(asked ssh.NewChannel, conn io.ReadWriteCloser) {
	channel, requests, err := asked.Accept()
	if err != nil {
		conn.Close()
		return
	}
	go ssh.DiscardRequests(requests)
	l.splice(channel, conn)
}

func (l *login) splice(channel ssh.Channel, conn io.ReadWriteCloser) {
	ctx, cancel := context.WithCancel(l.ctx)
	defer cancel()
	context.AfterFunc(ctx, func() { _ = channel.Close(); _ = conn.Close() })
	var both sync.WaitGroup
	both.Go(func() {
		if !l.copy(conn, channel) {
			cancel()
			return
		}
		if half, ok := conn.(interface{ CloseWrite() error }); !ok || half.CloseWrite() != nil {
			cancel()
		}
	})
	both.Go(func() {
		if !l.copy(channel, conn) || channel.CloseWrite() != nil {
			cancel()
		}
	})
	both.Wait()
}

// copy reports whether it came to the end.
func (l *login) copy(to io.Writer, from io.Reader) bool {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			l.meter.Note()
			if _, werr := to.Write(buf[:n]); werr != nil {
				return false
			}
		}
		if err != nil {
			return err == io.EOF //nolint:errorlint // readers give it bare
		}
	}
}

// forwards are the ports of the sandbox at which the client has us listen.
type forwards struct {
	*login
	mu   sync.Mutex
	open map[string]context.CancelFunc // by the address that was asked for
}

// mostForwards bounds them.
const mostForwards = 64

// serve answers the requests of a connection.
func (f *forwards) serve(requests <-chan *ssh.Request, notReady error) {
	var all sync.WaitGroup
	defer all.Wait()
	for r := range requests {
		switch r.Type {
		case "tcpip-forward", "cancel-tcpip-forward":
			var p struct {
				Host string
				Port uint32
			}
			if notReady != nil || ssh.Unmarshal(r.Payload, &p) != nil || p.Port > 65535 {
				f.reply(r, false, nil)
				continue
			}
			if r.Type == "cancel-tcpip-forward" {
				f.reply(r, f.cancel(p.Host, p.Port), nil)
				continue
			}
			f.begin(&all, r, p.Host, p.Port)
		default: // keepalives among them, which want any answer
			f.reply(r, false, nil)
		}
	}
	f.mu.Lock()
	for _, end := range f.open {
		end()
	}
	f.mu.Unlock()
}

func (f *forwards) reply(r *ssh.Request, ok bool, payload []byte) {
	if r.WantReply {
		_ = r.Reply(ok, payload) // the client has gone when this fails
	}
}

func key(host string, port uint32) string { return net.JoinHostPort(host, strconv.Itoa(int(port))) }

func (f *forwards) cancel(host string, port uint32) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	end, ok := f.open[key(host, port)]
	if ok {
		end()
		delete(f.open, key(host, port))
	}
	return ok
}

// begin listens in the sandbox, on loopback alone whatever was asked for.
func (f *forwards) begin(all *sync.WaitGroup, r *ssh.Request, host string, port uint32) {
	f.mu.Lock()
	full := len(f.open) >= mostForwards
	f.mu.Unlock()
	if full {
		f.reply(r, false, nil)
		return
	}
	stream, err := f.upgrade("/port/listen?"+url.Values{"port": {strconv.Itoa(int(port))}}.Encode(), "daytona-listen")
	if err != nil {
		f.log.Debug("port not forwarded", "port", port, "error", err)
		f.reply(r, false, nil)
		return
	}
	said := json.NewDecoder(bufio.NewReader(stream))
	var first struct{ Port uint32 }
	if said.Decode(&first) != nil || first.Port == 0 {
		stream.Close()
		f.reply(r, false, nil)
		return
	}
	ctx, end := context.WithCancel(f.ctx)
	context.AfterFunc(ctx, func() { stream.Close() })
	f.mu.Lock()
	f.open[key(host, first.Port)] = end
	f.mu.Unlock()
	var payload []byte
	if port == 0 {
		payload = ssh.Marshal(struct{ Port uint32 }{first.Port})
	}
	f.reply(r, true, payload)
	all.Go(func() {
		defer f.cancel(host, first.Port)
		for {
			var came struct{ ID, From string }
			if said.Decode(&came) != nil {
				return
			}
			all.Go(func() { f.accepted(host, first.Port, came.ID, came.From) })
		}
	})
}

// accepted hands a connection that came in the sandbox to the client.
func (f *forwards) accepted(host string, port uint32, id, from string) {
	conn, err := f.upgrade("/port/listen/accept/"+url.PathEscape(id), "tcp")
	if err != nil {
		return
	}
	origin, number, _ := net.SplitHostPort(from)
	originPort, _ := strconv.ParseUint(number, 10, 16)
	channel, requests, err := f.conn.OpenChannel("forwarded-tcpip", ssh.Marshal(struct {
		Host       string
		Port       uint32
		OriginHost string
		OriginPort uint32
	}{host, port, origin, uint32(originPort)}))
	if err != nil {
		conn.Close()
		return
	}
	go ssh.DiscardRequests(requests)
	f.splice(channel, conn)
}
