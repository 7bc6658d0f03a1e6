package git

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"daytona/internal/fault"
	"daytona/toolbox/launch"
	"daytona/toolbox/reaper"
)

// command is one run of the git program.
type command struct {
	args  []string // git's own, the subcommand first
	set   []string // settings for this run, as "key=value"
	dir   string   // where it starts; a repository is not looked for above it
	input []byte
	env   map[string]string
	// login is given to the remote when it asks; nil for what the user has
	// configured.
	login *login
	// insecure accepts any certificate.
	insecure bool
}

// failure is a run of git that ended with an error.
type failure struct {
	args   []string
	exit   int
	stdout string // its end
	stderr string // its end
}

func (f *failure) Error() string {
	return fmt.Sprintf("git %s: exit code %d: %s", strings.Join(f.args, " "), f.exit, f.stderr)
}

// output is what a run of git wrote.
type output struct {
	stdout, stderr string
}

// line is what was written to standard output, without the line's end.
func (o output) line() string { return strings.TrimSuffix(o.stdout, "\n") }

// Limits on what is kept of one run, in bytes.
const (
	maxOutput = 8 << 20
	maxErrors = 16 << 10
)

// run runs git to its end. Its error is a *failure when git failed.
func (s *Service) run(ctx context.Context, c command) (output, error) {
	var out strings.Builder
	warnings, err := s.stream(ctx, c, func(r io.Reader) error {
		n, err := io.Copy(&out, io.LimitReader(r, maxOutput+1))
		if err == nil && n > maxOutput {
			err = fmt.Errorf("git %s: more than %d bytes of output", c.args[0], maxOutput)
		}
		return err
	})
	if f, ok := errors.AsType[*failure](err); ok {
		f.stdout = out.String()
		f.stdout = f.stdout[max(0, len(f.stdout)-maxErrors):]
	}
	return output{out.String(), warnings}, err
}

// do is run for callers to whom it only matters that it worked. Its errors are
// faults.
func (s *Service) do(ctx context.Context, c command) error {
	_, err := s.run(ctx, c)
	return problem(err)
}

// stream runs git and has read take its standard output. It returns the end of
// what git wrote to standard error. When ctx ends, or read fails, git and what
// it started are ended.
func (s *Service) stream(ctx context.Context, c command, read func(io.Reader) error) (string, error) {
	start, release, err := s.prepare(c)
	if err != nil {
		return "", err
	}
	defer release()
	stdout, err := newPipe()
	if err != nil {
		return "", err
	}
	defer stdout.close()
	stderr, err := newPipe()
	if err != nil {
		return "", err
	}
	defer stderr.close()
	start.Stdout, start.Stderr = stdout.writer, stderr.writer
	child, err := s.Space.Table.Start(start)
	if err != nil {
		return "", startProblem(err, c.dir)
	}
	stdout.writer.Close()
	stderr.writer.Close()
	release()

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ended := make(chan bool, 1)
	go func() {
		ok := await(ctx, child)
		stdout.end()
		stderr.end()
		ended <- ok
	}()
	complaints := &tail{limit: maxErrors}
	heard := make(chan struct{})
	go func() {
		defer close(heard)
		_, _ = io.Copy(complaints, stderr) // ends with the process
	}()
	err = read(stdout)
	if err != nil {
		cancel(err)
	}
	stdout.reader.Close() // a program that writes on is told
	ok := <-ended
	<-heard
	warnings := strings.ToValidUTF8(string(complaints.buf), "\uFFFD")
	switch {
	case ctx.Err() != nil:
		return warnings, context.Cause(ctx)
	case err != nil:
		return warnings, err
	case !ok:
		return warnings, errors.New("git could not be ended")
	case child.ExitCode() != 0:
		return warnings, &failure{args: c.args, exit: child.ExitCode(), stderr: warnings}
	}
	return warnings, nil
}

// How long git is given to tidy up (its lock files, a half-written pack) when
// it is asked to end, and how long a killed one is waited for.
const (
	grace    = 3 * time.Second
	killWait = 2 * time.Second
)

// await waits for the end of child, and brings it about when ctx ends. It
// reports whether it has ended.
func await(ctx context.Context, child *reaper.Child) bool {
	select {
	case <-child.Done():
		return true
	case <-ctx.Done():
	}
	child.Signal(syscall.SIGTERM)
	child.Signal(syscall.SIGCONT)
	select {
	case <-child.Done():
		return true
	case <-time.After(grace):
	}
	child.KillTree()
	select {
	case <-child.Done():
		return true
	case <-time.After(killWait):
		return false
	}
}

