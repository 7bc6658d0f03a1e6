package runner

import (
	"context"
	"errors"
	"sync"

	"daytona/internal/fault"
)

// sandbox is one sandbox in memory. The owner of op is the only one who changes
// rec (through Runner.update); everybody else reads a copy under mu.
type sandbox struct {
	id string

	mu    sync.Mutex
	rec   record
	op    *operation
	gone  bool   // removed from the map; look it up again
	sick  bool   // it waits in the pool and does not answer
	watch *watch // of the live container, nil without one
	link  *link  // connections to its toolbox, nil without a container
}

// kind names what an operation does; the same kind can be joined.
type kind string

const (
	opCreate  kind = "create"
	opStart   kind = "start"
	opStop    kind = "stop"
	opKill    kind = "kill" // stop without grace
	opDelete  kind = "delete"
	opDrop    kind = "drop"   // take out of the warm pool
	opEnded   kind = "ended"  // the container ended by itself
	opExport  kind = "export" // read its files
	opImport  kind = "import"
	opNetwork kind = "change of the network"
	opResize  kind = "change of the size"
)

// operation is one change under way.
type operation struct {
	kind   kind
	cancel context.CancelCauseFunc
	done   chan struct{}
	err    error // valid once done is closed
}

// errDeleted cancels an operation when Delete comes.
var errDeleted = fault.New(fault.Conflict, "the sandbox is being deleted")

// errForced cancels a graceful stop when a forced one comes.
var errForced = errors.New("stop was forced")

// errPreempted cancels reading a sandbox's files when something else is to be done
// with it.
var errPreempted = fault.New(fault.Conflict, "the sandbox was started, stopped or deleted meanwhile")

// bound says whether an operation ends with the call that began it, since it
// uses something of the caller's.
func (k kind) bound() bool { return k == opExport || k == opImport }

// yieldsTo says whether an operation under way is cancelled by one that comes,
// instead of being waited for.
func (k kind) yieldsTo(next kind) error {
	switch {
	case next == opDelete && (k == opCreate || k == opStart || k == opStop || k == opImport || k == opResize):
		return errDeleted
	case k == opExport && next != opExport:
		return errPreempted
	case next == opKill && k == opStop:
		return errForced
	}
	return nil
}

// operate runs fn as the only operation on a sandbox, or joins one of the same
// kind that is under way. check runs first, under the sandbox's lock: it may
// decide that there is nothing to do, or refuse.
//
// fn is not bound to ctx: when ctx ends, operate returns and fn goes on. Only
// kinds that are bound end with ctx, and are waited for.
func (r *Runner) operate(ctx context.Context, id string, k kind, check func(*sandbox) (bool, error), fn func(context.Context, *sandbox) error) error {
	for {
		sb, err := r.entry(id, k == opCreate || k == opImport)
		if err != nil {
			return err
		}
		sb.mu.Lock()
		if sb.gone {
			sb.mu.Unlock()
			continue
		}
		if op := sb.op; op != nil {
			if cause := op.kind.yieldsTo(k); cause != nil {
				op.cancel(cause)
			}
			sb.mu.Unlock()
			select {
			case <-op.done:
			case <-ctx.Done():
				return fault.Wrap(ctx.Err(), fault.Timeout, "sandbox %s: %s is still under way", id, op.kind)
			}
			if op.kind == k && !k.bound() {
				return op.err
			}
			continue
		}
		if needed, err := check(sb); err != nil || !needed {
			blank := sb.rec.Phase == ""
			if blank {
				sb.gone = true
			}
			sb.mu.Unlock()
			if blank {
				r.forget(sb)
			}
			return err
		}
		if !r.begin() {
			sb.mu.Unlock()
			return errClosed
		}
		opctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
		op := &operation{kind: k, cancel: cancel, done: make(chan struct{})}
		sb.op = op
		sb.mu.Unlock()
		go func() {
			defer r.ops.Done()
			err := fn(opctx, sb)
			sb.mu.Lock()
			sb.op = nil
			if sb.rec.Phase == "" {
				sb.gone = true
			}
			gone := sb.gone
			sb.mu.Unlock()
			if gone {
				r.forget(sb)
			}
			op.err = err
			cancel(nil)
			close(op.done)
		}()
		select {
		case <-op.done:
			return op.err
		case <-ctx.Done():
			if k.bound() {
				cancel(ctx.Err())
				<-op.done
				return op.err
			}
			return fault.Wrap(ctx.Err(), fault.Timeout, "sandbox %s: %s is still under way", id, k)
		}
	}
}

var errClosed = fault.New(fault.Unavailable, "the runner is shutting down")

// begin counts an operation in, unless the runner is closing.
func (r *Runner) begin() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return false
	}
	r.ops.Add(1)
	return true
}

// entry finds a sandbox in memory; with create set it adds a blank one.
func (r *Runner) entry(id string, create bool) (*sandbox, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, errClosed
	}
	if sb := r.sandboxes[id]; sb != nil {
		return sb, nil
	}
	if !create {
		return nil, errUnknown(id)
	}
	sb := &sandbox{id: id}
	r.sandboxes[id] = sb
	return sb, nil
}

// forget takes a sandbox that is gone out of the map.
func (r *Runner) forget(sb *sandbox) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sandboxes[sb.id] == sb {
		delete(r.sandboxes, sb.id)
	}
}

func errUnknown(id string) error {
	return fault.New(fault.NotFound, "Sandbox with ID %s not found", id)
}

// update changes the record of a sandbox in memory and on disk. Only the owner
// of the operation under way may call it. With durable set, the change survives
// a power cut once update returns.
func (r *Runner) update(sb *sandbox, durable bool, change func(*record)) error {
	sb.mu.Lock()
	change(&sb.rec)
	sb.rec.Seq++
	rec := sb.rec
	sb.mu.Unlock()
	if err := r.store.save(&rec, durable); err != nil {
		return fault.Wrap(err, fault.Unavailable, "the runner cannot write the record of sandbox %s", sb.id)
	}
	return nil
}

// record returns a copy of a sandbox's record.
func (sb *sandbox) record() record {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	return sb.rec
}
