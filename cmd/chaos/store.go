//go:build linux

package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"daytona/e2e/chaos"
	"daytona/internal/objectstore"
	"daytona/internal/objectstore/embedded"
)

const bucket = "chaos"

// store is an S3 that the server reaches through something that fails and lies.
type store struct {
	store  *embedded.Store
	http   *http.Server
	url    string
	config objectstore.S3Config
	mood   atomic.Int32
}

// Moods of a store.
const (
	honest  int32 = iota
	failing       // every request ends with a 503
	hanging       // nothing is answered until the mood is over
	lying         // bytes that are read are not those that were written, and writes are acknowledged that never happened
)

func openStore(ctx context.Context, bin, dir string) (*store, error) {
	program, err := filepath.Abs(filepath.Join(bin, "daytona"))
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	s := &store{store: embedded.New(embedded.Config{Dir: dir, Command: []string{program, "object-store"}, Log: slog.New(slog.DiscardHandler)})}
	s.config = s.store.S3(bucket)
	target, err := url.Parse(s.config.Endpoint)
	if err != nil {
		return nil, err
	}
	if err := objectstore.Create(ctx, s.config); err != nil {
		return nil, errors.Join(err, s.store.Close())
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, errors.Join(err, s.store.Close())
	}
	s.url = "http://" + listener.Addr().String()
	forward := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host // the signature has it
		},
		Transport:      s.config.Client.Transport,
		ModifyResponse: s.twist,
		ErrorLog:       slog.NewLogLogger(slog.DiscardHandler, 0),
	}
	s.http = &http.Server{Handler: s.moody(forward), ReadHeaderTimeout: time.Minute}
	go func() { _ = s.http.Serve(listener) }() // ends with close
	return s, nil
}

func (s *store) close() error { return errors.Join(s.http.Close(), s.store.Close()) }

// faults are the moods that pass.
func (s *store) faults() []chaos.Fault {
	in := func(mood int32) func() (func() error, error) {
		return func() (func() error, error) {
			s.mood.Store(mood)
			return func() error { s.mood.Store(honest); return nil }, nil
		}
	}
	return []chaos.Fault{
		{Name: "object store fails", Begin: in(failing)},
		{Name: "object store hangs", Begin: in(hanging)},
		{Name: "object store lies", Begin: in(lying)},
	}
}

// moody answers as the mood is.
func (s *store) moody(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for s.mood.Load() == hanging {
			select {
			case <-r.Context().Done():
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
		switch mood := s.mood.Load(); {
		case mood == failing:
			http.Error(w, "<Error><Code>SlowDown</Code><Message>not now</Message></Error>", http.StatusServiceUnavailable)
		case mood == lying && r.Method == http.MethodPut:
			_, _ = io.Copy(io.Discard, r.Body) // what else to do with it
			w.Header().Set("ETag", `"00000000000000000000000000000000"`)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// twist turns a bit of what a lying store sends.
func (s *store) twist(r *http.Response) error {
	if s.mood.Load() == lying && r.Request.Method == http.MethodGet && r.StatusCode == http.StatusOK {
		r.Body = &twisted{ReadCloser: r.Body}
	}
	return nil
}

type twisted struct {
	io.ReadCloser
	done bool
}

func (t *twisted) Read(p []byte) (int, error) {
	n, err := t.ReadCloser.Read(p)
	if n > 0 && !t.done {
		p[n/2] ^= 1
		t.done = true
	}
	return n, err
}
