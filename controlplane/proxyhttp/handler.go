// Package proxyhttp serves proxies that run in processes of their own: proxyapi
// over HTTP, for those that show the proxies' key.
package proxyhttp

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"strconv"
	"strings"
	"sync"
	"time"

	"daytona/api/proxyapi"
	"daytona/internal/fault"
)

// maxAsk bounds the body of a question.
const maxAsk = 64 << 10

type server struct {
	plane   proxyapi.ControlPlane
	key     [sha256.Size]byte
	place   proxyapi.Place
	log     *slog.Logger
	toolbox httputil.ReverseProxy
}

// New returns the handler of everything below proxyapi.WirePrefix.
func New(plane proxyapi.ControlPlane, key string, place proxyapi.Place, log *slog.Logger) http.Handler {
	s := &server{plane: plane, key: sha256.Sum256([]byte(key)), place: place, log: log}
	s.toolbox = httputil.ReverseProxy{
		Rewrite:       func(*httputil.ProxyRequest) {},
		Transport:     s,
		FlushInterval: -1,
		ErrorHandler:  s.refuse,
		ErrorLog:      slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	mux := http.NewServeMux()
	for pattern, h := range map[string]func(http.ResponseWriter, *http.Request) error{
		"GET config":                s.config,
		"POST admit":                s.admit,
		"POST admit-ssh":            s.admitSSH,
		"POST wake/{sandbox}":       s.wake,
		"POST touch/{sandbox}":      s.touch,
		"POST session":              s.session,
		"GET dial/{sandbox}/{port}": s.dial,
	} {
		method, path, _ := strings.Cut(pattern, " ")
		mux.HandleFunc(method+" "+proxyapi.WirePrefix+path, func(w http.ResponseWriter, r *http.Request) {
			if err := h(w, r); err != nil {
				s.refuse(w, r, err)
			}
		})
	}
	mux.HandleFunc(proxyapi.WirePrefix+"toolbox/{sandbox}/", func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex() // HTTP/2 need not
		s.toolbox.ServeHTTP(w, r)
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		given := sha256.Sum256([]byte(r.Header.Get(proxyapi.WireKey)))
		if key == "" || subtle.ConstantTimeCompare(given[:], s.key[:]) != 1 {
			s.refuse(w, r, fault.New(fault.Unauthenticated, "the key is not that of this server's proxies; print it with: daytona admin proxy-key"))
			return
		}
		r.Header.Del(proxyapi.WireKey)
		mux.ServeHTTP(w, r)
	})
}

// refuse answers with a fault.
func (s *server) refuse(w http.ResponseWriter, r *http.Request, err error) {
	said := proxyapi.Refusal{Kind: string(fault.KindOf(err)), Text: "internal error of the server"}
	if f, ok := errors.AsType[*fault.Error](err); ok && f.Kind != fault.Internal {
		said.Text, said.Code = f.Text, f.Code
	} else {
		s.log.Error("proxy not served", "path", r.URL.Path, "error", err)
	}
	status := http.StatusBadGateway // which kind is in the body
	if fault.Is(err, fault.Unauthenticated) {
		status = http.StatusUnauthorized
	}
	w.Header().Set(proxyapi.WireRefused, "1")
	answer(w, status, said)
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the proxy has gone when this fails
}

func read(w http.ResponseWriter, r *http.Request, v any) error {
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxAsk)).Decode(v); err != nil {
		return fault.Wrap(err, fault.Invalid, "the question is malformed: are proxy and server of the same version?")
	}
	return nil
}

func (s *server) config(w http.ResponseWriter, _ *http.Request) error {
	answer(w, http.StatusOK, s.place)
	return nil
}

func (s *server) admit(w http.ResponseWriter, r *http.Request) error {
	var ask proxyapi.Ask
	if err := read(w, r, &ask); err != nil {
		return err
	}
	pass, err := s.plane.Admit(r.Context(), ask)
	if err == nil {
		answer(w, http.StatusOK, pass)
	}
	return err
}

