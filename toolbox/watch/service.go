// Package watch tells clients what changes below a path, as a stream.
package watch

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"daytona/internal/fault"
	"daytona/toolbox/launch"
	"daytona/toolbox/wire"
)

// Config is what a Service needs. A limit that is 0 means its default.
type Config struct {
	Space   *launch.Space
	Dirs    int // directories of one stream; 32768
	Streams int // streams at a time; 16
	Queue   int // events that wait for one client; 8192
	// Stall is how long a client may take none of what is sent; one minute.
	Stall time.Duration
	Log   *slog.Logger
}

// Service answers GET /files/watch.
type Service struct {
	Config
	streams atomic.Int64
}

// New returns a service.
func New(c Config) *Service {
	if c.Dirs == 0 {
		c.Dirs = 32768
	}
	if c.Streams == 0 {
		c.Streams = 16
	}
	if c.Queue == 0 {
		c.Queue = 8192
	}
	if c.Stall == 0 {
		c.Stall = time.Minute
	}
	return &Service{Config: c}
}

// Routes are the routes that the service answers.
func (s *Service) Routes() []wire.Route {
	return []wire.Route{{Pattern: "GET /files/watch", Handler: s.Watch}}
}

// Watch answers GET /files/watch?path&recursive with one Event after the other:
// as text frames when the client asks for a WebSocket, else as lines of JSON.
// The stream ends when the client goes, when the path itself is deleted or
// moved, and when the client takes nothing for too long.
func (s *Service) Watch(w http.ResponseWriter, r *http.Request) error {
	path, recursive, err := s.params(r)
	if err != nil {
		return err
	}
	defer s.streams.Add(-1)
	if s.streams.Add(1) > int64(s.Streams) {
		return fault.New(fault.TooMany, "there are %d watches already. Close one first", s.Streams).WithCode("WATCH_LIMIT")
	}
	events := newQueue(s.Queue)
	watcher, err := watchPath(path, recursive, s.Dirs, events)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	defer func() {
		if err := watcher.close(); err != nil {
			s.Log.Error("watch not closed", "err", err)
		}
		if err := <-ended; err != nil {
			s.Log.Error("watch ended", "path", path, "err", err)
		}
	}()
	go func() { ended <- watcher.run() }()
	if wire.IsUpgrade(r) {
		s.frames(w, r, events)
	} else {
		s.lines(w, r, events)
	}
	return nil
}

func (s *Service) params(r *http.Request) (path string, recursive bool, err error) {
	query := r.URL.Query()
	path = query.Get("path")
	if path == "" {
		return "", false, fault.New(fault.Invalid, "path is required")
	}
	if strings.ContainsRune(path, 0) {
		return "", false, fault.New(fault.Invalid, "path must not contain a NUL byte").WithCode("INVALID_FILE_PATH")
	}
	if text := query.Get("recursive"); text != "" {
		if recursive, err = strconv.ParseBool(text); err != nil {
			return "", false, fault.New(fault.Invalid, "recursive must be true or false, not %q", text)
		}
	}
	return filepath.Clean(s.Space.Dir(path)), recursive, nil
}

// lines sends events as lines of JSON.
func (s *Service) lines(w http.ResponseWriter, r *http.Request, events *queue) {
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no")
	w.WriteHeader(http.StatusOK)
	conn := http.NewResponseController(w)
	_ = s.deliver(r.Context(), events, func(batch []Event) error {
		var text bytes.Buffer
		encode := json.NewEncoder(&text)
		for _, e := range batch {
			if err := encode.Encode(e); err != nil {
				return err
			}
		}
		// Connections without deadlines (of tests) wait as long as they like.
		_ = conn.SetWriteDeadline(time.Now().Add(s.Stall))
		if _, err := w.Write(text.Bytes()); err != nil {
			return err
		}
		return conn.Flush()
	})
	_ = conn.SetWriteDeadline(time.Time{}) // for the next answer on this connection
}

// frames sends events as frames of a WebSocket.
func (s *Service) frames(w http.ResponseWriter, r *http.Request, events *queue) {
	conn, err := wire.Accept(w, r)
	if err != nil {
		s.Log.Debug("no socket", "err", err)
		return
	}
	defer func() { _ = conn.CloseNow() }() // after a proper close it is closed already
	ctx := conn.CloseRead(r.Context())     // nothing is expected, pings are answered
	err = s.deliver(ctx, events, func(batch []Event) error {
		for _, e := range batch {
			if err := s.frame(ctx, conn, e); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		_ = conn.Close(websocket.StatusNormalClosure, "the path is gone")
	}
}

func (s *Service) frame(ctx context.Context, conn *websocket.Conn, e Event) error {
	text, err := json.Marshal(e)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, s.Stall)
	defer cancel()
	return conn.Write(ctx, websocket.MessageText, text)
}

// deliver passes events on as they come. It returns nil when there are no more.
func (s *Service) deliver(ctx context.Context, events *queue, send func([]Event) error) error {
	for {
		select {
		case <-events.ready:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		batch, more := events.take()
		if len(batch) > 0 {
			if err := send(batch); err != nil {
				s.Log.Debug("watch not delivered", "err", err)
				return fmt.Errorf("send changes: %w", err)
			}
		}
		if !more {
			return nil
		}
	}
}
