package session

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strconv"
	"syscall"
	"time"

	"github.com/coder/websocket"

	"daytona/internal/fault"
	"daytona/toolbox/wire"
)

const (
	frameLimit = 1024             // bytes of a WebSocket frame
	chunkLimit = 32 << 10         // bytes of a chunk of a followed HTTP body
	quiet      = time.Second      // how long a process that outlives its command may be silent before followers are let go
	goodbye    = 10 * time.Second // for the closing handshake
)

// source is a log to be read: of a command of this run, or of an earlier one.
type source struct {
	open   func() (*reader, error)
	extent func(wait bool) extent
}

func (c *command) source() source { return source{c.read, c.out.extent} }

// pastSource is the log of a command of an earlier run. Its extent is that of
// the files.
func (s *Service) pastSource(session, id string) (source, error) {
	open := func() (*reader, error) { return s.store.read(dirName(session), id) }
	r, err := open()
	if err != nil {
		return source{}, logFault(err)
	}
	defer r.done()
	e := extent{over: true}
	if info, err := r.data.Stat(); err == nil {
		e.size = info.Size()
	}
	if info, err := r.index.Stat(); err == nil {
		e.records = info.Size() / recordSize
	}
	return source{open, func(bool) extent { return e }}, nil
}

// logFault says why a log cannot be read.
func logFault(err error) error {
	if _, ok := errors.AsType[*fs.PathError](err); ok && !errors.Is(err, syscall.EMFILE) {
		return fault.Wrap(err, fault.Gone, "gone: the log has been removed from the sandbox's disk, or replaced")
	}
	return fmt.Errorf("open log: %w", err)
}

// logs answers GET /process/session/{session}/command/{command}/logs.
func (s *Service) logs(w http.ResponseWriter, r *http.Request) error {
	id, command := r.PathValue("session"), r.PathValue("command")
	c, err := s.command(id, command)
	if err != nil {
		return err
	}
	if c != nil {
		return s.showLog(w, r, c.source())
	}
	if _, err := s.pastCommand(id, command); err != nil {
		return err
	}
	src, err := s.pastSource(id, command)
	if err != nil {
		return err
	}
	return s.showLog(w, r, src)
}

// showLog answers with a log in the way that the client asks for.
func (s *Service) showLog(w http.ResponseWriter, r *http.Request, src source) error {
	form := formatOf(wire.DialectOf(r), r.Header)
	// Whatever is no boolean means no.
	follow, _ := strconv.ParseBool(r.URL.Query().Get("follow"))
	switch {
	case wire.IsUpgrade(r):
		return s.socket(w, r, src, form, follow)
	case follow:
		return s.stream(w, r, src, form)
	case form == apart:
		return s.answerJSON(w, src, http.StatusOK, nil)
	}
	rd, err := src.open()
	if err != nil {
		return logFault(err)
	}
	defer rd.done()
	e := rd.clamp(src.extent(false))
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(http.StatusOK)
	out := s.patiently(w)
	defer out.done()
	f := framer{limit: pieceSize, prefix: form == prefixed, emit: out.emit}
	if err := rd.all(e, f.put); err != nil {
		return out.abort(err)
	}
	if err := f.flush(); err != nil {
		return out.abort(err)
	}
	return nil
}

// all passes everything there is to put, and a notice if that is not everything
// there was.
func (r *reader) all(e extent, put func(stream, []byte) error) error {
	buf := pieces.Get().(*[pieceSize]byte)
	defer pieces.Put(buf)
	for {
		s, b, err := r.read(buf[:], e)
		switch {
		case errors.Is(err, io.EOF):
			if n := r.notice(e); n != nil {
				return put(stderr, n)
			}
			return nil
		case err != nil:
			return err
		}
		if err := put(s, b); err != nil {
			return err
		}
	}
}

// clamp limits an extent to what is on disk: the files may have been changed.
func (r *reader) clamp(e extent) extent {
	if r.data == nil {
		return e
	}
	if info, err := r.data.Stat(); err == nil {
		e.size = min(e.size, info.Size())
	}
	return e
}

