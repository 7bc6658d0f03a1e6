package local

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"daytona/internal/fault"
)

func TestPassable(t *testing.T) {
	base, err := os.MkdirTemp("", "passable")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(base); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(base, 0o711); err != nil {
		t.Fatal(err)
	}
	closed := filepath.Join(base, "closed")
	if err := os.MkdirAll(filepath.Join(closed, "open"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]string{
		base:                                  "",
		filepath.Join(base, "not", "there"):   "",
		closed:                                closed,
		filepath.Join(closed, "open"):         closed,
		filepath.Join(closed, "open", "more"): closed,
	} {
		err := passable(dir)
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", dir, err)
		case want != "" && (!fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "chmod o+x "+want+"`")):
			t.Errorf("%s: %v, want a fault about %s", dir, err, want)
		}
	}
}
