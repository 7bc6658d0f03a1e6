package imagequeue

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"daytona/api/runnerapi"
	"daytona/internal/atomicfile"
)

// state is how far a job is.
type state string

const (
	waiting     state = "waiting" // or under way: after a restart it is the same
	ready       state = "ready"
	failed      state = "failed"
	interrupted state = "interrupted" // by a restart; it needs secrets to go on
)

// record is a job as the disk keeps it: its specification without secrets, and
// what became of it.
type record struct {
	Spec    runnerapi.ImageSpec
	Secrets bool // Spec had some
	State   state
	Reason  string `json:",omitempty"`
	Result  Result
	At      time.Time // of the last change
}

// public returns a copy of spec without what may never reach the disk, and
// whether something was taken out.
func public(spec runnerapi.ImageSpec) (runnerapi.ImageSpec, bool) {
	secrets := len(spec.Auths) > 0
	spec.Auths = nil
	if spec.Build != nil {
		b := *spec.Build
		secrets = secrets || len(b.Contexts) > 0
		b.Contexts = nil
		spec.Build = &b
	}
	return spec, secrets
}

const (
	recordFile = "job.json"
	logFile    = "log"
)

// dirName is the name of a job's directory.
func dirName(image string) string {
	sum := sha256.Sum256([]byte(image))
	return hex.EncodeToString(sum[:16])
}

func save(dir string, rec record) error {
	b, err := json.Marshal(rec)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := atomicfile.WriteFile(filepath.Join(dir, recordFile), b, 0o600); err != nil {
		return err
	}
	return atomicfile.SyncDir(filepath.Dir(dir))
}

// load reads every record below dir. A directory without one is what a killed
// process began or a removal left; it is removed.
func load(dir string) ([]record, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var recs []record
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		b, err := os.ReadFile(filepath.Join(path, recordFile))
		if errors.Is(err, fs.ErrNotExist) {
			if err := os.RemoveAll(path); err != nil {
				return nil, err
			}
			continue
		}
		if err != nil {
			return nil, err
		}
		var rec record
		if err := json.Unmarshal(b, &rec); err != nil || dirName(rec.Spec.Name) != e.Name() {
			return nil, fmt.Errorf("the record of an image at %s cannot be read: %w", path, err)
		}
		if err := dropTemporary(path); err != nil {
			return nil, err
		}
		recs = append(recs, rec)
	}
	return recs, nil
}

// dropTemporary removes what a killed write left.
func dropTemporary(dir string) error {
	left, err := os.ReadDir(dir)
	for _, e := range left {
		if strings.HasPrefix(e.Name(), ".") {
			err = errors.Join(err, os.Remove(filepath.Join(dir, e.Name())))
		}
	}
	return err
}

// drop removes a job's directory; the record goes first, so that a killed
// removal leaves nothing that is taken for a job.
func drop(dir string) error {
	if err := os.Remove(filepath.Join(dir, recordFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.RemoveAll(dir)
}
