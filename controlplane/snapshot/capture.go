package snapshot

import (
	"context"

	"github.com/google/uuid"

	"daytona/controlplane/org"
	"daytona/internal/fault"
)

// Capture asks for a snapshot of a sandbox's files.
type Capture struct {
	OrgID     string
	Name      string
	SandboxID string
	RunnerID  string        // that has the sandbox
	Resources org.Resources // that its sandboxes get
	Isolation string        // the weakest that they may have
}

// Capture makes a snapshot of a sandbox and has its runner begin with it. Whose
// sandbox it is, and whether it rests, is the caller's business.
func (s *Service) Capture(ctx context.Context, c Capture) (Snapshot, error) {
	if err := CheckName(c.Name); err != nil {
		return Snapshot{}, fault.New(fault.Invalid, "name: %s", err)
	}
	now := s.now()
	sn := Snapshot{
		ID: uuid.NewString(), OrgID: c.OrgID, Name: c.Name, SourceSandbox: c.SandboxID, Isolation: c.Isolation,
		CPU: c.Resources.CPU, GPU: c.Resources.GPU, MemoryGiB: c.Resources.MemoryGiB, DiskGiB: c.Resources.DiskGiB,
		CreatedAt: now, UpdatedAt: now,
	}
	i := s.imageOf(sn)
	i.RunnerID = c.RunnerID
	sn.Image = i.Name
	sn, err := s.c.Store.CreateSnapshot(ctx, sn, i, s.admitCount(), Settle)
	if err == nil {
		s.Wake()
	}
	return sn, err
}
