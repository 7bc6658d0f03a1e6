// Package sshgate lets people log in to sandboxes by SSH, with a token for a user
// name: shells, commands, SFTP, and forwarding of ports in both directions.
//
// It ends SSH here; what runs in the sandbox knows nothing of it. Agents are not
// forwarded: a program in a sandbox must not get to use anybody's keys.
package sshgate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/crypto/ssh"

	"daytona/api/proxyapi"
	"daytona/internal/fault"
	"daytona/proxy/activity"
)

// Config is what a Gateway needs.
type Config struct {
	Plane   proxyapi.ControlPlane
	HostKey ssh.Signer
	Log     *slog.Logger
	Metrics prometheus.Registerer // nil is nowhere
	Version string
	// IdleAfter is how long a login without data counts as activity. Defaults to
	// 15 minutes.
	IdleAfter time.Duration
	// WakeWithin is how long a login waits for a sandbox that it woke. Defaults
	// to a minute.
	WakeWithin time.Duration
	// CheckEvery is how often a login asks whether its token was revoked, and ends
	// if so. Defaults to 15 seconds.
	CheckEvery time.Duration
	// MaxConns is how many connections there may be at a time, 2048 by default.
	MaxConns int
}

// Gateway serves SSH.
type Gateway struct {
	Config
	server *ssh.ServerConfig
	open   prometheus.Gauge

	mu    sync.Mutex
	conns map[net.Conn]struct{}
	all   sync.WaitGroup
}

// Limits on what strangers can make us hold.
const (
	handshakeWait = 20 * time.Second
	mostChannels  = 128 // of one connection at a time
)

// New returns a Gateway.
func New(c Config) *Gateway {
	c.IdleAfter = cmp.Or(c.IdleAfter, 15*time.Minute)
	c.WakeWithin = cmp.Or(c.WakeWithin, time.Minute)
	c.CheckEvery = cmp.Or(c.CheckEvery, 15*time.Second)
	c.MaxConns = cmp.Or(c.MaxConns, 2048)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	g := &Gateway{Config: c, conns: map[net.Conn]struct{}{}}
	g.open = prometheus.NewGauge(prometheus.GaugeOpts{Name: "daytona_ssh_connections_open", Help: "Logins by SSH at present."})
	if c.Metrics != nil {
		c.Metrics.MustRegister(g.open)
	}
	g.server = &ssh.ServerConfig{
		ServerVersion: "SSH-2.0-Daytona",
		MaxAuthTries:  6,
		// The token is the user's name. Whatever else a client offers proves
		// nothing, and is taken only because some offer nothing less.
		NoClientAuth:         true,
		NoClientAuthCallback: g.admit,
		PasswordCallback:     func(m ssh.ConnMetadata, _ []byte) (*ssh.Permissions, error) { return g.admit(m) },
		PublicKeyCallback:    func(m ssh.ConnMetadata, _ ssh.PublicKey) (*ssh.Permissions, error) { return g.admit(m) },
	}
	g.server.AddHostKey(c.HostKey)
	return g
}

const passKey = "pass"

// admit checks the token that is the user's name.
func (g *Gateway) admit(m ssh.ConnMetadata) (*ssh.Permissions, error) {
	ctx, cancel := context.WithTimeout(context.Background(), handshakeWait)
	defer cancel()
	pass, err := g.Plane.AdmitSSH(ctx, m.User())
	if err == nil {
		return &ssh.Permissions{ExtraData: map[any]any{passKey: pass}}, nil
	}
	text := "The server cannot check the token at the moment. Try again later"
	if fault.Is(err, fault.NotFound) {
		text = "The token is unknown or has expired. Ask for another one"
	}
	return nil, &ssh.BannerError{Err: err, Message: "daytona: " + text + ".\r\n"}
}

// Serve accepts connections until ctx ends, and then ends those that are open.
func (g *Gateway) Serve(ctx context.Context, l net.Listener) error {
	stop := context.AfterFunc(ctx, func() {
		l.Close()
		g.mu.Lock()
		defer g.mu.Unlock()
		for conn := range g.conns {
			conn.Close()
		}
	})
	defer stop()
	defer g.all.Wait()
	pause := time.Duration(0)
	for {
		conn, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			if errors.Is(err, net.ErrClosed) {
				return err
			}
			// Out of descriptors, say: it gets better when somebody leaves.
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			g.Log.Warn("no SSH connection accepted", "error", err)
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
			continue
		}
		pause = 0
		if !g.enter(ctx, conn) {
			conn.Close()
			continue
		}
		g.all.Go(func() {
			defer g.leave(conn)
			g.handle(ctx, conn)
		})
	}
}