// stream answers with a body that grows with the log and ends with the command.
func (s *Service) stream(w http.ResponseWriter, r *http.Request, src source, form format) error {
	rd, err := src.open()
	if err != nil {
		return logFault(err)
	}
	defer rd.done()
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	out := s.patiently(w)
	defer out.done()
	if err := out.flush(); err != nil {
		return nil // the client has gone
	}
	f := framer{limit: chunkLimit, prefix: form != combined, emit: out.emit}
	if err := follow(r.Context(), rd, src, f.put, out.flush); err != nil {
		return out.abort(err)
	}
	if err := f.flush(); err != nil {
		return out.abort(err)
	}
	return nil
}

// socket answers by WebSocket.
func (s *Service) socket(w http.ResponseWriter, r *http.Request, src source, form format, following bool) error {
	rd, err := src.open()
	if err != nil {
		return logFault(err)
	}
	defer rd.done()
	conn, err := wire.Accept(w, r)
	if err != nil {
		return nil // it has answered
	}
	defer func() { _ = conn.CloseNow() }() // after a proper close it is closed already
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	go func() {
		// Reading answers pings and notices that the client has gone. What
		// it sends means nothing here.
		defer cancel()
		for {
			_, sent, err := conn.Reader(ctx)
			if err == nil {
				_, err = io.Copy(io.Discard, sent)
			}
			if err != nil {
				return
			}
		}
	}()
	f := framer{limit: frameLimit, prefix: form != combined}
	var turn context.Context // of one piece of output
	f.emit = func(frame []byte) error { return conn.Write(turn, websocket.MessageBinary, frame) }
	put := func(st stream, b []byte) error {
		var cancel context.CancelFunc
		turn, cancel = context.WithTimeout(ctx, s.Patience)
		defer cancel()
		return f.put(st, b)
	}
	if following {
		err = follow(ctx, rd, src, put, func() error { return nil })
	} else {
		err = rd.all(rd.clamp(src.extent(false)), put)
	}
	if err == nil {
		var cancel context.CancelFunc
		turn, cancel = context.WithTimeout(ctx, s.Patience)
		defer cancel()
		err = f.flush()
	}
	switch {
	case errors.Is(err, errCut):
		_ = conn.Close(websocket.StatusInternalError, err.Error())
	case err == nil:
		_ = conn.Close(websocket.StatusNormalClosure, "")
	}
	// Else the client has gone, or does not read.
	return nil
}

// follow passes output on as it comes, until the command is over and what it
// left behind has been silent for a while.
func follow(ctx context.Context, rd *reader, src source, put func(stream, []byte) error, flush func() error) error {
	var silent *time.Timer
	for {
		e := src.extent(true)
		moved, err := followOnce(rd, e, put)
		if err != nil {
			return err
		}
		if moved {
			if err := flush(); err != nil {
				return err
			}
		}
		var late <-chan time.Time
		if e.over {
			if silent == nil {
				silent = time.NewTimer(quiet)
				defer silent.Stop()
			} else if moved {
				silent.Reset(quiet)
			}
			late = silent.C
		}
		ended := e.over && e.sources == 0
		if !ended {
			select {
			case <-e.changed:
				continue
			case <-ctx.Done():
				return ctx.Err()
			case <-late:
			}
		}
		if n := rd.notice(e); n != nil {
			return put(stderr, n)
		}
		return nil
	}
}

// followOnce passes on what there is now. The buffer is given back meanwhile:
// most followers wait most of the time.
func followOnce(rd *reader, e extent, put func(stream, []byte) error) (moved bool, err error) {
	if !rd.more(e) {
		return false, nil
	}
	buf := pieces.Get().(*[pieceSize]byte)
	defer pieces.Put(buf)
	for {
		s, b, err := rd.read(buf[:], e)
		if errors.Is(err, io.EOF) {
			return moved, nil
		}
		if err == nil {
			err = put(s, b)
		}
		if err != nil {
			return moved, err
		}
		moved = true
	}
}

// answerExec answers a synchronous command.
func (s *Service) answerExec(w http.ResponseWriter, r *http.Request, c *command) error {
	d := wire.DialectOf(r)
	src := c.source()
	head := map[string]any{"cmdId": c.id}
	reply := c.reply(d.Strict)
	head["exitCode"] = reply.ExitCode
	if !d.Strict {
		head["cause"] = reply.Cause
		if reply.Signal != "" {
			head["signal"] = reply.Signal
		}
	}
	form := formatOf(d, r.Header)
	if form == apart {
		return s.answerJSON(w, src, http.StatusOK, head)
	}
	return s.answerOne(w, src, head, form)
}

