//go:build linux

package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/crypto/ssh"

	"daytona/api/proxyapi"
	"daytona/controlplane/httpapi"
	"daytona/internal/version"
	"daytona/proxy/sshgate"
)

// sshOff is the address that turns SSH off, and sshPort the usual port.
const (
	sshOff  = "off"
	sshPort = "2222"
)

// sshGate is where people log in by SSH. Without a listener it is turned off.
type sshGate struct {
	listener net.Listener
	key      ssh.Signer
	address  httpapi.SSHAddress
}

// listenSSH listens beside the server.
func listenSSH(ctx context.Context, s *settings, beside net.Addr, public *url.URL, log *slog.Logger) (*sshGate, error) {
	if s.SSHListen == sshOff {
		return &sshGate{}, nil
	}
	path := s.SSHHostKey
	if path == "" {
		path = filepath.Join(s.Data, "ssh_host_key")
	}
	key, err := sshgate.HostKey(path)
	if err != nil {
		return nil, err
	}
	address := s.SSHListen
	if address == "" {
		host, _, err := net.SplitHostPort(beside.String())
		if err != nil {
			return nil, err
		}
		address = net.JoinHostPort(host, sshPort)
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil && s.SSHListen == "" {
		host, _, _ := net.SplitHostPort(address)
		if listener, err = new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(host, "0")); err == nil {
			log.Warn("port "+sshPort+" is taken: SSH has another port, which changes with each start; choose one with --ssh-listen", "address", listener.Addr().String())
		}
	}
	if err != nil {
		return nil, fmt.Errorf("--ssh-listen: %w", err)
	}
	g := &sshGate{listener: listener, key: key, address: httpapi.SSHAddress{Host: public.Hostname(), Port: listener.Addr().(*net.TCPAddr).Port}}
	if s.SSHHost != "" {
		g.address.Host = s.SSHHost
		if host, port, err := net.SplitHostPort(s.SSHHost); err == nil {
			number, err := strconv.Atoi(port)
			if err != nil {
				return nil, fmt.Errorf("--ssh-host: %q has no valid port", s.SSHHost)
			}
			g.address.Host, g.address.Port = host, number
		}
	}
	g.address.HostKeys = []string{strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key.PublicKey())))}
	g.address.Fingerprints = []string{ssh.FingerprintSHA256(key.PublicKey())}
	log.Info("ssh.ready", "listen", listener.Addr().String(), "fingerprint", g.address.Fingerprints[0])
	return g, nil
}

func (g *sshGate) close() {
	if g.listener != nil {
		_ = g.listener.Close() // it may be closed already
	}
}

// loop serves SSH until its context ends.
func (g *sshGate) loop(plane proxyapi.ControlPlane, s *settings, log *slog.Logger, metrics prometheus.Registerer) func(context.Context) error {
	if g.listener == nil {
		return func(context.Context) error { return nil }
	}
	gateway := sshgate.New(sshgate.Config{
		Plane: plane, HostKey: g.key, Log: log, Metrics: metrics, Version: version.Version, IdleAfter: s.PreviewIdle,
	})
	return func(ctx context.Context) error { return gateway.Serve(ctx, g.listener) }
}