// prepare makes everything that a run needs but its output. release closes
// what the run was given; it may be called twice.
func (s *Service) prepare(c command) (start reaper.Command, release func(), err error) {
	env := s.environ(c)
	path, err := launch.LookPath("git", env["PATH"], "/")
	if err != nil {
		return start, nil, fault.Wrap(err, fault.Unprocessable,
			"git is not installed in this sandbox: install it (apt-get install git, apk add git, dnf install git) or use a snapshot that has it").WithCode(codeNotInstalled)
	}
	var files []*os.File
	release = func() {
		for _, f := range files {
			f.Close()
		}
		files = nil
	}
	stdin, err := launch.InputFile(c.input)
	if err != nil {
		return start, nil, err
	}
	files = append(files, stdin)
	start = reaper.Command{Path: path, Args: append([]string{"git"}, s.settings(c)...), Env: env.Pairs(), Dir: c.dir, Stdin: stdin}
	if c.login != nil {
		secret, err := c.login.open()
		if err != nil {
			release()
			return start, nil, err
		}
		files = append(files, secret)
		start.Extra = []*os.File{secret}
	}
	start.Args = append(start.Args, c.args...)
	return start, release, nil
}

// settings are the options of every run. They stand above what any file of the
// user's or of the repository says, and are written to none.
func (s *Service) settings(c command) []string {
	args := []string{
		// What a repository brings along is data here, not programs.
		"-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "submodule.recurse=false",
		// Nothing stays behind at work when the answer has been given.
		"-c", "gc.auto=0", "-c", "maintenance.auto=false",
		// Everything in a sandbox is its one user's, also what root or a
		// volume owns.
		"-c", "safe.directory=*",
		"-c", "color.ui=false", "-c", "log.showSignature=false", "-c", "advice.detachedHead=false",
		// A server that sends nothing at all for ten minutes has gone.
		"-c", "http.lowSpeedLimit=1", "-c", "http.lowSpeedTime=600",
	}
	if c.insecure {
		args = append(args, "-c", "http.sslVerify=false")
	}
	if c.login != nil {
		args = append(args, c.login.settings()...)
	}
	for _, setting := range c.set {
		args = append(args, "-c", setting)
	}
	return args
}

// foreign are variables that would lead git to another repository than the one
// that a request names, or change what it prints.
var foreign = []string{
	"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES",
	"GIT_COMMON_DIR", "GIT_NAMESPACE", "GIT_PREFIX", "GIT_SHALLOW_FILE", "GIT_GRAFT_FILE", "GIT_REPLACE_REF_BASE",
	"GIT_CONFIG", "GIT_ATTR_SOURCE", "GIT_EXTERNAL_DIFF", "GIT_CURL_VERBOSE", "GIT_GLOB_PATHSPECS",
	"GIT_NOGLOB_PATHSPECS", "GIT_ICASE_PATHSPECS", "LANGUAGE",
}

// environ is the environment of one run.
func (s *Service) environ(c command) launch.Vars {
	env := s.Space.Env.With(nil)
	for _, name := range foreign {
		delete(env, name)
	}
	for name := range env {
		if strings.HasPrefix(name, "GIT_TRACE") {
			delete(env, name)
		}
	}
	env["LC_ALL"] = "C" // its messages are read here
	env["GIT_TERMINAL_PROMPT"] = "0"
	env["GIT_EDITOR"] = ":"
	env["GIT_PAGER"] = "cat"
	env["GIT_ADVICE"] = "0"
	env["GIT_OPTIONAL_LOCKS"] = "0"
	env["GIT_LITERAL_PATHSPECS"] = "1" // a client's paths are names, not patterns
	env["GIT_ALLOW_PROTOCOL"] = strings.Join(protocols, ":")
	if c.dir != "" {
		env["GIT_CEILING_DIRECTORIES"] = filepath.Dir(c.dir)
	}
	for name, value := range c.env {
		env[name] = value
	}
	return env
}

func startProblem(err error, dir string) error {
	if errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ENOTDIR) {
		if pathErr, ok := errors.AsType[*os.PathError](err); ok && pathErr.Op == "chdir" {
			return noRepository(err, dir)
		}
	}
	if errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.ENOMEM) {
		return fault.Wrap(err, fault.Unavailable, "the sandbox cannot start another process; try again when others have ended")
	}
	if errors.Is(err, syscall.EACCES) {
		return fault.Wrap(err, fault.Forbidden, "permission denied: %s", dir)
	}
	return fmt.Errorf("start git: %w", err)
}