func (s *server) admitSSH(w http.ResponseWriter, r *http.Request) error {
	var ask struct{ Token string }
	if err := read(w, r, &ask); err != nil {
		return err
	}
	pass, err := s.plane.AdmitSSH(r.Context(), ask.Token)
	if err == nil {
		answer(w, http.StatusOK, pass)
	}
	return err
}

func (s *server) wake(w http.ResponseWriter, r *http.Request) error {
	err := s.plane.Wake(r.Context(), r.PathValue("sandbox"))
	if err == nil {
		w.WriteHeader(http.StatusNoContent)
	}
	return err
}

func (s *server) touch(w http.ResponseWriter, r *http.Request) error {
	s.plane.Touch(r.PathValue("sandbox"))
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *server) session(w http.ResponseWriter, r *http.Request) error {
	var ask proxyapi.SessionAsk
	if err := read(w, r, &ask); err != nil {
		return err
	}
	value, until, err := s.plane.Session(r.Context(), ask.Ask, ask.Code, ask.Nonce)
	if err == nil {
		answer(w, http.StatusOK, proxyapi.SessionMade{Value: value, Until: until})
	}
	return err
}

// dialWithin bounds how long a sandbox is dialed.
const dialWithin = 30 * time.Second

// dial connects the caller's connection with a port.
func (s *server) dial(w http.ResponseWriter, r *http.Request) error {
	port, err := strconv.Atoi(r.PathValue("port"))
	if err != nil || port < 1 || port > 65535 {
		return fault.New(fault.Invalid, "port %q is not between 1 and 65535", r.PathValue("port"))
	}
	if !strings.EqualFold(r.Header.Get("Upgrade"), "tcp") || r.ProtoMajor != 1 {
		return fault.New(fault.Invalid, "this is a connection: ask for an upgrade to tcp by HTTP/1.1")
	}
	ctx, cancel := context.WithTimeout(r.Context(), dialWithin)
	inner, err := s.plane.DialPort(ctx, r.PathValue("sandbox"), port)
	cancel()
	if err != nil {
		return err
	}
	defer inner.Close()
	outer, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return err
	}
	defer outer.Close()
	if outer.SetDeadline(time.Time{}) != nil {
		return nil // the proxy has gone
	}
	if _, err := io.WriteString(outer, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"); err != nil {
		return nil //nolint:nilerr // the proxy has gone
	}
	early, err := buffered.Peek(buffered.Reader.Buffered())
	if err == nil && len(early) > 0 {
		_, err = inner.Write(early)
	}
	if err != nil {
		return nil //nolint:nilerr // either has gone
	}
	join(outer, inner)
	return nil
}

// join passes bytes in both directions until both have said all.
func join(a, b net.Conn) {
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{a, b}, {b, a}} {
		both.Go(func() {
			_, err := io.Copy(way[0], way[1])
			half, ok := way[0].(interface{ CloseWrite() error })
			if err != nil || !ok || half.CloseWrite() != nil {
				a.Close()
				b.Close()
			}
		})
	}
	both.Wait()
}

// RoundTrip implements http.RoundTripper, for the toolboxes.
func (s *server) RoundTrip(r *http.Request) (*http.Response, error) {
	id, path, _ := strings.Cut(strings.TrimPrefix(r.URL.EscapedPath(), proxyapi.WirePrefix+"toolbox/"), "/")
	out := r.Clone(r.Context())
	u, err := out.URL.Parse("http://toolbox/" + path)
	if err != nil {
		return nil, fault.New(fault.Invalid, "the path is malformed")
	}
	u.RawQuery = r.URL.RawQuery
	out.URL, out.Host, out.RequestURI = u, u.Host, ""
	res, err := s.plane.RoundTripToolbox(out, id)
	if err == nil {
		res.Header.Del(proxyapi.WireRefused)
	}
	return res, err
}
