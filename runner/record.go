package runner

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"daytona/api/runnerapi"
	"daytona/internal/atomicfile"
)

// phase is where a sandbox stands; doc.go has the picture.
type phase string

const (
	phasePreparing phase = "preparing"
	phaseRunning   phase = "running"
	phaseStopping  phase = "stopping"
	phaseStopped   phase = "stopped"
	phaseFailed    phase = "failed" // could not be made; nothing but the record is left
	phaseDeleting  phase = "deleting"
)

// record is all that is known of a sandbox. It is written before each step
// that has an effect outside this process.
type record struct {
	Seq     int64 // grows with every write
	Spec    runnerapi.Spec
	Phase   phase
	Driver  string
	User    string // who the toolbox runs as, resolved
	Token   string // opens the toolbox
	UserNS  uint32 // first host id, 0 for none; kept for the life of the root
	Bundle  Bundle
	BootID  string // of the host, when the container was started
	Toolbox string // hash of the program that the container was started with
	Image   string // digest of the snapshot that the root was made from
	// Settings are the image's at the first start (environment, user, program),
	// for later ones: the image may be gone by then. nil in old records.
	Settings  *ocispec.ImageConfig
	Kept      bool  // the root is complete, and the record of it on disk
	Born      bool  // it has been running once: its root holds somebody's data
	FromPool  bool  // it was booted by the warm pool
	Warm      *warm // set as long as nobody has claimed it
	Build     bool  // it makes a snapshot; never shown
	CreatedAt time.Time
	StartedAt time.Time
	End       *runnerapi.End
}

// warm is what the pool knows of a sandbox that nobody has claimed.
type warm struct {
	ReservedUntil time.Time // it was offered to somebody until then
	// Pool is the id of the organization's pool that it is of, and OrgID the only
	// organization that may have it; "" for one of the operator's pools.
	Pool, OrgID string
}

// hidden says whether the sandbox is the runner's own business.
func (r *record) hidden() bool { return r.Warm != nil || r.Build }

// state is what the outside sees of a phase. While it is being deleted a
// sandbox counts as stopped: nothing can be done with it, and it is not gone.
func (r *record) state() runnerapi.State {
	switch r.Phase {
	case phasePreparing:
		return runnerapi.StateCreating
	case phaseRunning, phaseStopping:
		return runnerapi.StateRunning
	case phaseFailed:
		return runnerapi.StateFailed
	default:
		return runnerapi.StateStopped
	}
}

func (r *record) view() runnerapi.Sandbox {
	v := runnerapi.Sandbox{
		ID:        r.Spec.ID,
		State:     r.state(),
		Isolation: r.Driver,
		StartedAt: r.StartedAt,
		Warm:      r.FromPool,
	}
	if r.End != nil && v.State != runnerapi.StateRunning {
		end := *r.End
		v.End = &end
	}
	return v
}

// store keeps the records of one runner in files:
//
//	sandboxes/<id>/record.json       written durably
//	sandboxes/<id>/record.fast.json  written without waiting for the disk
//	sandboxes/<id>/bundle/           the container's files
//	deleted/<id>                     tombstone
//
// Two files, because most writes need only survive this process, and a file
// system may leave an empty file after a power cut when nobody waited for the
// disk. The one with the higher sequence number counts.
type store struct {
	dir string
	log *slog.Logger
}

const (
	durableFile = "record.json"
	fastFile    = "record.fast.json"
)

func openStore(dir string, log *slog.Logger) (*store, error) {
	for _, d := range []string{"sandboxes", "deleted"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			return nil, err
		}
	}
	return &store{dir: dir, log: log}, nil
}

func (s *store) sandboxDir(id string) string { return filepath.Join(s.dir, "sandboxes", id) }
func (s *store) bundleDir(id string) string  { return filepath.Join(s.sandboxDir(id), "bundle") }

// save writes a record. With durable set it survives a power cut.
func (s *store) save(rec *record, durable bool) error {
	data, err := json.Marshal(rec)
	if err != nil {
		return err
	}
	dir := s.sandboxDir(rec.Spec.ID)
	if err := os.MkdirAll(filepath.Join(dir, "bundle"), 0o700); err != nil {
		return err
	}
	if !durable {
		return atomicfile.WriteFast(filepath.Join(dir, fastFile), data, 0o600)
	}
	if err := atomicfile.WriteFile(filepath.Join(dir, durableFile), data, 0o600); err != nil {
		return err
	}
	return atomicfile.SyncDir(filepath.Dir(dir))
}

// load reads every record, and names the directories that hold none.
func (s *store) load() (recs []record, leftover []string, err error) {
	entries, err := os.ReadDir(filepath.Join(s.dir, "sandboxes"))
	if err != nil {
		return nil, nil, err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), trashPrefix) {
			if err := os.RemoveAll(s.sandboxDir(e.Name())); err != nil {
				return nil, nil, err
			}
			continue
		}
		rec, err := s.read(e.Name())
		switch {
		case err == nil:
			recs = append(recs, *rec)
		case errors.Is(err, fs.ErrNotExist):
			leftover = append(leftover, e.Name())
		default:
			return nil, nil, err
		}
	}
	return recs, leftover, nil
}

// read returns the newest valid record of an id, or fs.ErrNotExist.
func (s *store) read(id string) (*record, error) {
	var best *record
	for _, name := range []string{durableFile, fastFile} {
		data, err := os.ReadFile(filepath.Join(s.sandboxDir(id), name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		var rec record
		if err := json.Unmarshal(data, &rec); err != nil || rec.Spec.ID != id {
			s.log.Warn("a sandbox's record cannot be read", "sandbox", id, "file", name, "error", err)
			continue
		}
		if best == nil || rec.Seq > best.Seq {
			best = &rec
		}
	}
	if best == nil {
		return nil, fmt.Errorf("record of %s: %w", id, fs.ErrNotExist)
	}
	return best, nil
}

// bury leaves a tombstone.
func (s *store) bury(id string, at time.Time) error {
	return os.WriteFile(s.tombstone(id), []byte(at.UTC().Format(time.RFC3339)), 0o600)
}

// remove removes the directory of an id. The rename makes it one step: a half
// removed directory must not be taken for a sandbox with an older record.
func (s *store) remove(id string) error {
	trash := s.sandboxDir(trashPrefix + id)
	if err := os.RemoveAll(trash); err != nil {
		return err
	}
	if err := os.Rename(s.sandboxDir(id), trash); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.RemoveAll(trash)
}

// trashPrefix marks directories on their way out; no id begins with a dot.
const trashPrefix = ".trash-"

func (s *store) tombstone(id string) string { return filepath.Join(s.dir, "deleted", id) }

// exhume takes a tombstone away.
func (s *store) exhume(id string) error {
	err := os.Remove(s.tombstone(id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// buried says whether an id was deleted not long ago.
func (s *store) buried(id string) bool {
	_, err := os.Lstat(s.tombstone(id))
	return err == nil
}

// expireTombstones removes those older than age.
func (s *store) expireTombstones(now time.Time, age time.Duration) error {
	entries, err := os.ReadDir(filepath.Join(s.dir, "deleted"))
	if err != nil {
		return err
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || now.Sub(info.ModTime()) < age {
			continue
		}
		if err := os.Remove(filepath.Join(s.dir, "deleted", e.Name())); err != nil {
			return err
		}
	}
	return nil
}
