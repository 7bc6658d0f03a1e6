package objectstore

import (
	"strings"
	"unicode/utf8"

	"daytona/internal/fault"
)

// MaxKey is the longest key, in bytes.
const MaxKey = 1024

// CheckKey refuses keys that a store over a directory could take for another
// place: empty ones, empty, "." and ".." segments, control characters. One slash
// at the end is fine: it is how S3 clients mark a folder.
func CheckKey(key string) error {
	switch {
	case key == "":
		return fault.New(fault.Invalid, "the key is empty")
	case len(key) > MaxKey:
		return fault.New(fault.Invalid, "the key is longer than %d bytes", MaxKey)
	case !utf8.ValidString(key):
		return fault.New(fault.Invalid, "the key is not UTF-8")
	}
	for segment := range strings.SplitSeq(strings.TrimSuffix(key, "/"), "/") {
		if segment == "" || segment == "." || segment == ".." || len(segment) > 255 {
			return fault.New(fault.Invalid, "the key has a segment that no name can be: %q", segment)
		}
	}
	for _, c := range key {
		if c < ' ' || c == 0x7f || c == '\\' {
			return fault.New(fault.Invalid, "the key contains the character %q", c)
		}
	}
	return nil
}
