//go:build linux

package chaos

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"daytona/api"
	daytona "daytona/sdk/go"
)

const (
	// callLimit is the time after which a worker no longer waits for an answer.
	callLimit = 90 * time.Second
	// restLimit is how long a sandbox may be on its way before it counts as stuck.
	restLimit = 3 * time.Minute
	folder    = "/home/daytona/chaos"
)

// worker owns some sandboxes and does one thing after the other with them.
type worker struct {
	*run
	rnd    *rand.Rand
	boxes  []*box
	orders []string // labels of creates without an answer
	gone   []string // ids of sandboxes whose deletion was acknowledged
	serial int
	name   string
}

func (w *worker) work(ctx context.Context) {
	for ctx.Err() == nil {
		if len(w.boxes) == 0 || len(w.boxes) < w.Boxes && w.rnd.IntN(3) == 0 {
			w.create(ctx)
			continue
		}
		w.step(ctx, w.boxes[w.rnd.IntN(len(w.boxes))])
	}
}

// step does one thing that the sandbox's state allows.
func (w *worker) step(ctx context.Context, b *box) {
	switch b.known() {
	case api.SandboxStarted:
		switch n := w.rnd.IntN(20); {
		case n < 6:
			w.exec(ctx, b)
		case n < 12:
			w.write(ctx, b)
		case n < 16:
			w.read(ctx, b)
		case n < 19:
			w.stop(ctx, b)
		default:
			w.remove(ctx, b)
		}
	case api.SandboxStopped:
		switch n := w.rnd.IntN(10); {
		case n < 6:
			w.start(ctx, b)
		case n < 8 && w.Archive:
			w.archive(ctx, b)
		case n < 9:
			w.remove(ctx, b)
		default:
			w.start(ctx, b)
		}
	case api.SandboxArchived:
		w.start(ctx, b)
	case api.SandboxError:
		// It must be possible to start or at least to delete it.
		if w.start(ctx, b) != done && w.rnd.IntN(3) == 0 {
			w.remove(ctx, b)
		}
	case api.SandboxDestroyed:
		w.forget(b)
	default:
		w.settle(ctx, b)
	}
}

// call does one operation and says what is known of it. A refusal while nothing
// was broken is a violation.
func (w *worker) call(ctx context.Context, name string, b *box, do func(context.Context) error) outcome {
	began := time.Now()
	limited, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	err := do(limited)
	o := judge(err)
	if ctx.Err() != nil && err != nil {
		return unknown // the time is over; this one is not counted
	}
	w.tally.operation(name, o)
	if err != nil && w.calm.since(began) && !(b != nil && w.wasStruck(b)) {
		id := "-"
		if b != nil {
			id = b.id
		}
		w.tally.wrong(fmt.Sprintf("sandbox %s: %s failed while nothing was broken: %v", id, name, err))
	}
	return o
}

// judge tells from an error what is known of a call.
func judge(err error) outcome {
	if err == nil {
		return done
	}
	var e *daytona.Error
	if errors.As(err, &e) && e.StatusCode >= 400 && e.StatusCode < 500 && e.StatusCode != 408 && !errors.Is(err, daytona.ErrFailed) {
		return refused
	}
	return unknown
}

func (w *worker) create(ctx context.Context) {
	w.serial++
	order := fmt.Sprintf("%s-%d", w.name, w.serial)
	var made *daytona.Sandbox
	o := w.call(ctx, "create", nil, func(ctx context.Context) (err error) {
		made, err = w.client.Create(ctx, daytona.CreateParams{Snapshot: w.Snapshot, AutoStop: new(0), Labels: map[string]string{label: w.id, orderLabel: order}})
		return err
	})
	if o != done {
		w.orders = append(w.orders, order)
		return
	}
	w.tally.made()
	w.adopt(ctx, made.ID)
}

func (w *worker) adopt(ctx context.Context, id string) {
	b := newBox(id)
	w.boxes = append(w.boxes, b)
	w.call(ctx, "mkdir", b, func(ctx context.Context) error {
		sb, err := w.sandbox(ctx, b)
		if err != nil {
			return err
		}
		return sb.Files.MkdirAll(ctx, folder, 0o755)
	})
	w.settleIfStruck(ctx, b)
}

func (w *worker) sandbox(ctx context.Context, b *box) (*daytona.Sandbox, error) {
	return w.client.Get(ctx, b.id)
}

func (w *worker) exec(ctx context.Context, b *box) {
	word := fmt.Sprintf("%x", w.rnd.Uint64())
	w.inside(ctx, "exec", b, func(ctx context.Context, sb *daytona.Sandbox) error {
		r, err := sb.Process.Run(ctx, "echo "+word)
		if err == nil && (r.ExitCode != 0 || strings.TrimSpace(r.Output) != word) {
			w.tally.wrong(fmt.Sprintf("sandbox %s: echo %s ended with %d and printed %q", b.id, word, r.ExitCode, r.Output))
		}
		return err
	})
}

func (w *worker) write(ctx context.Context, b *box) {
	path := fmt.Sprintf("%s/%d", folder, w.rnd.IntN(20))
	content := make([]byte, 1+w.rnd.IntN(64<<10))
	for i := range content {
		content[i] = byte(w.rnd.Uint32())
	}
	o := w.inside(ctx, "write", b, func(ctx context.Context, sb *daytona.Sandbox) error {
		return sb.Files.WriteFile(ctx, path, content)
	})
	b.wrote(path, content, o)
}

