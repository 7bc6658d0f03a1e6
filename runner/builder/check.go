package builder

import (
	"bytes"
	"regexp"
	"strings"

	"github.com/distribution/reference"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"

	"daytona/api/runnerapi"
	"daytona/internal/fault"
)

// check refuses, as Invalid, a Dockerfile that cannot be built or asks for what
// no build gets, with a text that names the line.
func check(spec *runnerapi.Build) error {
	if err := checkSyntax([]byte(spec.Dockerfile)); err != nil {
		return err
	}
	if s := spec.Args["BUILDKIT_SYNTAX"]; s != "" && !ours(s) {
		return foreign(s)
	}
	stages, err := parse(spec.Dockerfile)
	if err != nil {
		return err
	}
	for _, st := range stages {
		for _, cmd := range st.Commands {
			if err := checkCommand(cmd); err != nil {
				return err
			}
		}
	}
	return nil
}

func parse(dockerfile string) ([]instructions.Stage, error) {
	res, err := parser.Parse(strings.NewReader(dockerfile))
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "the Dockerfile cannot be read: %s", err)
	}
	stages, _, err := instructions.Parse(res.AST, linter.New(&linter.Config{}))
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "the Dockerfile cannot be read: %s", err)
	}
	if len(stages) == 0 {
		return nil, fault.New(fault.Invalid, "the Dockerfile has no FROM")
	}
	return stages, nil
}

// ourSyntax are the names of the front end that is built in, whatever version
// they ask for: this one is as new as it gets.
var ourSyntax = regexp.MustCompile(`^(docker\.io/|index\.docker\.io/)?docker/dockerfile(-upstream)?(:[\w.-]*)?(@sha256:[0-9a-f]+)?$`)

func ours(ref string) bool {
	ref, _, _ = strings.Cut(strings.TrimSpace(ref), " ")
	return ourSyntax.MatchString(ref) && !strings.HasSuffix(ref, "-labs")
}

func foreign(ref string) error {
	return fault.New(fault.Invalid, "the Dockerfile asks for the syntax %q; only docker/dockerfile is there: leave the line out", ref)
}

func checkSyntax(dockerfile []byte) error {
	ref, _, _, ok := parser.DetectSyntax(bytes.TrimSpace(dockerfile))
	if ok && !ours(ref) {
		return foreign(ref)
	}
	return nil
}

// checkCommand refuses what would reach out of a sandbox.
func checkCommand(cmd instructions.Command) error {
	line := 0
	if loc := cmd.Location(); len(loc) > 0 {
		line = loc[0].Start.Line
	}
	refuse := func(what, instead string) error {
		return fault.New(fault.Invalid, "line %d of the Dockerfile: %s is not possible here; %s", line, what, instead)
	}
	switch c := cmd.(type) {
	case *instructions.RunCommand:
		// Some flags are only read once the arguments are known; those that
		// matter are read here without.
		if err := c.Expand(func(word string) (string, error) { return word, nil }); err != nil {
			return fault.Wrap(err, fault.Invalid, "line %d of the Dockerfile: %s", line, err)
		}
		if instructions.GetSecurity(c) == instructions.SecurityInsecure {
			return refuse("RUN --security=insecure", "a step has the rights of a sandbox")
		}
		if instructions.GetNetwork(c) == instructions.NetworkHost {
			return refuse("RUN --network=host", "a step has the network of a sandbox")
		}
		for _, m := range instructions.GetMounts(c) {
			switch m.Type {
			case instructions.MountTypeSecret:
				return refuse("RUN --mount=type=secret", "nobody gives a build its secrets: give them to the sandbox, as environment variables")
			case instructions.MountTypeSSH:
				return refuse("RUN --mount=type=ssh", "a build has no keys of yours")
			}
		}
	case *instructions.AddCommand:
		for _, src := range c.SourcePaths {
			if isGit(src) {
				return refuse("ADD of a git repository", "clone it in a RUN step")
			}
		}
	}
	return nil
}

func isGit(src string) bool {
	base, _, _ := strings.Cut(src, "#")
	base, _, _ = strings.Cut(base, "?")
	return strings.HasPrefix(src, "git@") || strings.HasPrefix(src, "git://") || strings.HasPrefix(src, "ssh://") ||
		strings.Contains(src, "://") && strings.HasSuffix(base, ".git")
}

// imagesOf lists the images that a build begins from or copies from, as far as
// they can be read without its arguments.
func imagesOf(spec *runnerapi.Build) []reference.Named {
	stages, err := parse(spec.Dockerfile)
	if err != nil {
		return nil
	}
	var all []reference.Named
	add := func(name string) {
		if named, err := reference.ParseDockerRef(name); err == nil {
			all = append(all, named)
		}
	}
	for _, st := range stages {
		add(st.BaseName)
		for _, cmd := range st.Commands {
			switch c := cmd.(type) {
			case *instructions.CopyCommand:
				add(c.From)
			case *instructions.RunCommand:
				for _, m := range instructions.GetMounts(c) {
					add(m.From)
				}
			}
		}
	}
	return all
}
