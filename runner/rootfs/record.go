package rootfs

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"daytona/internal/fault"
	"daytona/internal/lazyregexp"
)

// RootSpec is what a root shall be. It does not change after Create.
type RootSpec struct {
	ID    string // names the root; letters, digits, ".", "_" and "-"
	Image string // name of an image of this store
	// DiskBytes is the hard limit of what can be written.
	DiskBytes int64
	// UserNS is the first host id of the 65536 that the root's ids 0..65535 are
	// shown as; 0 shows them as they are. On the disk they are never shifted.
	UserNS uint32
}

// record is a root as the disk keeps it.
type record struct {
	Version int       `json:"version"`
	ID      string    `json:"id"`
	Image   string    `json:"image"`   // the name at the time of Create
	Config  string    `json:"config"`  // digest of the image's manifest
	Chain   string    `json:"chain"`   // chain id of the image's layers
	DiffIDs []string  `json:"diffIDs"` // what the chain is made of
	Disk    string    `json:"disk"`    // kind
	Bytes   int64     `json:"bytes"`
	UserNS  uint32    `json:"userNS,omitempty"`
	Created time.Time `json:"created"`
}

const (
	recordVersion = 1
	recordFile    = "root.json"

	minDiskBytes = 16 << 20
	maxDiskBytes = 16 << 40
)

var (
	idRule   = lazyregexp.New(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)
	nameRule = lazyregexp.New(`^[A-Za-z0-9][A-Za-z0-9._/:@+-]{0,254}$`)
)

func (r record) spec() RootSpec {
	return RootSpec{ID: r.ID, Image: r.Image, DiskBytes: r.Bytes, UserNS: r.UserNS}
}

// checkID refuses ids that could not be one path element.
func checkID(id string) error {
	if !idRule.MatchString(id) {
		return fault.New(fault.Invalid, "%q is not a valid id of a root file system", id)
	}
	return nil
}

// CheckName refuses names that are not fit for an image, as Invalid.
func CheckName(name string) error { return checkName(name) }

// checkName refuses names that are not fit for an image.
func checkName(name string) error {
	if !nameRule.MatchString(name) || strings.Contains(name, "..") {
		return fault.New(fault.Invalid, "%q is not a valid image name", name)
	}
	return nil
}

func (sp RootSpec) check() error {
	if err := checkID(sp.ID); err != nil {
		return err
	}
	if err := checkName(sp.Image); err != nil {
		return err
	}
	if sp.DiskBytes < minDiskBytes || sp.DiskBytes > maxDiskBytes {
		return fault.New(fault.Invalid, "a disk of %d bytes is not possible: at least %d MiB, at most %d TiB", sp.DiskBytes, minDiskBytes>>20, maxDiskBytes>>40)
	}
	if uint64(sp.UserNS)+65536 > 1<<32-1 {
		return fault.New(fault.Invalid, "user namespace start %d leaves no room for 65536 ids", sp.UserNS)
	}
	return nil
}

func encodeRecord(r record) ([]byte, error) {
	r.Version = recordVersion
	return json.MarshalIndent(r, "", " ")
}

// decodeRecord refuses what this version did not write.
func decodeRecord(b []byte) (record, error) {
	var r record
	if err := json.Unmarshal(b, &r); err != nil {
		return record{}, fmt.Errorf("record of a root: %w", err)
	}
	if r.Version != recordVersion {
		return record{}, fmt.Errorf("record of a root: version %d is not known", r.Version)
	}
	if err := r.spec().check(); err != nil {
		return record{}, fmt.Errorf("record of a root: %w", err)
	}
	return r, nil
}

// readRecord reads the record in a root's directory, whose name must be its id.
func readRecord(dir string) (record, error) {
	b, err := os.ReadFile(filepath.Join(dir, recordFile))
	if err != nil {
		return record{}, err
	}
	r, err := decodeRecord(b)
	if err != nil {
		return record{}, err
	}
	if r.ID != filepath.Base(dir) {
		return record{}, fmt.Errorf("record of root %s lies in %s", r.ID, dir)
	}
	return r, nil
}
