package cli

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"golang.org/x/term"

	daytona "daytona/sdk/go"
)

// resizeEvery is how often the size of the terminal is looked at, which works
// on every system.
const resizeEvery = 500 * time.Millisecond

// attach connects this terminal to a new one in a sandbox, in which a command
// runs, or a shell.
func (a *App) attach(ctx context.Context, sb *daytona.Sandbox, o daytona.PTYOptions, line string) error {
	in := int(os.Stdin.Fd())
	if !a.Interactive {
		return errors.New("--tty needs a terminal at both ends, and here is none; leave it out")
	}
	o.Cols, o.Rows, _ = term.GetSize(in)
	if o.Env == nil {
		o.Env = map[string]string{}
	}
	if name := a.getenv("TERM"); name != "" && o.Env["TERM"] == "" {
		o.Env["TERM"] = name
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	pty, err := sb.Process.OpenPTY(ctx, o)
	if err != nil {
		return err
	}
	defer func() { _ = pty.Close() }()
	if line != "" {
		// The shell's place is taken by the command, whose end is the end.
		if _, err := io.WriteString(pty, " clear; exec sh -c "+daytona.ShellQuote(line)+"\n"); err != nil {
			return err
		}
	}
	before, err := term.MakeRaw(in)
	if err != nil {
		return err
	}
	defer func() { _ = term.Restore(in, before) }()
	go func() {
		_, _ = io.Copy(pty, a.In)
	}()
	go a.followSize(ctx, pty, in, o.Cols, o.Rows)
	_, copyErr := io.Copy(a.Out, struct{ io.Reader }{pty})
	code, err := pty.Wait()
	if err := errors.Join(copyErr, err); err != nil {
		return err
	}
	if code != 0 {
		return &ExitError{exitCode(code)}
	}
	return nil
}

func (a *App) followSize(ctx context.Context, pty *daytona.PTY, fd, cols, rows int) {
	tick := time.NewTicker(resizeEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if c, r, err := term.GetSize(fd); err == nil && (c != cols || r != rows) && pty.Resize(ctx, c, r) == nil {
			cols, rows = c, r
		}
	}
}
