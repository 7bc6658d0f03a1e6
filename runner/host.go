package runner

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// bootID identifies the host's current boot.
func bootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(b)), err
}

type meminfo struct {
	totalMiB, availableMiB int64
}

func readMeminfo() (meminfo, error) {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return meminfo{}, err
	}
	defer f.Close()
	return parseMeminfo(f)
}

func parseMeminfo(src io.Reader) (meminfo, error) {
	var m meminfo
	sc := bufio.NewScanner(src)
	for sc.Scan() {
		fields := strings.Fields(sc.Text())
		if len(fields) < 2 {
			continue
		}
		var to *int64
		switch fields[0] {
		case "MemTotal:":
			to = &m.totalMiB
		case "MemAvailable:":
			to = &m.availableMiB
		default:
			continue
		}
		kib, err := strconv.ParseInt(fields[1], 10, 64)
		if err != nil {
			return m, fmt.Errorf("meminfo: %w", err)
		}
		*to = kib >> 10
	}
	return m, sc.Err()
}

// program is a file that sandboxes run, kept under the hash of its content.
type program struct {
	path string
	hash string
}

// keepProgram copies the program at src into dir under its hash. Sandboxes that
// were started with an older one keep theirs.
func keepProgram(dir, src string) (program, error) {
	f, err := os.Open(src)
	if err != nil {
		return program{}, fmt.Errorf("toolbox: %w", err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return program{}, fmt.Errorf("toolbox: %w", err)
	}
	hash := hex.EncodeToString(h.Sum(nil))[:32]
	p := program{path: filepath.Join(dir, hash), hash: hash}
	if _, err := os.Stat(p.path); err == nil {
		return p, nil
	}
	// Everybody may read it: inside, it runs as the sandbox's user.
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return p, err
	}
	tmp, err := os.CreateTemp(dir, ".copy-*")
	if err != nil {
		return p, err
	}
	defer os.Remove(tmp.Name())
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return p, err
	}
	_, err = io.Copy(tmp, f)
	err = errors.Join(err, tmp.Chmod(0o555), tmp.Sync(), tmp.Close())
	if err != nil {
		return p, fmt.Errorf("toolbox: %w", err)
	}
	return p, os.Rename(tmp.Name(), p.path)
}

// dropPrograms removes the programs in dir that nobody uses any more.
func dropPrograms(dir string, used map[string]bool) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		if !used[e.Name()] {
			err = errors.Join(err, os.Remove(filepath.Join(dir, e.Name())))
		}
	}
	return err
}
