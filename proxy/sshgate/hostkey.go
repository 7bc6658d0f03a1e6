package sshgate

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/crypto/ssh"

	"daytona/internal/atomicfile"
)

// HostKey returns the key in a file, which it makes if there is none. Clients
// remember it, so it is kept for good.
func HostKey(path string) (ssh.Signer, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if data, err = newHostKey(); err != nil {
			return nil, err
		}
		if err := atomicfile.WriteFile(path, data, 0o600); err != nil {
			return nil, fmt.Errorf("keep the SSH host key: %w", err)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("read the SSH host key: %w", err)
	}
	if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("the SSH host key %s can be read by others: run chmod 600 %s", path, path)
	}
	key, err := ssh.ParsePrivateKey(data)
	if err != nil {
		return nil, fmt.Errorf("%s does not hold an SSH host key: %w", path, err)
	}
	return key, nil
}

func newHostKey() ([]byte, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	block, err := ssh.MarshalPrivateKey(key, "daytona")
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(block), nil
}
