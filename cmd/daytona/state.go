//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"daytona/internal/atomicfile"
	"daytona/internal/version"
)

// stateFile, in the data directory, says where the running server is.
const stateFile = "server.json"

// serverState is the content of stateFile.
type serverState struct {
	URL     string `json:"url"` // origin, without /api
	PID     int    `json:"pid"`
	Version string `json:"version"`
}

func writeState(path string, public *url.URL) error {
	data, err := json.Marshal(serverState{URL: public.String(), PID: os.Getpid(), Version: version.Version})
	if err != nil {
		return err
	}
	return atomicfile.WriteFile(path, append(data, '\n'), 0o644)
}

// dataLock keeps a second server away from a data directory. The kernel gives
// it back however the process ends.
type dataLock struct{ file *os.File }

const lockName = "server.lock"

// errLocked says that a server uses the data directory.
var errLocked = errors.New("in use")

func lockData(dir string) (*dataLock, error) {
	path := filepath.Join(dir, lockName)
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		defer file.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("the data directory %s is %w by another server (process %s)", dir, errLocked, lockHolder(path))
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	// Who holds the lock is for messages only: a full disk must not keep the
	// server from starting, since deleting sandboxes is what empties it.
	if file.Truncate(0) == nil {
		_, _ = file.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	return &dataLock{file}, nil
}

func (l *dataLock) release() { _ = l.file.Close() }

// lockHolder returns the process id in a lock file, for messages.
func lockHolder(path string) string {
	data, err := os.ReadFile(path)
	if err != nil || len(strings.TrimSpace(string(data))) == 0 {
		return "unknown"
	}
	return strings.TrimSpace(string(data))
}

// notify tells a service manager that asks for it how far the server is.
func notify(log *slog.Logger, state string) {
	socket := os.Getenv("NOTIFY_SOCKET")
	if socket == "" {
		return
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err == nil {
		_, err = conn.Write([]byte(state))
		err = errors.Join(err, conn.Close())
	}
	if err != nil {
		log.Warn("the service manager was not told", "state", state, "error", err)
	}
}