func (g *Gateway) enter(ctx context.Context, conn net.Conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.conns) >= g.MaxConns || ctx.Err() != nil {
		return false
	}
	g.conns[conn] = struct{}{}
	g.open.Inc()
	return true
}

func (g *Gateway) leave(conn net.Conn) {
	conn.Close()
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.conns, conn)
	g.open.Dec()
}

// login is one connection of somebody who was let in.
type login struct {
	*Gateway
	ctx   context.Context
	conn  *ssh.ServerConn
	pass  proxyapi.Pass
	meter *activity.Meter
	log   *slog.Logger
}

func (g *Gateway) handle(ctx context.Context, raw net.Conn) {
	if raw.SetDeadline(time.Now().Add(handshakeWait)) != nil {
		return
	}
	conn, channels, requests, err := ssh.NewServerConn(raw, g.server)
	if err != nil {
		g.Log.Debug("no login by SSH", "from", raw.RemoteAddr(), "error", err)
		return
	}
	defer func() { _ = conn.Close() }() // it may be closed already
	if raw.SetDeadline(time.Time{}) != nil {
		return
	}
	pass, ok := conn.Permissions.ExtraData[passKey].(proxyapi.Pass)
	if !ok {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		_ = conn.Wait()
		cancel()
	}()
	l := &login{Gateway: g, ctx: ctx, conn: conn, pass: pass, log: g.Log.With("sandbox", pass.SandboxID, "from", raw.RemoteAddr())}
	l.log.Info("login by SSH", "client", string(conn.ClientVersion()))
	go l.watch()
	ready := l.ready()
	if ready == nil {
		meter, stop := activity.Watch(func() { g.Plane.Touch(pass.SandboxID) }, g.IdleAfter)
		defer stop()
		l.meter = meter
	}
	l.serve(channels, requests, ready)
	l.log.Info("SSH connection ended")
}

// watch ends the login when its token is revoked. One that expires, or that
// another takes the place of, lets nobody in any more, and throws nobody out.
func (l *login) watch() {
	tick := time.NewTicker(l.CheckEvery)
	defer tick.Stop()
	for {
		select {
		case <-l.ctx.Done():
			return
		case <-tick.C:
		}
		ctx, cancel := context.WithTimeout(l.ctx, handshakeWait)
		_, err := l.Plane.AdmitSSH(ctx, l.conn.User())
		cancel()
		if f, ok := errors.AsType[*fault.Error](err); ok && f.Code == proxyapi.CodeRevoked {
			l.log.Info("login by SSH ended: its token was revoked")
			_ = l.conn.Close() // it may be closed already
			return
		}
	}
}

// ready says why a sandbox cannot be used, if it cannot. One whose owner wants
// that is started.
func (l *login) ready() error {
	if l.pass.State == proxyapi.Started {
		return nil
	}
	if l.pass.AutoWake {
		ctx, cancel := context.WithTimeout(l.ctx, l.WakeWithin)
		defer cancel()
		return l.Plane.Wake(ctx, l.pass.SandboxID)
	}
	text := "The sandbox is not running: it is " + strings.ReplaceAll(l.pass.State, "_", " ")
	if l.pass.Why != "" {
		text += " (" + l.pass.Why + ")"
	}
	return fault.New(fault.Unavailable, "%s. Start it and log in again", text)
}

// serve answers the client's wishes until the connection ends. Where the sandbox
// is not ready each is answered with the reason.
func (l *login) serve(channels <-chan ssh.NewChannel, requests <-chan *ssh.Request, notReady error) {
	var all sync.WaitGroup
	defer all.Wait()
	f := &forwards{login: l, open: map[string]context.CancelFunc{}}
	all.Go(func() { f.serve(requests, notReady) })
	places := make(chan struct{}, mostChannels)
	for asked := range channels {
		select {
		case places <- struct{}{}:
		default:
			_ = asked.Reject(ssh.ResourceShortage, fmt.Sprintf("no more than %d channels at a time", mostChannels))
			continue
		}
		all.Go(func() {
			defer func() { <-places }()
			switch asked.ChannelType() {
			case "session":
				l.session(asked, notReady)
			case "direct-tcpip":
				l.direct(asked, notReady)
			default:
				_ = asked.Reject(ssh.UnknownChannelType, "not offered")
			}
		})
	}
}

// textOf is what a person may read of an error.
func textOf(err error) string {
	if f, ok := errors.AsType[*fault.Error](err); ok && f.Kind != fault.Internal {
		return f.Text
	}
	return "the sandbox cannot be reached"
}
