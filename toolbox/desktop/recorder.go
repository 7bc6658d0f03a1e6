package desktop

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"daytona/internal/fault"
	"daytona/toolbox/reaper"
)

// Recording is a film of the screen, as clients are told about it.
type Recording struct {
	ID              string   `json:"id"`
	FileName        string   `json:"fileName"`
	FilePath        string   `json:"filePath"`
	StartTime       string   `json:"startTime"` // RFC 3339
	EndTime         string   `json:"endTime,omitempty"`
	Status          string   `json:"status"` // recording, completed or failed
	DurationSeconds *float64 `json:"durationSeconds,omitempty"`
	SizeBytes       *int64   `json:"sizeBytes,omitempty"`
}

// What a recording's status can be.
const (
	recording = "recording"
	completed = "completed"
	failed    = "failed"
)

// frameRate is how many pictures a second are taken.
const frameRate = 15

// recorder is a recording under way.
type recorder struct {
	child *reaper.Child
	done  chan struct{} // closed when its last state has been written

	rec Recording // of its beginning; not changed after start
}

// filmArgs is the command line that films a display. The film is written in
// fragments, so that what was filmed can be seen whatever happens next.
func filmArgs(display, width, height int, file string) []string {
	return []string{"ffmpeg", "-hide_banner", "-loglevel", "error", "-nostats", "-nostdin", "-progress", "pipe:1",
		"-f", "x11grab", "-framerate", fmt.Sprint(frameRate), "-video_size", fmt.Sprintf("%dx%d", width, height),
		"-i", fmt.Sprintf(":%d", display),
		"-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2", "-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-crf", "28",
		"-pix_fmt", "yuv420p", "-g", fmt.Sprint(2 * frameRate), "-threads", "2",
		"-movflags", "+frag_keyframe+empty_moov+default_base_moof", "-flush_packets", "1", "-f", "mp4", "-n", file}
}

// film starts filming and returns when the first picture has been taken.
func (s *Service) film(path string, rec Recording, display, width, height int) (*recorder, error) {
	stdin, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer stdin.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	errs, err := os.Create(errFile(rec))
	if err != nil {
		w.Close()
		return nil, errors.Join(noFolder(err), r.Close())
	}
	defer errs.Close()
	child, err := s.Space.Table.Start(reaper.Command{
		Path: path, Args: filmArgs(display, width, height, rec.FilePath),
		Env: s.Space.Env.With(nil).Pairs(), Dir: filepath.Dir(rec.FilePath),
		Stdin: stdin, Stdout: w, Stderr: errs,
	})
	w.Close()
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	begun := make(chan struct{})
	go func() {
		defer r.Close()
		waiting := true
		for lines := bufio.NewScanner(r); lines.Scan(); {
			if waiting && strings.HasPrefix(lines.Text(), "frame=") {
				waiting = false
				close(begun)
			}
		}
	}()
	f := &recorder{child: child, done: make(chan struct{}), rec: rec}
	select {
	case <-begun:
	case <-child.Done():
		err = fmt.Errorf("ffmpeg ended with exit code %d: %s", child.ExitCode(), tail(errFile(rec)))
	case <-time.After(readyTime):
		err = fmt.Errorf("ffmpeg has not begun after %s: %s", readyTime, tail(errFile(rec)))
		child.KillTree()
	}
	if err != nil {
		for _, path := range []string{rec.FilePath, errFile(rec)} {
			if e := os.Remove(path); e != nil && !errors.Is(e, fs.ErrNotExist) {
				err = errors.Join(err, e)
			}
		}
		return nil, explained{fault.Wrap(err, fault.Unavailable, "the recording could not be started: %s", err), err.Error(), ""}
	}
	go s.finish(f)
	return f, nil
}

// finish waits for the end of a recording and writes down how it was.
func (s *Service) finish(f *recorder) {
	defer close(f.done)
	<-f.child.Done()
	rec := ended(f.rec, time.Now())
	// Asked to end, ffmpeg may also say 255. What it filmed before it was
	// killed, or the disk was full, can still be seen.
	if code := f.child.ExitCode(); code != 0 && code != 255 {
		rec.Status = failed
		s.Log.Warn("a recording failed", "recording", rec.ID, "exit", code, "err", tail(errFile(rec)))
	}
	if err := save(rec); err != nil {
		s.Log.Error("the end of a recording is not written", "recording", rec.ID, "err", err)
	}
	s.mu.Lock()
	delete(s.recordings, rec.ID)
	s.mu.Unlock()
}

// stop ends the recording and returns when its end has been written.
func (f *recorder) stop() {
	f.child.Signal(syscall.SIGINT)
	const patience = 10 * time.Second
	select {
	case <-f.done:
		return
	case <-time.After(patience):
	}
	f.child.KillTree()
	<-f.done
}

// ended completes what is known of a recording that is over.
func ended(rec Recording, at time.Time) Recording {
	rec.Status = failed
	rec.EndTime = at.UTC().Format(time.RFC3339Nano)
	if begun, err := time.Parse(time.RFC3339Nano, rec.StartTime); err == nil {
		seconds := max(0, at.Sub(begun).Seconds())
		rec.DurationSeconds = &seconds
	}
	if info, err := os.Stat(rec.FilePath); err == nil {
		size := info.Size()
		rec.SizeBytes = &size
		if size > 0 {
			rec.Status = completed
		}
	}
	return rec
}

// What belongs to a recording beside the film: what is known of it, and what
// ffmpeg complained of.
func noteFile(folder, id string) string { return filepath.Join(folder, "."+id+".json") }
func errFile(rec Recording) string {
	return filepath.Join(filepath.Dir(rec.FilePath), "."+rec.ID+".err")
}

// save writes down what is known of a recording, whole or not at all.
func save(rec Recording) error {
	b, err := json.Marshal(rec)
	if err != nil {
		return err
	}
	path := noteFile(filepath.Dir(rec.FilePath), rec.ID)
	f, err := os.CreateTemp(filepath.Dir(path), ".note-*")
	if err != nil {
		return noFolder(err)
	}
	_, err = f.Write(b)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(noFolder(err), os.Remove(f.Name()))
	}
	return nil
}

func noFolder(err error) error {
	return fault.Wrap(err, fault.Unprocessable, "the recordings' folder cannot be written: is the disk full?")
}

// saved reads what is known of a recording. One that was under way when the
// sandbox ended is over; what was filmed until then is kept.
func saved(path string) (Recording, error) {
	var rec Recording
	b, err := os.ReadFile(path)
	if err != nil {
		return rec, err
	}
	if err := json.Unmarshal(b, &rec); err != nil {
		return rec, err
	}
	// The film is beside the note, whatever the note says.
	rec.FilePath = filepath.Join(filepath.Dir(path), filepath.Base(rec.FilePath))
	info, err := os.Stat(rec.FilePath)
	if err != nil {
		return rec, err
	}
	if rec.ID == "" || "."+rec.ID+".json" != filepath.Base(path) {
		return rec, errors.New("it is another recording's note")
	}
	if rec.Status == recording {
		rec = ended(rec, info.ModTime())
	}
	return rec, nil
}
