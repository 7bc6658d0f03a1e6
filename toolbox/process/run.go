package process

import (
	"context"
	"time"

	"daytona/toolbox/launch"
	"daytona/toolbox/reaper"
)

// job is one command to be run to its end.
type job struct {
	path    string
	args    []string
	env     launch.Vars
	dir     string
	input   []byte        // what it finds on its standard input; then it is at the end of file
	timeout time.Duration // 0 means no limit
	limit   int           // bytes of output to keep
	apart   bool          // standard error is kept apart from standard output
	// direct is the job's other form, without a shell, to be tried first;
	// nil when there is none. shell and command are what this one then stands
	// for, in the words of a report.
	direct         *job
	shell, command string
	// ready starts the job without a fresh process if it can, else it reports
	// that it cannot. May be nil.
	ready func(context.Context, reaper.Command) (*reaper.Child, bool)
}

// outcome is how a job ended.
type outcome struct {
	exitCode int // -1 when it could not be started
	output   []byte
	errors   []byte // standard error, if it was to be kept apart
	cause    string // of launch.Causes
	signal   string
	timedOut bool
}

// killWait bounds the wait for a killed command: one that belongs to another
// user, or hangs in the kernel, must not hold the answer back.
const killWait = 2 * time.Second

// run runs a job. When ctx ends or the time is over, the job and everything it
// started are killed. An error means that the job could not be tried; one that
// could not be started is an outcome.
func run(ctx context.Context, space *launch.Space, j job) (outcome, error) {
	if j.direct != nil {
		o, err := run(ctx, space, *j.direct)
		if err != nil || o.exitCode != -1 || o.timedOut {
			return o, err
		}
		j.direct = nil // not a program that the kernel can run: the shell's turn
	}
	stdin, err := launch.InputFile(j.input)
	if err != nil {
		return outcome{}, err
	}
	defer stdin.Close()
	out, err := newCapture(j.limit)
	if err != nil {
		return outcome{}, err
	}
	errs := out
	if j.apart {
		if errs, err = newCapture(j.limit); err != nil {
			out.abandon()
			return outcome{}, err
		}
	}
	witness := space.Watch()
	command := reaper.Command{
		Path: j.path, Args: j.args, Env: j.env.Pairs(), Dir: j.dir,
		Stdin: stdin, Stdout: out.writer, Stderr: errs.writer,
	}
	child, ok := (*reaper.Child)(nil), false
	if j.ready != nil {
		child, ok = j.ready(ctx, command)
	}
	if !ok {
		child, err = space.Table.Start(command)
	}
	if err != nil {
		out.abandon()
		if j.apart {
			errs.abandon()
		}
		return startFailure(err), nil
	}
	out.start()
	if j.apart {
		errs.start()
	}
	finish := func(o outcome) outcome {
		o.output = out.finish()
		if j.apart {
			o.errors = errs.finish()
		}
		return o
	}

	var late <-chan time.Time
	if j.timeout > 0 {
		timer := time.NewTimer(j.timeout)
		defer timer.Stop()
		late = timer.C
	}
	timedOut := false
	select {
	case <-child.Done():
		end := witness.Ending(child.ExitCode())
		o := finish(outcome{exitCode: end.ExitCode, cause: end.Cause, signal: end.Signal})
		if j.command != "" {
			said := &o.output
			if j.apart {
				said = &o.errors
			}
			*said = append(*said, epitaph(j.shell, child.PID(), child.Status(), j.command)...)
		}
		return o, nil
	case <-late:
		timedOut = true
	case <-ctx.Done():
	}
	child.KillTree()
	select {
	case <-child.Done():
	case <-time.After(killWait):
	}
	return finish(outcome{exitCode: -1, cause: launch.CauseTimeout, timedOut: timedOut}), context.Cause(ctx)
}

// startFailure is the outcome of a job whose program cannot be run.
func startFailure(err error) outcome {
	return outcome{exitCode: -1, cause: launch.CauseFailed, output: []byte(err.Error())}
}
