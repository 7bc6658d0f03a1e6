// Package remote reaches the control plane of a server elsewhere, for a proxy
// that runs in a process of its own.
package remote

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"daytona/api/proxyapi"
	"daytona/internal/fault"
)

// Config says which server, and by what key it knows its proxies.
type Config struct {
	Server *url.URL // origin
	Key    string
	TLS    *tls.Config // nil is the usual
	Log    *slog.Logger
}

// Plane implements proxyapi.ControlPlane.
type Plane struct {
	Config
	client *http.Client
	signIn string

	mu      sync.Mutex
	touched map[string]time.Time
	calls   sync.WaitGroup
}

// Limits on what the server takes to answer.
const (
	askWithin = 30 * time.Second
	maxAnswer = 1 << 20
)

// Open asks the server where it is, and so whether the key is right.
func Open(ctx context.Context, c Config) (*Plane, proxyapi.Place, error) {
	p := &Plane{Config: c, touched: map[string]time.Time{}, client: &http.Client{Transport: &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSClientConfig: c.TLS, MaxIdleConnsPerHost: 256, IdleConnTimeout: 90 * time.Second, ForceAttemptHTTP2: false,
		DisableCompression: true, ResponseHeaderTimeout: 0,
	}}}
	var place proxyapi.Place
	if err := p.ask(ctx, http.MethodGet, "config", nil, &place); err != nil {
		return nil, place, err
	}
	p.signIn = place.SignIn
	return p, place, nil
}

// Close ends the connections that nobody uses.
func (p *Plane) Close() {
	p.calls.Wait()
	p.client.CloseIdleConnections()
}

func (p *Plane) request(ctx context.Context, method, path string, body io.Reader) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, method, p.Server.JoinPath(proxyapi.WirePrefix, path).String(), body)
	if err == nil {
		r.Header.Set(proxyapi.WireKey, p.Key)
	}
	return r, err
}

// ask sends a question, and decodes the answer unless out is nil.
func (p *Plane) ask(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(data)
	}
	r, err := p.request(ctx, method, path, body)
	if err != nil {
		return err
	}
	res, err := p.client.Do(r)
	if err != nil {
		return unreachable(err)
	}
	defer res.Body.Close()
	if err := refusal(res); err != nil || out == nil {
		return err
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, maxAnswer)).Decode(out); err != nil {
		return fault.Wrap(err, fault.Unavailable, "The server's answer cannot be understood")
	}
	return nil
}

func unreachable(err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	return fault.Wrap(err, fault.Unavailable, "The server cannot be reached at the moment. Try again later")
}

// refusal is the fault with which the server answered, if it did.
func refusal(res *http.Response) error {
	if res.Header.Get(proxyapi.WireRefused) == "" {
		if res.StatusCode < 300 {
			return nil
		}
		return fault.New(fault.Unavailable, "The server answers a proxy with %s: is it the address of the server, and as new as the proxy?", res.Status)
	}
	var said proxyapi.Refusal
	if err := json.NewDecoder(io.LimitReader(res.Body, maxAnswer)).Decode(&said); err != nil {
		return fault.Wrap(err, fault.Unavailable, "The server's answer cannot be understood")
	}
	return fault.New(fault.Kind(cmp.Or(said.Kind, string(fault.Internal))), "%s", said.Text).WithCode(said.Code)
}

// Admit implements proxyapi.ControlPlane.
func (p *Plane) Admit(ctx context.Context, ask proxyapi.Ask) (pass proxyapi.Pass, err error) {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	return pass, p.ask(ctx, http.MethodPost, "admit", ask, &pass)
}

// AdmitSSH implements proxyapi.ControlPlane.
func (p *Plane) AdmitSSH(ctx context.Context, token string) (pass proxyapi.Pass, err error) {
	return pass, p.ask(ctx, http.MethodPost, "admit-ssh", map[string]string{"token": token}, &pass)
}

// Wake implements proxyapi.ControlPlane.
func (p *Plane) Wake(ctx context.Context, sandboxID string) error {
	return p.ask(ctx, http.MethodPost, "wake/"+url.PathEscape(sandboxID), nil, nil)
}

// touchEvery is how often the server is told of one sandbox, at most.
const touchEvery = 5 * time.Second

