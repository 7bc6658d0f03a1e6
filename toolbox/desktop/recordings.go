package desktop

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"daytona/internal/fault"
	"daytona/toolbox/desktop/x11"
	"daytona/toolbox/wire"
)

// maxRecordings bounds how many films are made at once: each takes a CPU's time.
const maxRecordings = 4

// recordingsFolder is where films are kept.
func (s *Service) recordingsFolder() string {
	if dir := s.Space.Env.Get("DAYTONA_RECORDINGS_DIR"); dir != "" {
		return s.Space.Dir(dir)
	}
	return filepath.Join(s.Space.Home(), ".daytona", "recordings")
}

// RecordingStart begins to film the screen.
func (s *Service) RecordingStart(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Label string `json:"label,omitempty"`
	}
	if err := wire.Decode(r, &in); err != nil && !emptyBody(err) {
		return err
	}
	release, err := hold(r.Context(), s.changing)
	if err != nil {
		return err
	}
	defer release()
	rec, err := s.startRecording(context.WithoutCancel(r.Context()), in.Label)
	if err != nil {
		return err
	}
	return wire.JSON(w, http.StatusCreated, rec)
}

func emptyBody(err error) bool { return errors.Is(err, io.EOF) }

func (s *Service) startRecording(ctx context.Context, label string) (Recording, error) {
	ffmpeg, ok := s.program("ffmpeg")
	if !ok {
		return Recording{}, explained{
			fault.New(fault.Invalid, "ffmpeg_not_found").WithCode("RECORDING_FFMPEG_NOT_FOUND"),
			"the program ffmpeg is not in the sandbox's PATH",
			"Create the sandbox from the snapshot daytona-desktop, or install ffmpeg in your own image.",
		}
	}
	s.mu.Lock()
	n := len(s.recordings)
	s.mu.Unlock()
	if n >= maxRecordings {
		return Recording{}, fault.New(fault.Conflict, "%d recordings are under way already; stop one first", n)
	}
	var size x11.Screen
	if err := s.onScreen(ctx, func(c *x11.Conn) error { size = c.Screen(); return nil }); err != nil {
		return Recording{}, err
	}
	folder := s.recordingsFolder()
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return Recording{}, noFolder(err)
	}
	now := time.Now().UTC()
	var id [8]byte
	rand.Read(id[:]) // never fails
	rec := Recording{ID: hex.EncodeToString(id[:]), StartTime: now.Format(time.RFC3339Nano), Status: recording}
	rec.FileName = rec.ID + "_" + cleanLabel(label) + "_" + now.Format("20060102_150405") + ".mp4"
	rec.FilePath = filepath.Join(folder, rec.FileName)
	if err := save(rec); err != nil {
		return Recording{}, err
	}
	f, err := s.film(ffmpeg, rec, s.display(), size.Width, size.Height)
	if err != nil {
		if e := os.Remove(noteFile(folder, rec.ID)); e != nil {
			s.Log.Warn("the note of a recording that failed stays", "err", e)
		}
		return Recording{}, err
	}
	s.mu.Lock()
	s.recordings[rec.ID] = f
	s.mu.Unlock()
	// It may have ended before it was entered.
	select {
	case <-f.done:
		s.mu.Lock()
		delete(s.recordings, rec.ID)
		s.mu.Unlock()
	default:
	}
	return rec, nil
}

// cleanLabel makes a label part of a file's name.
func cleanLabel(label string) string {
	label = strings.Map(func(c rune) rune {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '.', c == '_':
			return c
		}
		return '_'
	}, label)
	const longest = 64
	if label == "" {
		return "session"
	}
	return label[:min(len(label), longest)]
}

// RecordingStop ends a recording.
func (s *Service) RecordingStop(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		ID string `json:"id"`
	}
	if err := wire.Decode(r, &in); err != nil {
		return err
	}
	if in.ID == "" {
		return fault.New(fault.Invalid, "id is required")
	}
	s.mu.Lock()
	f := s.recordings[in.ID]
	s.mu.Unlock()
	if f == nil {
		rec, err := s.recording(in.ID)
		if err != nil {
			return err
		}
		return fault.New(fault.Invalid, "the recording is not active: it is %s", rec.Status)
	}
	f.stop()
	rec, err := s.recording(in.ID)
	if err != nil {
		return err
	}
	return wire.JSON(w, http.StatusOK, rec)
}

// stopRecordings ends all that are under way.
func (s *Service) stopRecordings() {
	s.mu.Lock()
	all := make([]*recorder, 0, len(s.recordings))
	for _, f := range s.recordings {
		all = append(all, f)
	}
	s.mu.Unlock()
	for _, f := range all {
		f.stop()
	}
}

// RecordingList answers every recording, the newest first.
func (s *Service) RecordingList(w http.ResponseWriter, _ *http.Request) error {
	entries, err := os.ReadDir(s.recordingsFolder())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return noFolder(err)
	}
	list := []Recording{}
	for _, entry := range entries {
		id, ok := strings.CutSuffix(entry.Name(), ".json")
		if !ok || !strings.HasPrefix(id, ".") {
			continue
		}
		if rec, err := s.recording(id[1:]); err == nil {
			list = append(list, rec)
		}
	}
	slices.SortFunc(list, func(a, b Recording) int { return strings.Compare(b.StartTime, a.StartTime) })
	return wire.JSON(w, http.StatusOK, map[string]any{"recordings": list})
}

// recording returns one recording by its id.
func (s *Service) recording(id string) (Recording, error) {
	unknown := fault.New(fault.NotFound, "recording not found")
	if len(id) != 16 || strings.Trim(id, "0123456789abcdef") != "" {
		return Recording{}, unknown
	}
	s.mu.Lock()
	f := s.recordings[id]
	s.mu.Unlock()
	if f != nil {
		rec := f.rec
		if info, err := os.Stat(rec.FilePath); err == nil {
			size := info.Size()
			rec.SizeBytes = &size
		}
		return rec, nil
	}
	rec, err := saved(noteFile(s.recordingsFolder(), id))
	if err != nil {
		return rec, unknown
	}
	return rec, nil
}

// RecordingGet answers one recording.
func (s *Service) RecordingGet(w http.ResponseWriter, r *http.Request) error {
	rec, err := s.recording(r.PathValue("id"))
	if err != nil {
		return err
	}
	return wire.JSON(w, http.StatusOK, rec)
}

// RecordingDownload answers the film.
func (s *Service) RecordingDownload(w http.ResponseWriter, r *http.Request) error {
	rec, err := s.recording(r.PathValue("id"))
	if err != nil {
		return err
	}
	f, err := os.Open(rec.FilePath)
	if err != nil {
		return fault.Wrap(err, fault.NotFound, "recording not found")
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return fault.New(fault.NotFound, "recording not found")
	}
	w.Header().Set("Content-Type", "video/mp4")
	w.Header().Set("Content-Disposition", `attachment; filename="`+cleanLabel(rec.FileName)+`"`)
	http.ServeContent(w, r, "", info.ModTime(), f)
	return nil
}

// RecordingDelete removes a recording that is over.
func (s *Service) RecordingDelete(w http.ResponseWriter, r *http.Request) error {
	rec, err := s.recording(r.PathValue("id"))
	if err != nil {
		return err
	}
	if rec.Status == recording {
		return fault.New(fault.Invalid, "the recording is still active; stop it first").WithCode("RECORDING_STILL_ACTIVE")
	}
	// The note goes last: what is left after a crash can be deleted again.
	for _, path := range []string{errFile(rec), rec.FilePath, noteFile(filepath.Dir(rec.FilePath), rec.ID)} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return noFolder(err)
		}
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
