package rootfs

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"

	"daytona/internal/fault"
	"daytona/internal/lazyregexp"
)

// BootstrapOptions say which Debian to bootstrap.
type BootstrapOptions struct {
	Suite   string   // "" means bookworm
	Mirror  string   // base URL; "" uses the host's own package sources
	Include []string // packages on top of a minimal system
	// TempDir is where scratch goes; a killed process leaves it there. Use
	// Store.TempDir, which Open empties.
	TempDir  string
	Progress func(string) // lines for a person; may be nil
	Log      *slog.Logger
}

const mmdebstrap = "mmdebstrap"

var (
	suiteRule   = lazyregexp.New(`^[a-z][a-z0-9-]{0,63}$`)
	packageRule = lazyregexp.New(`^[a-z0-9][a-z0-9.+-]{0,127}$`)
	mirrorRule  = lazyregexp.New(`^https?://[^\s"'\\]+$`)
)

// Bootstrap makes a minimal Debian root file system from packages and returns
// it as a tar stream, for ImportTar. Documentation and translations are left
// out. Reading ends with an error, never with EOF, when the bootstrap failed.
// Close ends it early. It needs root and the package mmdebstrap (Unavailable if
// that is missing).
//
// It runs in mount and process namespaces of its own and dies with this
// process, so that even a kill leaves nothing but files in TempDir.
func Bootstrap(ctx context.Context, o BootstrapOptions) (io.ReadCloser, error) {
	args, err := o.args()
	if err != nil {
		return nil, err
	}
	path, err := exec.LookPath(mmdebstrap)
	if err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "mmdebstrap was not found; install the package mmdebstrap")
	}
	tmp, err := os.MkdirTemp(o.TempDir, "bootstrap-")
	if err != nil {
		return nil, fmt.Errorf("bootstrap: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	pr, pw := io.Pipe()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp, "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8")
	cmd.Stdout = pw
	tail := &lineLog{progress: o.Progress, log: o.Log}
	cmd.Stderr = tail
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWPID,
		// Go makes the mounts of an unshared namespace private to it.
		Unshareflags: syscall.CLONE_NEWNS,
		Pdeathsig:    syscall.SIGKILL,
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		// The signal at our death is tied to the thread that started the child.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Run()
		tail.flush()
		if rerr := removeTree(tmp); rerr != nil && o.Log != nil {
			o.Log.Warn("bootstrap's scratch cannot be removed", "dir", tmp, "err", rerr)
		}
		switch {
		case err == nil:
			_ = pw.Close() // a pipe in memory: never fails
		case ctx.Err() != nil:
			pw.CloseWithError(ctx.Err())
		default:
			pw.CloseWithError(fault.Wrap(fmt.Errorf("%w: %s", err, tail.last()), fault.Unavailable, "the Debian base cannot be bootstrapped: %s", tail.lastError()))
		}
	}()
	return &bootstrapStream{PipeReader: pr, cancel: cancel, done: done}, nil
}

// args is the command line, or Invalid for what could not be one.
func (o BootstrapOptions) args() ([]string, error) {
	suite := o.Suite
	if suite == "" {
		suite = "bookworm"
	}
	if !suiteRule.MatchString(suite) {
		return nil, fault.New(fault.Invalid, "%q is not a Debian suite", suite)
	}
	args := []string{"--variant=minbase", "--mode=root", "--format=tar"}
	for _, p := range []string{"/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*", "/usr/share/lintian/*"} {
		args = append(args, "--dpkgopt=path-exclude="+p)
	}
	// Licences have to stay with what they license.
	args = append(args, "--dpkgopt=path-include=/usr/share/doc/*/copyright", `--aptopt=Acquire::Languages "none"`)
	for _, p := range o.Include {
		if !packageRule.MatchString(p) {
			return nil, fault.New(fault.Invalid, "%q is not a Debian package", p)
		}
	}
	if len(o.Include) > 0 {
		args = append(args, "--include="+strings.Join(o.Include, ","))
	}
	args = append(args, suite, "-")
	if o.Mirror != "" {
		if !mirrorRule.MatchString(o.Mirror) {
			return nil, fault.New(fault.Invalid, "%q is not the URL of a package mirror", o.Mirror)
		}
		args = append(args, o.Mirror)
	}
	return args, nil
}

type bootstrapStream struct {
	*io.PipeReader
	cancel context.CancelFunc
	done   chan struct{}
}

// Close returns when nothing of the bootstrap is left.
func (b *bootstrapStream) Close() error {
	b.cancel()
	err := b.PipeReader.Close()
	<-b.done
	return err
}

// lineLog takes the bootstrap's messages line by line. One goroutine writes.
type lineLog struct {
	progress func(string)
	log      *slog.Logger
	part     []byte
	lines    []string // the last few
}

func (l *lineLog) Write(p []byte) (int, error) {
	l.part = append(l.part, p...)
	for {
		n, line, err := bufio.ScanLines(l.part, false)
		if err != nil || n == 0 {
			break
		}
		l.line(string(line))
		l.part = l.part[n:]
	}
	if len(l.part) > 8<<10 {
		l.flush()
	}
	return len(p), nil
}

func (l *lineLog) flush() {
	if len(l.part) > 0 {
		l.line(string(l.part))
		l.part = nil
	}
}

func (l *lineLog) line(s string) {
	// A progress bar redraws its line; its last state is what counts.
	if i := strings.LastIndexByte(strings.TrimRight(s, "\r"), '\r'); i >= 0 {
		s = s[i+1:]
	}
	s = strings.TrimSpace(s)
	if s == "" {
		return
	}
	if l.lines = append(l.lines, s); len(l.lines) > 20 {
		l.lines = l.lines[1:]
	}
	if l.log != nil {
		l.log.Debug("bootstrap", "line", s)
	}
	if l.progress != nil {
		l.progress(strings.TrimPrefix(s, "I: "))
	}
}

func (l *lineLog) last() string { return strings.Join(l.lines, "; ") }

// lastError is the last line that says what went wrong.
func (l *lineLog) lastError() string {
	for i := len(l.lines) - 1; i >= 0; i-- {
		if e, ok := strings.CutPrefix(l.lines[i], "E: "); ok && !strings.Contains(e, "exited with") {
			return e
		}
	}
	if len(l.lines) > 0 {
		return l.lines[len(l.lines)-1]
	}
	return "it said nothing"
}

var _ io.ReadCloser = (*bootstrapStream)(nil)
