package daytona

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestCopySources(t *testing.T) {
	got, err := copySources(`FROM a AS build
# COPY comment /
COPY --chown=1:1 a b \
  # a comment
  c /dst/
COPY --from=build /x /y
ADD https://example.com/f /f
ADD archive.tgz /opt
COPY ["with space", "/d"]
RUN <<EOF
COPY not this
EOF
COPY <<TXT /etc/motd
COPY neither
TXT
COPY src/*.go /go/
`)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"a", "b", "c", "archive.tgz", "with space", "src/*.go"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func FuzzCopySources(f *testing.F) {
	f.Add("COPY <<A /x\nA\nCOPY [\"a\", \"b\"]\n")
	f.Fuzz(func(t *testing.T, text string) { _, _ = copySources(text) })
}

func TestContextsFollowTheDockerfile(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"Dockerfile": "FROM x\nCOPY app /app\nCOPY *.txt /\n", ".dockerignore": "app/secret\n*.log\n!keep.log\n",
		"app/main.py": "print(1)", "app/secret": "s", "app/keep.txt": "k", "a.txt": "a", "b.txt": "b", "other": "o",
	} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	img := ImageFromDockerfile(filepath.Join(dir, "Dockerfile"), "")
	if err := img.check(); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range img.contexts {
		var first, second bytes.Buffer
		if err := errors.Join(pack(&first, entry), pack(&second, entry)); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(first.Bytes(), second.Bytes()) {
			t.Error("the same files made other bytes")
		}
		for r := tar.NewReader(&first); ; {
			h, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			names = append(names, h.Name)
		}
	}
	if want := []string{"a.txt", "app/", "app/keep.txt", "app/main.py", "b.txt"}; !slices.Equal(names, want) {
		t.Errorf("packed %q, want %q", names, want)
	}
}

func TestContextsStayWithin(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "Dockerfile")
	for _, line := range []string{"COPY ../x /", "COPY missing /"} {
		if err := os.WriteFile(path, []byte("FROM x\n"+line+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := ImageFromDockerfile(path, "").check(); err == nil {
			t.Errorf("%s: no error", line)
		}
	}
}