func (w *worker) read(ctx context.Context, b *box) {
	paths := sorted(b.files)
	if len(paths) == 0 {
		return
	}
	path := paths[w.rnd.IntN(len(paths))]
	w.inside(ctx, "read", b, func(ctx context.Context, sb *daytona.Sandbox) error {
		wrong, err := readBack(ctx, sb, b, path)
		w.tally.wrong(wrong)
		return err
	})
}

// readBack reads a file and holds it against what it may contain.
func readBack(ctx context.Context, sb *daytona.Sandbox, b *box, path string) (wrong string, err error) {
	content, err := sb.Files.ReadFile(ctx, path)
	if errors.Is(err, daytona.ErrNotFound) {
		if slices.Contains(b.files[path], absent) {
			b.files[path] = []sum{absent}
			return "", nil
		}
		// Only the file may be missing here, not the sandbox.
		if _, again := sb.Files.Info(ctx, folder); again == nil {
			return b.read(path, nil), nil
		}
		return "", err
	}
	if err != nil {
		return "", err
	}
	if content == nil {
		content = []byte{}
	}
	return b.read(path, bytes.Clone(content)), nil
}

// inside does something in a running sandbox, and looks what state it is in when
// that failed.
func (w *worker) inside(ctx context.Context, name string, b *box, do func(context.Context, *daytona.Sandbox) error) outcome {
	o := w.call(ctx, name, b, func(ctx context.Context) error {
		sb, err := w.sandbox(ctx, b)
		if err != nil {
			return err
		}
		return do(ctx, sb)
	})
	if o != done {
		w.settle(ctx, b)
	}
	return o
}

func (w *worker) stop(ctx context.Context, b *box) {
	w.change(ctx, "stop", b, api.SandboxStopped, func(ctx context.Context, sb *daytona.Sandbox) error { return sb.Stop(ctx, false) })
}

func (w *worker) start(ctx context.Context, b *box) outcome {
	return w.change(ctx, "start", b, api.SandboxStarted, func(ctx context.Context, sb *daytona.Sandbox) error { return sb.Start(ctx) })
}

func (w *worker) archive(ctx context.Context, b *box) {
	w.change(ctx, "archive", b, api.SandboxArchived, func(ctx context.Context, sb *daytona.Sandbox) error {
		if err := sb.Archive(ctx); err != nil {
			return err
		}
		return w.awaitState(ctx, b.id, api.SandboxArchived)
	})
}

func (w *worker) awaitState(ctx context.Context, id string, want api.SandboxState) error {
	for {
		sb, err := w.client.Get(ctx, id)
		switch {
		case err != nil:
			return err
		case sb.State() == want:
			return nil
		case sb.State() == api.SandboxError:
			return daytona.ErrFailed
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

func (w *worker) change(ctx context.Context, name string, b *box, to api.SandboxState, do func(context.Context, *daytona.Sandbox) error) outcome {
	o := w.call(ctx, name, b, func(ctx context.Context) error {
		sb, err := w.sandbox(ctx, b)
		if err != nil {
			return err
		}
		return do(ctx, sb)
	})
	b.moved(to, o)
	if o != done {
		w.settle(ctx, b)
	} else {
		w.settleIfStruck(ctx, b)
	}
	return o
}

func (w *worker) remove(ctx context.Context, b *box) {
	o := w.call(ctx, "delete", b, func(ctx context.Context) error {
		sb, err := w.sandbox(ctx, b)
		if err != nil {
			return err
		}
		if err := sb.Delete(ctx); err != nil {
			return err
		}
		return sb.AwaitDeleted(ctx)
	})
	if o == done {
		w.forget(b)
		return
	}
	b.moved(api.SandboxDestroyed, o)
	w.settle(ctx, b)
}

func (w *worker) forget(b *box) {
	w.gone = append(w.gone, b.id)
	w.boxes = slices.DeleteFunc(w.boxes, func(o *box) bool { return o == b })
}

// settleIfStruck looks again at a sandbox whose engine was ended meanwhile.
func (w *worker) settleIfStruck(ctx context.Context, b *box) {
	if w.wasStruck(b) {
		w.settle(ctx, b)
	}
}

// lateness is how long a request may still be under way whose caller has given up.
const lateness = 3 * time.Second

// settle waits until the sandbox rests and holds its state against what is known.
func (w *worker) settle(ctx context.Context, b *box) {
	if len(b.expect) > 1 && pause(ctx, lateness) != nil {
		return
	}
	state, reason, err := w.rest(ctx, b.id)
	if err != nil {
		if ctx.Err() == nil {
			w.tally.wrong(err.Error())
		}
		return
	}
	w.wasStruck(b)
	w.tally.wrong(b.seen(state, reason))
	if state == api.SandboxDestroyed {
		w.forget(b)
	}
}

// rest waits until a sandbox is in a state that lasts.
func (w *worker) rest(ctx context.Context, id string) (api.SandboxState, string, error) {
	var last string
	for began := time.Now(); time.Since(began) < restLimit; {
		sb, err := w.client.Get(ctx, id)
		switch {
		case errors.Is(err, daytona.ErrNotFound):
			return api.SandboxDestroyed, "", nil
		case err != nil:
			last = err.Error()
		default:
			info := sb.Info()
			if atRest(info.State) {
				reason := ""
				if info.ErrorReason != nil {
					reason = *info.ErrorReason
				}
				return info.State, reason, nil
			}
			last = string(info.State)
		}
		if err := pause(ctx, 200*time.Millisecond); err != nil {
			return "", "", err
		}
	}
	return "", "", fmt.Errorf("sandbox %s does not come to rest within %s: %s", id, restLimit, last)
}
