package daytona

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Image describes an image that the server builds: the lines of a Dockerfile,
// and the local files that they copy. Its methods add lines and return it. The
// first thing that is wrong is told when the image is used.
//
//	image := daytona.ImageFrom("debian:12").
//		Run("apt-get update && apt-get install -y python3").
//		AddLocalDir("src", "/app")
type Image struct {
	lines    []string
	contexts []contextEntry
	hashes   []string // of contexts that are there already
	err      error
}

// contextEntry is a local file or directory, and where it stands in the build's
// context.
type contextEntry struct {
	local   string
	archive string // slash-separated, without a leading slash; "." is the root
	ignore  string // a .dockerignore file, or ""
	root    string // the directory from which its patterns count
}

// ImageFrom begins with an image that a registry has.
func ImageFrom(name string) *Image { return &Image{lines: []string{"FROM " + name}} }

// ImageDebianSlim begins an image with Debian and Python, such as "3.13".
func ImageDebianSlim(python string) *Image { return ImageFrom("python:" + python + "-slim-bookworm") }

// ImageFromDockerfile takes a Dockerfile as it stands. What its COPY and ADD
// lines take from the disk is sent along, as far as .dockerignore lets it;
// contextDir is where they count from, "" for the Dockerfile's own directory.
func ImageFromDockerfile(path, contextDir string) *Image {
	text, err := os.ReadFile(path)
	if err != nil {
		return &Image{err: err}
	}
	if contextDir == "" {
		contextDir = filepath.Dir(path)
	}
	img := &Image{lines: []string{strings.TrimRight(string(text), "\n")}}
	sources, err := copySources(string(text))
	if err != nil {
		return &Image{err: fmt.Errorf("%s: %w", path, err)}
	}
	img.addSources(sources, contextDir, ignoreFile(path, contextDir))
	return img
}

// ImageFromText takes the text of a Dockerfile. What it copies has been uploaded
// already, under these hashes.
func ImageFromText(dockerfile string, contextHashes ...string) *Image {
	return &Image{lines: []string{strings.TrimRight(dockerfile, "\n")}, hashes: contextHashes}
}

// ImageFromFiles takes a Dockerfile as it stands, and sends along the files and
// directories that are named; within the build they stand where they are below
// contextDir, and what is not below it, under its own name.
func ImageFromFiles(path, contextDir string, files ...string) *Image {
	text, err := os.ReadFile(path)
	if err != nil {
		return &Image{err: err}
	}
	img := &Image{lines: []string{strings.TrimRight(string(text), "\n")}}
	for _, file := range files {
		rel, err := relative(contextDir, file)
		if err != nil {
			img.fail(err)
			continue
		}
		if strings.HasPrefix(rel, "../") || rel == ".." {
			rel = filepath.Base(file)
		}
		img.contexts = append(img.contexts, contextEntry{local: file, archive: rel, ignore: ignoreFile(path, contextDir), root: contextDir})
	}
	return img
}

// relative returns a path as it is below a directory, with slashes.
func relative(dir, path string) (string, error) {
	if _, err := os.Stat(path); err != nil {
		return "", err
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if path, err = filepath.Abs(path); err != nil {
		return "", err
	}
	rel, err := filepath.Rel(dir, path)
	return filepath.ToSlash(rel), err
}

// ignoreFile returns the .dockerignore file that counts for a Dockerfile, or "".
func ignoreFile(dockerfile, contextDir string) string {
	for _, name := range []string{dockerfile + ".dockerignore", filepath.Join(contextDir, ".dockerignore")} {
		if info, err := os.Stat(name); err == nil && info.Mode().IsRegular() {
			return name
		}
	}
	return ""
}

// addSources adds what patterns of COPY lines match below a directory. The
// directory itself stands for all of them.
func (i *Image) addSources(sources []string, dir, ignore string) {
	var found []string
	for _, source := range sources {
		source = strings.TrimLeft(filepath.ToSlash(source), "/")
		if clean := filepath.ToSlash(filepath.Clean(source)); clean == "." {
			i.contexts = append(i.contexts, contextEntry{local: dir, archive: ".", ignore: ignore, root: dir})
			return
		} else if clean == ".." || strings.HasPrefix(clean, "../") {
			i.fail(fmt.Errorf("%s leads out of the build's context %s", source, dir))
			return
		}
		matches, err := filepath.Glob(filepath.Join(dir, filepath.FromSlash(source)))
		if err != nil {
			i.fail(fmt.Errorf("%s: %w", source, err))
			return
		}
		if len(matches) == 0 {
			i.fail(fmt.Errorf("%s is not in the build's context %s", source, dir))
			return
		}
		found = append(found, matches...)
	}
	slices.Sort(found)
	for _, path := range slices.Compact(found) {
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			i.fail(err)
			return
		}
		i.contexts = append(i.contexts, contextEntry{local: path, archive: filepath.ToSlash(rel), ignore: ignore, root: dir})
	}
}

