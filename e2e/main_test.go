//go:build root

package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// shared is the server that every test uses. Tests that kill or restart it
// don't run beside others: only they are not parallel.
var shared *server

// repo is the root of the checkout, cache what may be kept between runs.
var repo, cache string

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	if repo, err = filepath.Abs(".."); err != nil {
		return 1, err
	}
	cache = filepath.Join(repo, ".cache", "e2e")
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return 1, err
	}
	// Checkouts may share it by a link; engines refuse to mount below one.
	if cache, err = filepath.EvalSymlinks(cache); err != nil {
		return 1, err
	}
	if url := os.Getenv("DAYTONA_E2E_API_URL"); url != "" {
		shared = &server{external: true, api: &client{url: url, key: os.Getenv("DAYTONA_E2E_API_KEY")}}
		return m.Run(), nil
	}
	if shared, err = newServer(); err != nil {
		return 1, err
	}
	if err := shared.start(); err != nil {
		return 1, errors.Join(err, shared.abandon())
	}
	defer func() {
		if e := shared.close(); e != nil && err == nil {
			err = e
		}
	}()
	return m.Run(), nil
}
