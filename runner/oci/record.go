package oci

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"daytona/api/runnerapi"
	"daytona/internal/fault"
	"daytona/internal/lazyregexp"
)

// Phases of a container. Whether it still runs is for the kernel to say.
const (
	phaseCreating = "creating" // the engine may have been killed at its work
	phaseCreated  = "created"
	phaseStarting = "starting" // as creating; the engine's state says if it came to be
	phaseStarted  = "started"
)

// record is what the driver remembers of a container.
type record struct {
	ID    string
	Dir   string // the bundle's directory
	Phase string
	// Incarnation tells containers of one id apart.
	Incarnation string
	BootID      string
	Cgroup      string // its control group: the configured parent may change while it lives
	PID         int    // init process, or the engine's process in its place
	StartTime   uint64 // of PID, in clock ticks since boot
	CreatedAt   time.Time
	StartedAt   time.Time
}

// Files of a container's directory.
const (
	recordFile = "record.json"
	stopFile   = "stop"     // Stop or Delete was called: what ends now ends by the user's will
	endFile    = "end.json" // how it ended, once that is known
	engineDir  = "engine"   // the engine's state
)

var validID = lazyregexp.New(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$`)

// checkID refuses ids that could name anything but a directory of their own.
func checkID(id string) error {
	if !validID.MatchString(id) {
		return fault.New(fault.Invalid, "invalid container id %q", id)
	}
	return nil
}

// A store keeps records in directories of their own below a root.
type store struct{ root string }

func (s store) dir(id string) string { return filepath.Join(s.root, id) }

func (s store) load(id string) (record, error) {
	if err := checkID(id); err != nil {
		return record{}, err
	}
	b, err := os.ReadFile(filepath.Join(s.dir(id), recordFile))
	if errors.Is(err, fs.ErrNotExist) {
		if _, derr := os.Lstat(s.dir(id)); derr == nil {
			return record{ID: id, Phase: phaseCreating}, nil
		}
		return record{}, fault.New(fault.NotFound, "no container %s", id)
	}
	if err != nil {
		return record{}, err
	}
	var r record
	if err := json.Unmarshal(b, &r); err != nil || r.ID != id {
		// The host lost power while it was written. What is left is a
		// container of another boot, of which nothing but the id is known.
		return record{ID: id, Phase: phaseCreating}, nil //nolint:nilerr // see above
	}
	return r, nil
}

func (s store) save(r record) error { return writeJSON(filepath.Join(s.dir(r.ID), recordFile), r) }

func (s store) ids() ([]string, error) {
	entries, err := os.ReadDir(s.root)
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, e := range entries {
		if e.IsDir() && validID.MatchString(e.Name()) {
			ids = append(ids, e.Name())
		}
	}
	return ids, nil
}

// markStop notes, before anything is killed, that the end is the user's will.
func (s store) markStop(id string) error {
	err := os.WriteFile(filepath.Join(s.dir(id), stopFile), nil, 0o600)
	if err != nil {
		return fmt.Errorf("noting the stop of %s: %w", id, err)
	}
	return nil
}

func (s store) stopMarked(id string) bool {
	_, err := os.Lstat(filepath.Join(s.dir(id), stopFile))
	return err == nil
}

func (s store) end(id string) (runnerapi.End, bool) {
	var e runnerapi.End
	b, err := os.ReadFile(filepath.Join(s.dir(id), endFile))
	if err != nil || json.Unmarshal(b, &e) != nil {
		return runnerapi.End{}, false
	}
	return e, true
}

func (s store) saveEnd(id string, e runnerapi.End) error {
	return writeJSON(filepath.Join(s.dir(id), endFile), e)
}

// writeJSON replaces a file as a whole.
func writeJSON(path string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	tmp := path + ".new"
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}