func (i *Image) fail(err error) {
	if i.err == nil {
		i.err = fmt.Errorf("daytona: image: %w", err)
	}
}

func (i *Image) line(format string, args ...any) *Image {
	i.lines = append(i.lines, fmt.Sprintf(format, args...))
	return i
}

// Run adds commands that run while the image is built, one line each.
func (i *Image) Run(commands ...string) *Image {
	for _, command := range commands {
		i.line("RUN %s", command)
	}
	return i
}

// PipInstall installs Python packages.
func (i *Image) PipInstall(packages ...string) *Image {
	packages = slices.Sorted(slices.Values(packages))
	for n := range packages {
		packages[n] = ShellQuote(packages[n])
	}
	return i.line("RUN python -m pip install %s", strings.Join(packages, " "))
}

// PipInstallFrom installs the Python packages that a local requirements file
// lists.
func (i *Image) PipInstallFrom(requirements string) *Image {
	return i.AddLocalFile(requirements, "/.requirements.txt").line("RUN python -m pip install -r /.requirements.txt")
}

// Env sets variables.
func (i *Image) Env(vars map[string]string) *Image {
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		i.line("ENV %s=%s", name, ShellQuote(vars[name]))
	}
	return i
}

// Workdir sets the directory in which programs start.
func (i *Image) Workdir(dir string) *Image { return i.line("WORKDIR %s", ShellQuote(dir)) }

// User sets as whom programs run.
func (i *Image) User(name string) *Image { return i.line("USER %s", name) }

// Entrypoint sets the program that sandboxes run beside everything else.
func (i *Image) Entrypoint(words ...string) *Image { return i.list("ENTRYPOINT", words) }

// Cmd sets the program's arguments, or the program when there is no entrypoint.
func (i *Image) Cmd(words ...string) *Image { return i.list("CMD", words) }

func (i *Image) list(name string, words []string) *Image {
	text, err := json.Marshal(words)
	if err != nil {
		i.fail(err)
		return i
	}
	return i.line("%s %s", name, text)
}

// AddLocalFile copies a local file into the image.
func (i *Image) AddLocalFile(local, remote string) *Image { return i.addLocal(local, remote, false) }

// AddLocalDir copies what is in a local directory into the image.
func (i *Image) AddLocalDir(local, remote string) *Image { return i.addLocal(local, remote, true) }

func (i *Image) addLocal(local, remote string, dir bool) *Image {
	info, err := os.Stat(local)
	switch {
	case err != nil:
		i.fail(err)
		return i
	case info.IsDir() != dir:
		i.fail(fmt.Errorf("%s: AddLocalFile takes files, AddLocalDir directories", local))
		return i
	}
	abs, err := filepath.Abs(local)
	if err != nil {
		i.fail(err)
		return i
	}
	archive := strings.TrimLeft(filepath.ToSlash(strings.TrimPrefix(abs, filepath.VolumeName(abs))), "/")
	i.add(abs, archive)
	return i.list("COPY", []string{archive, remote})
}

func (i *Image) add(local, archive string) {
	i.contexts = append(i.contexts, contextEntry{local: local, archive: archive})
}

// Lines adds lines of a Dockerfile as they stand.
func (i *Image) Lines(lines ...string) *Image {
	i.lines = append(i.lines, lines...)
	return i
}

// Dockerfile returns the text that is built.
func (i *Image) Dockerfile() string { return strings.Join(i.lines, "\n") + "\n" }

func (i *Image) check() error {
	if i.err != nil {
		return i.err
	}
	if len(i.lines) == 0 || strings.TrimSpace(i.Dockerfile()) == "" {
		return errors.New("daytona: the image has no lines; begin with ImageFrom or ImageFromDockerfile")
	}
	return nil
}

// ShellQuote quotes a text so that a POSIX shell takes it as one word.
func ShellQuote(text string) string {
	if text != "" && strings.IndexFunc(text, func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_@%+=:,./-", r)
	}) < 0 {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'"'"'`) + "'"
}
