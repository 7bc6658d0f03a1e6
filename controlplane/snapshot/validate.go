package snapshot

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/distribution/reference"

	"daytona/controlplane/org"
	"daytona/internal/fault"
	"daytona/internal/lazyregexp"
)

// Limits on what a request may carry.
const (
	maxName       = 255
	maxDockerfile = 1 << 20
	maxContexts   = 1000
	maxEntrypoint = 256      // words
	maxWords      = 32 << 10 // bytes of all of them
	maxResource   = 1<<31 - 1
)

// CreateRequest is what a client asks for. Nil is absent.
type CreateRequest struct {
	Name       string
	ImageName  *string
	Build      *BuildRequest
	Entrypoint []string
	General    *bool
	Isolation  *string // the weakest that its sandboxes may have

	CPU, GPU, Memory, Disk *int // vCPUs, -, GiB, GiB

	Region       *string
	SandboxClass *string
	GPUType      []string
}

// BuildRequest is a definition as the SDKs' builders send it.
type BuildRequest struct {
	Dockerfile string
	Contexts   []string
}

var (
	nameRule    = lazyregexp.New(`^[A-Za-z0-9_.:/-]+$`)
	contextRule = lazyregexp.New(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)
	moving      = []string{"latest", "lts", "stable"}
)

// Validate checks every field and returns the resources that are asked for, with
// defaults filled in. The error is Invalid and names each field that is wrong.
func (r CreateRequest) Validate() (org.Resources, error) {
	var bad []string
	check := func(field string, err error) {
		if err != nil {
			bad = append(bad, field+": "+err.Error())
		}
	}
	check("name", CheckName(r.Name))
	image := r.ImageName != nil && *r.ImageName != ""
	switch {
	case image && r.Build != nil:
		check("imageName", errors.New("cannot be given together with buildInfo. Send one of them"))
	case image:
		check("imageName", CheckImageName(*r.ImageName))
	case r.Build == nil:
		check("imageName", errors.New("give an image, such as debian:12.11, or buildInfo with a Dockerfile"))
	default:
		check("buildInfo.dockerfileContent", CheckDockerfile(r.Build.Dockerfile))
		check("buildInfo.contextHashes", CheckContexts(r.Build.Contexts))
		if len(r.Entrypoint) > 0 {
			check("entrypoint", errors.New("cannot be given together with buildInfo. Write an ENTRYPOINT line into the Dockerfile"))
		}
	}
	check("entrypoint", checkEntrypoint(r.Entrypoint))
	res := org.Resources{CPU: 1, MemoryGiB: 1, DiskGiB: 3}
	for _, f := range []struct {
		name string
		v    *int
		to   *int
	}{{"cpu", r.CPU, &res.CPU}, {"memory", r.Memory, &res.MemoryGiB}, {"disk", r.Disk, &res.DiskGiB}} {
		switch {
		case f.v == nil || *f.v == 0: // clients send 0 for "not given"
		case *f.v < 0 || *f.v > maxResource:
			check(f.name, errors.New("must be a positive integer"))
		default:
			*f.to = *f.v
		}
	}
	if r.GPU != nil && *r.GPU != 0 || len(r.GPUType) > 0 {
		check("gpu", errors.New("must be 0: GPUs are not available on this server"))
	}
	if c := r.SandboxClass; c != nil && *c != "" && *c != "container" {
		check("sandboxClass", errors.New("must be container: this server has no virtual machines"))
	}
	if len(bad) > 0 {
		return res, fault.New(fault.Invalid, "%s", strings.Join(bad, ", "))
	}
	return res, nil
}

// CheckName checks the name of a snapshot.
func CheckName(s string) error {
	switch {
	case s == "":
		return errors.New("must not be empty")
	case len(s) > maxName:
		return fmt.Errorf("must have at most %d characters", maxName)
	case !nameRule.MatchString(s):
		return errors.New("must consist of letters, digits, '_', '.', '-', ':' and '/'")
	}
	for part := range strings.SplitSeq(s, "/") {
		if part == "" || part == "." || part == ".." {
			return errors.New("must have something other than dots before and after each '/'")
		}
	}
	return nil
}

// CheckImageName checks the name of an image in a registry. It must name one
// content for good, as far as a tag can.
func CheckImageName(s string) error {
	const instead = "Write the version, as in %s:1.2.3, or a digest, as in %s@sha256:…"
	if len(s) > 2*maxName {
		return fmt.Errorf("must have at most %d characters", 2*maxName)
	}
	ref, err := reference.ParseNormalizedNamed(s)
	if err != nil {
		return fmt.Errorf("%q is not the name of an image, such as debian:12.11 or ghcr.io/acme/tools:1.4 (%w)", shorten(s), err)
	}
	bare := reference.FamiliarName(ref)
	if _, ok := ref.(reference.Digested); ok {
		return nil
	}
	tagged, ok := ref.(reference.Tagged)
	if !ok {
		return fmt.Errorf("has no tag, and what it stands for would change. "+instead, bare, bare)
	}
	if slices.Contains(moving, strings.ToLower(tagged.Tag())) {
		return fmt.Errorf("tag %q is not allowed, because what it stands for changes. "+instead, tagged.Tag(), bare, bare)
	}
	return nil
}

// CheckDockerfile checks what can be known of a Dockerfile without building it.
func CheckDockerfile(text string) error {
	switch {
	case strings.TrimSpace(text) == "":
		return errors.New("must not be empty")
	case len(text) > maxDockerfile:
		return fmt.Errorf("must have at most %d bytes", maxDockerfile)
	case !utf8.ValidString(text) || strings.ContainsRune(text, 0):
		return errors.New("must be text without NUL")
	}
	return nil
}

// CheckContexts checks hashes of uploaded contexts. They are parts of paths in
// the object storage.
func CheckContexts(hashes []string) error {
	if len(hashes) > maxContexts {
		return fmt.Errorf("must have at most %d entries", maxContexts)
	}
	for _, h := range hashes {
		if !contextRule.MatchString(h) {
			return fmt.Errorf("%q is not the hash of a context", shorten(h))
		}
	}
	return nil
}

func checkEntrypoint(words []string) error {
	size := 0
	for _, w := range words {
		size += len(w)
		if !utf8.ValidString(w) || strings.ContainsRune(w, 0) {
			return errors.New("must be text without NUL")
		}
	}
	switch {
	case len(words) > maxEntrypoint || size > maxWords:
		return fmt.Errorf("must have at most %d words and %d bytes", maxEntrypoint, maxWords)
	case len(words) > 0 && strings.TrimSpace(words[0]) == "":
		return errors.New(`must begin with a program, as in ["sleep", "infinity"]`)
	}
	return nil
}

func shorten(s string) string {
	if len(s) > 64 {
		return strings.ToValidUTF8(s[:64], "") + "…"
	}
	return s
}
