package netns

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// record is the durable note of who holds a slot. Its file is named after the
// slot. It is not synced to disk: slots do not outlive the kernel either.
type record struct {
	Index     int    `json:"index"`
	ID        string `json:"id"`
	Policy    Policy `json:"policy"`
	Releasing bool   `json:"releasing,omitempty"` // given back, to be removed
}

// records is a directory of records.
type records struct {
	dir  string
	lock *os.File
}

// openRecords opens dir for this process alone.
func openRecords(dir string) (*records, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		return nil, fmt.Errorf("another process uses %s: %w", dir, err)
	}
	return &records{dir: dir, lock: lock}, nil
}

func (r *records) close() error { return r.lock.Close() }

func (r *records) path(index int) string {
	return filepath.Join(r.dir, fmt.Sprintf("%d.json", index))
}

// put replaces the record of a slot in one step.
func (r *records) put(rec record) error {
	data, err := json.Marshal(rec)
	if err != nil {
		return err
	}
	tmp := r.path(rec.Index) + ".tmp"
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		_ = os.Remove(tmp) // on a full disk the rest of it is in the way
		return err
	}
	return os.Rename(tmp, r.path(rec.Index))
}

func (r *records) remove(index int) error {
	if err := os.Remove(r.path(index)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// load returns what is readable, by index, and removes the rest: a record that
// was cut off by a crash of the host belongs to a slot that is gone.
func (r *records) load() (map[int]record, error) {
	entries, err := os.ReadDir(r.dir)
	if err != nil {
		return nil, err
	}
	out := make(map[int]record)
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".json") {
			if strings.HasSuffix(e.Name(), ".json.tmp") {
				_ = os.Remove(filepath.Join(r.dir, e.Name()))
			}
			continue
		}
		path := filepath.Join(r.dir, e.Name())
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		var rec record
		if json.Unmarshal(data, &rec) != nil || rec.Index < 1 || rec.ID == "" || r.path(rec.Index) != path {
			if err := os.Remove(path); err != nil {
				return nil, err
			}
			continue
		}
		out[rec.Index] = rec
	}
	return out, nil
}
