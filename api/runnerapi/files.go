package runnerapi

import (
	"context"
	"io"
)

// Files is the part of a runner that moves the files of sandboxes. Calls end
// with their context, and have let go of reader and writer when they return.
type Files interface {
	// Export writes what a sandbox has written since it was made from its
	// snapshot, in a form that Import of any runner reads. The same files give
	// the same bytes. base identifies the snapshot's content, whatever it is
	// called. Of a running sandbox each file is as it is when it is reached.
	// Whatever else is asked of the sandbox goes first: Conflict then.
	Export(ctx context.Context, id string, w io.Writer) (base string, err error)
	// Import makes the sandbox of spec, stopped, with the files that Export
	// gave, also under an id that was deleted before. One that exists stays as
	// it is. NotFound says that the snapshot is not here, Unprocessable that it
	// is not the base or that the files are damaged; then nothing is left.
	Import(ctx context.Context, spec Spec, base string, files io.Reader) (Sandbox, error)
	// Fork makes the sandbox of spec, stopped, with the files of a stopped one of
	// the same organization, snapshot and disk: in constant time where the file
	// system can. One that exists stays as it is. Conflict says that the other is
	// not stopped.
	Fork(ctx context.Context, from string, spec Spec) (Sandbox, error)
}
