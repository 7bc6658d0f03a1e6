package sandbox

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"sync"

	"daytona/api/runnerapi"
	"daytona/controlplane/fleet"
	"daytona/controlplane/image"
	"daytona/internal/fault"
)

// waiting knows which sandboxes wait for which image, so that they go on when
// the runner says that it changed. It is a hint: they also look by themselves.
type waiting struct {
	mu     sync.Mutex
	images map[string]map[string]bool // ids by image
	by     map[string]string          // image by id
	told   map[string]bool            // ids whose runner was told to make the image again
}

func newWaiting() *waiting {
	return &waiting{images: map[string]map[string]bool{}, by: map[string]string{}, told: map[string]bool{}}
}

func (w *waiting) add(name, id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.images[name] == nil {
		w.images[name] = map[string]bool{}
	}
	w.images[name][id] = true
	w.by[id] = name
}

func (w *waiting) drop(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	name, ok := w.by[id]
	if !ok {
		return
	}
	delete(w.by, id)
	delete(w.told, id)
	if delete(w.images[name], id); len(w.images[name]) == 0 {
		delete(w.images, name)
	}
}

func (w *waiting) on(name string) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	ids := make([]string, 0, len(w.images[name]))
	for id := range w.images[name] {
		ids = append(ids, id)
	}
	return ids
}

// tell reports whether the runner was told before, and notes that it is now.
func (w *waiting) tell(id string) (before bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	before = w.told[id]
	w.told[id] = true
	return before
}

// awaitImage sees whether the runner has the image by now, and has it made if
// it is not on its way.
func (m *Manager) awaitImage(sb Sandbox, member fleet.Member) error {
	m.waiting.add(sb.Image, sb.ID) // before the look, so that no event is missed
	row, err := m.c.Images.Get(m.life, sb.Image)
	known := err == nil
	if err != nil && !fault.Is(err, fault.NotFound) {
		return err
	}
	if sb.BuildInfo != nil && !declared(row, sb) { // its creation has not come to it yet, or was killed before
		if row, err = m.c.Images.Use(m.life, definition(sb), sb.RunnerID, sb.CreatedAt); err != nil {
			return err
		}
		known = true
	}
	seen, there, err := m.onRunner(sb, member)
	if err != nil {
		return err
	}
	switch {
	case there && seen.State == runnerapi.SnapshotReady:
		return m.imageReady(sb, member, fleet.Stronger(row.Isolation, seen.Isolation))
	case !known: // one that the operator of the runner has it make
		if there && seen.State == runnerapi.SnapshotFailed {
			return m.failImage(sb, seen.Reason)
		}
		return errWaiting
	case row.State == image.Failed:
		return m.failImage(sb, row.Reason)
	case row.State == image.Ready:
		return m.makeHere(sb, member, seen, there)
	case row.State == image.Wanted:
		m.c.Images.Wake()
	case there && seen.Interrupted: // it will be told to go on
		row.State = image.Pending
	case there && row.RunnerID == sb.RunnerID && seen.State == runnerapi.SnapshotFailed:
		// Stored before anybody is told: who then asks once more gets a new try.
		switch err := m.c.Images.Report(m.life, row, seen); {
		case fault.Is(err, fault.Conflict):
			return m.awaitImage(sb, member)
		case err != nil:
			return err
		}
		return m.failImage(sb, seen.Reason)
	case there && row.RunnerID == sb.RunnerID:
		row.State = image.Observe(row, seen, m.now()).State
	}
	return m.awaits(sb, row.State)
}

// declared reports whether row, if there is one, was asked for since the
// sandbox is there. A failure from before says nothing of it: every request is
// a new try.
func declared(row image.Image, sb Sandbox) bool {
	return row.UsedAt != nil && !row.UsedAt.Before(sb.CreatedAt)
}

// makeHere has this runner make an image that another one has made, or that it
// has lost.
func (m *Manager) makeHere(sb Sandbox, member fleet.Member, seen runnerapi.Snapshot, there bool) error {
	if there && seen.State != runnerapi.SnapshotFailed {
		return m.awaits(sb, image.Observe(image.Image{}, seen, m.now()).State)
	}
	if m.waiting.tell(sb.ID) && there && !seen.Interrupted {
		return m.failImage(sb, seen.Reason)
	}
	ctx, cancel := context.WithTimeout(m.life, callLimit)
	defer cancel()
	if err := m.c.Images.Ensure(ctx, member, sb.Image); err != nil {
		if fault.Is(err, fault.Invalid) {
			return m.failImage(sb, reason("it has to be made again", err))
		}
		return err
	}
	return m.awaits(sb, image.Pending)
}

// awaits shows how far the image is.
func (m *Manager) awaits(sb Sandbox, how image.State) error {
	to := PullingSnapshot
	if sb.BuildInfo != nil {
		switch how {
		case image.Wanted, image.Pending:
			to = PendingBuild
		case image.Building:
			to = BuildingSnapshot
		}
	}
	if sb.State == to {
		return errWaiting
	}
	if err := m.step(sb, to, Change{}); err != nil {
		return err
	}
	return nil
}

// imageReady goes on with the sandbox. Only now is it known for certain what
// the image asks for.
func (m *Manager) imageReady(sb Sandbox, member fleet.Member, least string) error {
	isolation, err := fleet.Isolate(member.Info.Isolations, sb.Isolation, least)
	if err != nil {
		return m.fail(sb, reason("The sandbox could not be created", err), false)
	}
	return m.step(sb, Creating, Change{Isolation: &isolation})
}

// failImage gives up because there is no image.
func (m *Manager) failImage(sb Sandbox, why string) error {
	why = cmp.Or(why, "no reason was given")
	if sb.BuildInfo == nil {
		return m.fail(sb, fmt.Sprintf("Snapshot %s could not be made: %s", cmp.Or(sb.Snapshot, sb.Image), why), false)
	}
	return m.failTo(sb, BuildFailed, why, false)
}

// onRunner is what a sandbox's runner reports of its image.
func (m *Manager) onRunner(sb Sandbox, member fleet.Member) (seen runnerapi.Snapshot, there bool, err error) {
	ctx, cancel := context.WithTimeout(m.life, callLimit)
	defer cancel()
	list, err := member.Runner.Snapshots(ctx)
	for _, sn := range list {
		if sn.Name == sb.Image {
			return sn, true, err
		}
	}
	return runnerapi.Snapshot{}, false, err
}

// imageMissing says in which state to wait when the runner refuses to create a
// sandbox because it has no image; "" when that is not the reason.
func (m *Manager) imageMissing(sb Sandbox, member fleet.Member) State {
	seen, there, err := m.onRunner(sb, member)
	switch {
	case err != nil, there && seen.State == runnerapi.SnapshotReady:
		return ""
	case there && seen.State != runnerapi.SnapshotFailed, image.Ours(sb.Image):
		if sb.BuildInfo != nil {
			return PendingBuild
		}
		return PullingSnapshot
	}
	return ""
}

// definition is the image that a sandbox was asked for with.
func definition(sb Sandbox) image.Image {
	return image.BuildOf(sb.OrgID, sb.BuildInfo.DockerfileContent, sb.BuildInfo.ContextHashes)
}

// Log writes what making a sandbox's image printed; see image.Service.Log.
func (m *Manager) Log(ctx context.Context, orgID, idOrName string, follow bool, w io.Writer) error {
	sb, err := m.Get(ctx, orgID, idOrName)
	if err != nil {
		return err
	}
	return m.c.Images.Log(ctx, sb.Image, sb.RunnerID, follow, w)
}