// part is a member of a JSON answer that is read from a log.
type part struct {
	name string
	take func(j *jsonString) (put func(stream, []byte) error)
}

func everything(j *jsonString) func(stream, []byte) error {
	return func(_ stream, b []byte) error { return j.write(b) }
}

func only(want stream) func(j *jsonString) func(stream, []byte) error {
	return func(j *jsonString) func(stream, []byte) error {
		return func(s stream, b []byte) error {
			if s != want {
				return nil
			}
			return j.write(b)
		}
	}
}

func withPrefixes(j *jsonString) func(stream, []byte) error {
	begun, current := false, stdout
	return func(s stream, b []byte) error {
		if !begun || s != current {
			begun, current = true, s
			if err := j.write([]byte(prefixes[s])); err != nil {
				return err
			}
		}
		return j.write(b)
	}
}

// answerJSON answers with an object of both streams in one and each for itself,
// after the members of head.
func (s *Service) answerJSON(w http.ResponseWriter, src source, status int, head map[string]any) error {
	return s.object(w, src, status, head, []part{{"output", everything}, {"stdout", only(stdout)}, {"stderr", only(stderr)}})
}

// answerOne answers with an object that has both streams in one.
func (s *Service) answerOne(w http.ResponseWriter, src source, head map[string]any, form format) error {
	take := everything
	if form == prefixed {
		take = withPrefixes
	}
	return s.object(w, src, http.StatusOK, head, []part{{"output", take}})
}

// object writes a JSON object with parts that may be larger than memory.
func (s *Service) object(w http.ResponseWriter, src source, status int, head map[string]any, parts []part) error {
	first := []byte("{}")
	if len(head) > 0 {
		var err error
		if first, err = json.Marshal(head); err != nil {
			return err
		}
	}
	e := src.extent(false)
	rd, err := src.open()
	if err != nil {
		err = logFault(err)
		if head == nil || !fault.Is(err, fault.Gone) {
			return err
		}
		// The result of a command that has removed its own log.
		rd, e = emptyReader(), extent{lost: e.size, full: "the log has been removed"}
		src.open = func() (*reader, error) { return emptyReader(), nil }
	}
	defer func() { _ = rd.close() }()
	e = rd.clamp(e)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	out := s.patiently(w)
	defer out.done()
	buffered := bufio.NewWriterSize(out, 16<<10)
	_, _ = buffered.Write(first[:len(first)-1]) // errors stay with the writer
	for i, p := range parts {
		if i > 0 {
			if err := rd.close(); err != nil {
				return out.abort(err)
			}
			if rd, err = src.open(); err != nil {
				rd = emptyReader()
				return out.abort(err)
			}
		}
		if i > 0 || len(head) > 0 {
			_ = buffered.WriteByte(',')
		}
		fmt.Fprintf(buffered, "%q:\"", p.name)
		j := &jsonString{w: buffered}
		if err := rd.all(e, p.take(j)); err != nil {
			return out.abort(err)
		}
		if err := j.end(); err != nil {
			return out.abort(err)
		}
		_ = buffered.WriteByte('"')
	}
	_, _ = buffered.WriteString("}\n")
	if err := buffered.Flush(); err != nil {
		return out.abort(err)
	}
	return nil
}

// patient writes an answer to a client that may not stall for too long.
type patient struct {
	w        http.ResponseWriter
	conn     *http.ResponseController
	patience time.Duration
}

func (s *Service) patiently(w http.ResponseWriter) *patient {
	return &patient{w, http.NewResponseController(w), s.Patience}
}

func (p *patient) Write(b []byte) (int, error) {
	_ = p.conn.SetWriteDeadline(time.Now().Add(p.patience)) // connections of tests may know none
	return p.w.Write(b)
}

func (p *patient) emit(b []byte) error {
	_, err := p.Write(b)
	return err
}

func (p *patient) flush() error {
	_ = p.conn.SetWriteDeadline(time.Now().Add(p.patience))
	return p.conn.Flush()
}

// done lets the connection be used for the next request.
func (p *patient) done() { _ = p.conn.SetWriteDeadline(time.Time{}) }

// abort breaks the connection off, so that half an answer does not look like a
// whole one.
func (p *patient) abort(error) error { panic(http.ErrAbortHandler) }