// Touch implements proxyapi.ControlPlane. It does not wait.
func (p *Plane) Touch(sandboxID string) {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if now.Sub(p.touched[sandboxID]) < touchEvery {
		return
	}
	if len(p.touched) > 10_000 {
		clear(p.touched)
	}
	p.touched[sandboxID] = now
	p.calls.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), askWithin)
		defer cancel()
		if err := p.ask(ctx, http.MethodPost, "touch/"+url.PathEscape(sandboxID), nil, nil); err != nil {
			p.Log.Debug("activity not told", "sandbox", sandboxID, "error", err)
		}
	})
}

// Session implements proxyapi.ControlPlane.
func (p *Plane) Session(ctx context.Context, ask proxyapi.Ask, code, nonce string) (string, time.Time, error) {
	var made proxyapi.SessionMade
	err := p.ask(ctx, http.MethodPost, "session", proxyapi.SessionAsk{Ask: ask, Code: code, Nonce: nonce}, &made)
	return made.Value, made.Until, err
}

// SignIn implements proxyapi.ControlPlane.
func (p *Plane) SignIn(back, nonce string) string { return proxyapi.SignInAt(p.signIn, back, nonce) }

// DialPort implements proxyapi.ControlPlane.
func (p *Plane) DialPort(ctx context.Context, sandboxID string, port int) (net.Conn, error) {
	conn, err := p.dialServer(ctx)
	if err != nil {
		return nil, unreachable(err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })
	out, err := p.upgrade(ctx, conn, "dial/"+url.PathEscape(sandboxID)+"/"+strconv.Itoa(port))
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		conn.Close()
		if _, ok := errors.AsType[*fault.Error](err); !ok {
			err = unreachable(err)
		}
		return nil, err
	}
	return out, nil
}

func (p *Plane) dialServer(ctx context.Context) (net.Conn, error) {
	port := p.Server.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[p.Server.Scheme]
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(p.Server.Hostname(), port))
	if err != nil || p.Server.Scheme != "https" {
		return conn, err
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if p.TLS != nil {
		c = p.TLS.Clone()
	}
	c.ServerName, c.NextProtos = cmp.Or(c.ServerName, p.Server.Hostname()), []string{"http/1.1"}
	secure := tls.Client(conn, c)
	if err := secure.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	return secure, nil
}

func (p *Plane) upgrade(ctx context.Context, conn net.Conn, path string) (net.Conn, error) {
	r, err := p.request(ctx, http.MethodGet, path, nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Connection", "Upgrade")
	r.Header.Set("Upgrade", "tcp")
	if err := r.Write(conn); err != nil {
		return nil, err
	}
	from := bufio.NewReader(conn)
	res, err := http.ReadResponse(from, r)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusSwitchingProtocols {
		defer res.Body.Close()
		if err := refusal(res); err != nil {
			return nil, err
		}
		return nil, fmt.Errorf("the server does not connect: %s", res.Status)
	}
	if from.Buffered() == 0 {
		return conn, nil
	}
	return &ahead{conn, from}, nil
}

// ahead is a connection of which some bytes have been read already.
type ahead struct {
	net.Conn
	from *bufio.Reader
}

// Read implements net.Conn.
func (c *ahead) Read(b []byte) (int, error) { return c.from.Read(b) }

// CloseWrite says that nothing more will be sent.
func (c *ahead) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Close()
}

// RoundTripToolbox implements proxyapi.ControlPlane.
func (p *Plane) RoundTripToolbox(r *http.Request, sandboxID string) (*http.Response, error) {
	out := r.Clone(r.Context())
	path := r.URL.EscapedPath()
	u, err := url.Parse(p.Server.Scheme + "://" + p.Server.Host + proxyapi.WirePrefix + "toolbox/" + url.PathEscape(sandboxID) + "/" + strings.TrimPrefix(path, "/"))
	if err != nil {
		return nil, fault.New(fault.Invalid, "the path is malformed")
	}
	u.RawQuery = r.URL.RawQuery
	out.URL, out.Host, out.RequestURI = u, "", ""
	out.Header.Set(proxyapi.WireKey, p.Key)
	res, err := p.client.Transport.RoundTrip(out)
	if err != nil {
		return nil, unreachable(err)
	}
	if res.Header.Get(proxyapi.WireRefused) != "" {
		defer res.Body.Close()
		return nil, refusal(res)
	}
	return res, nil
}
