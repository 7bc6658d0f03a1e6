// Package keyring seals small secrets, so that a stolen database is worth
// nothing without the keys.
//
// A ring has one or more keys of 256 bits, the first of which seals; all of them
// open. What is sealed names its key, so a new key can be put first and the old
// one dropped when Stale finds nothing any more. The cipher is AES-256-GCM with
// a random nonce; a secret opens only in the place that it was sealed for.
package keyring

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"daytona/internal/atomicfile"
)

// Size is the length of a key in bytes.
const Size = 32

// format begins what Seal returns: format, key id, nonce and ciphertext.
const format = "v1"

// Ring is a set of keys. It may be used by several at once.
type Ring struct {
	first string
	keys  map[string]cipher.AEAD // by id
}

// Parse reads keys, one to a line or separated by commas, each 32 bytes in
// base64. Blank lines and lines that begin with # are skipped.
func Parse(text string) (*Ring, error) {
	r := &Ring{keys: map[string]cipher.AEAD{}}
	for line := range strings.Lines(text) {
		if strings.HasPrefix(strings.TrimSpace(line), "#") {
			continue
		}
		for word := range strings.SplitSeq(line, ",") {
			word = strings.TrimSpace(word)
			if word == "" {
				continue
			}
			key, err := base64.StdEncoding.DecodeString(word)
			if err != nil || len(key) != Size {
				return nil, errors.New("an encryption key must be 32 bytes in base64, as made by: head -c 32 /dev/urandom | base64")
			}
			if err := r.add(key); err != nil {
				return nil, err
			}
		}
	}
	if r.first == "" {
		return nil, errors.New("there is no encryption key")
	}
	return r, nil
}

func (r *Ring) add(key []byte) error {
	block, err := aes.NewCipher(key)
	if err != nil {
		return err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(append([]byte("daytona key id\x00"), key...))
	id := hex.EncodeToString(sum[:4])
	if r.first == "" {
		r.first = id
	}
	r.keys[id] = aead
	return nil
}

// OpenFile reads the keys of a file, and makes it with a new key if there is
// none. Nobody but the owner can read what it makes.
func OpenFile(path string) (*Ring, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		var key [Size]byte
		rand.Read(key[:]) // never fails
		text = []byte("# Keys that seal secrets in the database, the newest first. Without them those are lost: keep a copy.\n" +
			base64.StdEncoding.EncodeToString(key[:]) + "\n")
		err = atomicfile.WriteFile(path, text, 0o600)
	}
	if err != nil {
		return nil, fmt.Errorf("encryption keys: %w", err)
	}
	r, err := Parse(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

// Seal seals a secret for a place, such as "registry/<id>": it opens nowhere
// else.
func (r *Ring) Seal(place, secret string) string {
	aead := r.keys[r.first]
	nonce := make([]byte, aead.NonceSize(), aead.NonceSize()+len(secret)+aead.Overhead())
	rand.Read(nonce) // never fails
	sealed := aead.Seal(nonce, nonce, []byte(secret), []byte(place))
	return strings.Join([]string{format, r.first, base64.RawStdEncoding.EncodeToString(sealed)}, ":")
}

// Open opens what Seal returned for the same place.
func (r *Ring) Open(place, sealed string) (string, error) {
	id, data, err := split(sealed)
	if err != nil {
		return "", err
	}
	aead, ok := r.keys[id]
	if !ok {
		return "", fmt.Errorf("a secret was sealed with key %s, which is not among the encryption keys", id)
	}
	if len(data) < aead.NonceSize() {
		return "", errors.New("a sealed secret is damaged")
	}
	plain, err := aead.Open(nil, data[:aead.NonceSize()], data[aead.NonceSize():], []byte(place))
	if err != nil {
		return "", errors.New("a sealed secret is damaged, or was moved from another place")
	}
	return string(plain), nil
}

// Stale reports whether a secret was sealed with another key than the first.
func (r *Ring) Stale(sealed string) bool {
	id, _, err := split(sealed)
	return err == nil && id != r.first
}

func split(sealed string) (id string, data []byte, err error) {
	parts := strings.Split(sealed, ":")
	if len(parts) != 3 || parts[0] != format {
		return "", nil, errors.New("a sealed secret is damaged")
	}
	data, err = base64.RawStdEncoding.DecodeString(parts[2])
	if err != nil {
		return "", nil, errors.New("a sealed secret is damaged")
	}
	return parts[1], data, nil
}
