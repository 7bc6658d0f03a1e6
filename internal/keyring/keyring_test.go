package keyring

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func key(b byte) string {
	return base64.StdEncoding.EncodeToString([]byte(strings.Repeat(string(rune(b)), Size)))
}

func ring(t *testing.T, text string) *Ring {
	t.Helper()
	r, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestSealAndOpen(t *testing.T) {
	r := ring(t, "# a comment\n\n"+key('a')+"\n")
	sealed := r.Seal("registry/1", "hunter2")
	if strings.Contains(sealed, "hunter2") || sealed == r.Seal("registry/1", "hunter2") {
		t.Errorf("sealed as %s", sealed)
	}
	if got, err := r.Open("registry/1", sealed); err != nil || got != "hunter2" {
		t.Errorf("opened %q, %v", got, err)
	}
	if _, err := r.Open("registry/2", sealed); err == nil {
		t.Error("opens in another place")
	}
	for i := range sealed { // whatever byte is changed
		if c := []byte(sealed); c[i] != 'A' {
			c[i] = 'A'
			if got, err := r.Open("registry/1", string(c)); err == nil && got == "hunter2" && i < len(sealed)-1 {
				t.Errorf("opens with byte %d changed", i)
			}
		}
	}
	for _, damaged := range []string{"", "v1", "v1::", "v2:" + sealed[3:], sealed + ":", sealed[:len(sealed)-8], "v1:" + r.first + ":AAAA"} {
		if _, err := r.Open("registry/1", damaged); err == nil {
			t.Errorf("%q opens", damaged)
		}
	}
}

func TestRotation(t *testing.T) {
	old := ring(t, key('a'))
	both := ring(t, key('b')+","+key('a'))
	sealed := old.Seal("p", "x")
	if got, err := both.Open("p", sealed); err != nil || got != "x" || !both.Stale(sealed) {
		t.Errorf("with both keys: %q, %v", got, err)
	}
	anew := both.Seal("p", "x")
	if both.Stale(anew) {
		t.Error("sealed with the old key")
	}
	if got, err := ring(t, key('b')).Open("p", anew); err != nil || got != "x" {
		t.Errorf("with the new key alone: %q, %v", got, err)
	}
	if _, err := ring(t, key('b')).Open("p", sealed); err == nil || !strings.Contains(err.Error(), "not among") {
		t.Errorf("without the old key: %v", err)
	}
}

func TestOpenFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys")
	first, err := OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	second, err := OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := second.Open("p", first.Seal("p", "x")); err != nil || got != "x" {
		t.Errorf("the file is not read again: %q, %v", got, err)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	for _, bad := range []string{"", "# nothing\n", "short", key('a')[:40]} {
		if err := os.WriteFile(path, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenFile(path); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}
