//go:build linux

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"daytona/controlplane/auth"
	"daytona/internal/atomicfile"
)

// keyFile keeps the API key that the first start makes. The key is on the disk
// before the database knows it, so that a crash in between loses nothing: the
// next start takes the same value.
type keyFile struct {
	path string
	made bool // by this process
}

// choose returns the value in the file, or makes one and keeps it there.
func (k *keyFile) choose() (string, error) {
	value, err := k.read()
	if err != nil || value != "" {
		return value, err
	}
	value = auth.NewValue()
	if err := os.MkdirAll(filepath.Dir(k.path), 0o755); err != nil {
		return "", fmt.Errorf("keep the first API key: %w", err)
	}
	if err := atomicfile.WriteFile(k.path, []byte(value+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("keep the first API key: %w", err)
	}
	k.made = true
	return value, nil
}

// read returns the value in the file, "" when there is none.
func (k *keyFile) read() (string, error) {
	data, err := os.ReadFile(k.path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read the first API key: %w", err)
	}
	value := strings.TrimSpace(string(data))
	if !auth.ValidValue(value) {
		return "", fmt.Errorf("%s does not hold an API key (dtn_ and 64 hexadecimal digits). Remove it, or name another with --bootstrap-key-file", k.path)
	}
	return value, nil
}

// withdraw removes the file when another server's key won.
func (k *keyFile) withdraw() error {
	if !k.made {
		return nil
	}
	return os.Remove(k.path)
}
