package sandbox

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/trace"

	"daytona/api/runnerapi"
	"daytona/controlplane/fleet"
	"daytona/controlplane/image"
	"daytona/controlplane/org"
	"daytona/controlplane/snapshot"
	"daytona/internal/fault"
)

const maxIdempotencyKey = 255

// Create makes a sandbox and starts it. It answers when the sandbox has
// started, or with the state under way after Config.AnswerWithin; making it goes
// on when the caller leaves. A sandbox that could not be made is returned in
// state error, with the reason.
//
// idempotencyKey "" is none. The same key with the same request returns the
// sandbox of the first time; with another request it is fault.Conflict. Keys
// are remembered for a day.
func (m *Manager) Create(ctx context.Context, orgID, userID string, req CreateRequest, idempotencyKey string) (Sandbox, error) {
	began := time.Now()
	sb, err := m.create(ctx, orgID, userID, req, idempotencyKey)
	if err == nil && sb.State == Error {
		m.met.call("create", fault.New(fault.Unprocessable, "failed"), time.Since(began))
		return sb, nil
	}
	m.met.call("create", err, time.Since(began))
	return sb, err
}

func (m *Manager) create(ctx context.Context, orgID, userID string, req CreateRequest, idempotencyKey string) (Sandbox, error) {
	plan, err := req.Validate()
	if err != nil {
		return Sandbox{}, err
	}
	key, err := idempotency(idempotencyKey, req)
	if err != nil {
		return Sandbox{}, err
	}
	if key != nil { // a repeat must not depend on what has changed meanwhile
		if sb, ok, err := m.repeated(ctx, orgID, *key); ok || err != nil {
			return sb, err
		}
	}
	sb, sn, member, err := m.place(ctx, orgID, userID, plan)
	if err != nil {
		return Sandbox{}, err
	}
	if sn.State == snapshot.Active {
		spec := Spec(sb)
		spec.ID = ""
		if id, ok := member.Runner.Reserve(ctx, spec); ok {
			sb.ID = id
		}
	}
	if sb.ID == "" {
		sb.ID = uuid.NewString()
	}
	if sb.Name == "" {
		sb.Name = sb.ID
	}
	if key != nil {
		key.SandboxID = sb.ID
	}
	sb, created, err := m.c.Store.CreateSandbox(ctx, sb, key, m.admit(sb.Resources()))
	if err != nil || !created {
		return sb, err
	}
	if sn.ID != "" {
		m.c.Snapshots.Used(context.WithoutCancel(ctx), sn.ID)
	} else if _, err := m.c.Images.Use(context.WithoutCancel(ctx), definition(sb), sb.RunnerID, sb.CreatedAt); err != nil {
		m.log.Warn("image not declared; the sandbox's worker will do it", "sandbox_id", sb.ID, "error", err)
	}
	done := m.kick(sb.ID, nudge{trace: trace.SpanContextFromContext(ctx)})
	if sb.State == PendingBuild { // clients read the log of a build only when they see this state
		m.c.Images.Wake()
		return sb, nil
	}
	m.await(ctx, done)
	return m.c.Store.Sandbox(context.WithoutCancel(ctx), sb.ID)
}

// place fills in the snapshot or image, region, resources and runner.
func (m *Manager) place(ctx context.Context, orgID, userID string, plan Plan) (Sandbox, snapshot.Snapshot, fleet.Member, error) {
	sb := plan.Sandbox
	fail := func(err error) (Sandbox, snapshot.Snapshot, fleet.Member, error) {
		return Sandbox{}, snapshot.Snapshot{}, fleet.Member{}, err
	}
	now := m.now()
	sb.OrgID, sb.UserID = orgID, userID
	sn, img, err := m.source(ctx, &sb, plan, now)
	if err != nil {
		return fail(err)
	}
	if sb.Target, err = m.c.Regions.Resolve(ctx, orgID, sb.Target); err != nil {
		return fail(err)
	}
	least := fleet.Stronger(sn.Isolation, img.Isolation)
	member, err := m.c.Runners.Place(ctx, fleet.Want{
		Region: sb.Target, Isolation: sb.Isolation, AtLeast: least, CPU: sb.CPU, MemoryGiB: sb.MemoryGiB, DiskGiB: sb.DiskGiB,
		Prefer: img.RunnerID,
	})
	if err != nil {
		return fail(err)
	}
	if sb.Isolation, err = fleet.Isolate(member.Info.Isolations, sb.Isolation, least); err != nil {
		return fail(err)
	}
	sb.RunnerID = member.ID
	sb.State, sb.Desired = Creating, Started
	switch {
	case sn.ID == "" && (img.State != image.Ready || img.RunnerID != member.ID):
		sb.State = PendingBuild
	case sn.ID != "" && sn.State != snapshot.Active:
		sb.State = PullingSnapshot
	}
	sb.PreviewToken = newToken()
	sb.CreatedAt, sb.UpdatedAt, sb.StateSince, sb.LastActivityAt, sb.Version = now, now, now, now, 1
	return sb, sn, member, nil
}

// source fills in what a sandbox is made of: a snapshot, or else an image that
// is built for it. A Dockerfile that is nothing but the name of a snapshot means
// that one.
func (m *Manager) source(ctx context.Context, sb *Sandbox, plan Plan, now time.Time) (sn snapshot.Snapshot, img image.Image, err error) {
	if plan.Dockerfile == "" {
		sn, err = m.c.Snapshots.Resolve(ctx, sb.OrgID, plan.SnapshotName)
		if fault.Is(err, fault.NotFound) {
			err = fault.New(fault.NotFound, "Snapshot %s not found. GET /snapshots lists those there are", shorten(plan.SnapshotName))
		}
		if err != nil {
			return sn, img, err
		}
		sb.Snapshot, sb.SnapshotID, sb.Image = sn.Name, sn.ID, sn.Image
		sb.CPU, sb.GPU, sb.MemoryGiB, sb.DiskGiB = sn.CPU, sn.GPU, sn.MemoryGiB, sn.DiskGiB
		if img, err = m.c.Images.Get(ctx, sn.Image); fault.Is(err, fault.NotFound) {
			err = nil
		}
		return sn, img, err
	}
	def := image.BuildOf(sb.OrgID, plan.Dockerfile, plan.Contexts)
	sb.BuildInfo = &BuildInfo{
		DockerfileContent: plan.Dockerfile, ContextHashes: append([]string{}, plan.Contexts...), SnapshotRef: def.Name,
		CreatedAt: now, UpdatedAt: now,
	}
	if plan.FromImage != "" && len(plan.Contexts) == 0 {
		sn, err = m.c.Snapshots.Resolve(ctx, sb.OrgID, plan.FromImage)
		if err == nil {
			sb.SnapshotID, sb.Image = sn.ID, sn.Image
			return sn, img, nil
		}
		if !fault.Is(err, fault.NotFound) && !fault.Is(err, fault.Invalid) {
			return sn, img, err
		}
		sn = snapshot.Snapshot{}
	}
	sb.Image = def.Name
	img, err = m.c.Images.Get(ctx, def.Name)
	if fault.Is(err, fault.NotFound) {
		return sn, def, m.c.Images.Check(ctx, def)
	}
	return sn, img, err
}

// admit is the check of the organization's state and quota for one sandbox that
// is made, or becomes larger.
func (m *Manager) admit(want org.Resources) Admit {
	now, again := m.now(), m.admitAgain(want)
	return func(o org.Organization, used org.Usage) error {
		if err := o.CheckActive(now); err != nil {
			return err
		}
		if err := o.Quota.CheckSandbox(want); err != nil {
			return err
		}
		return again(o, used)
	}
}

// admitAgain is the check for one whose size was allowed when it was made.
func (m *Manager) admitAgain(want org.Resources) Admit {
	now := m.now()
	return func(o org.Organization, used org.Usage) error {
		if err := o.CheckActive(now); err != nil {
			return err
		}
		return o.Quota.Admit(used, want)
	}
}

func (m *Manager) repeated(ctx context.Context, orgID string, key Idempotency) (Sandbox, bool, error) {
	old, err := m.c.Store.IdempotencyKey(ctx, orgID, key.Key)
	if fault.Is(err, fault.NotFound) {
		return Sandbox{}, false, nil
	}
	if err != nil {
		return Sandbox{}, false, err
	}
	if old.BodyHash != key.BodyHash {
		return Sandbox{}, false, ErrKeyReused()
	}
	sb, err := m.c.Store.Sandbox(ctx, old.SandboxID)
	return m.withActivity(sb), err == nil, err
}

// ErrKeyReused is the fault for an idempotency key that came with another
// request before.
func ErrKeyReused() error {
	return fault.New(fault.Conflict, "Idempotency-Key was used before with a different request. Use a new key for a new request")
}

// ErrNameTaken is the fault for a name that another sandbox has.
func ErrNameTaken(name string) error {
	return fault.New(fault.Conflict, "Sandbox with name %s already exists", name)
}

func idempotency(key string, req CreateRequest) (*Idempotency, error) {
	if key == "" {
		return nil, nil
	}
	if len(key) > maxIdempotencyKey || strings.ContainsFunc(key, func(r rune) bool { return r < ' ' || r > '~' }) {
		return nil, fault.New(fault.Invalid, "Idempotency-Key must have at most %d printable ASCII characters", maxIdempotencyKey)
	}
	body, err := json.Marshal(req) // maps come out sorted
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(body)
	return &Idempotency{Key: key, BodyHash: hex.EncodeToString(sum[:])}, nil
}

// Spec is what the runner is told to make.
func Spec(sb Sandbox) runnerapi.Spec {
	user := sb.User
	if user == DefaultUser {
		user = "" // the image's own rule, which is this user where the image has it
	}
	return runnerapi.Spec{
		ID: sb.ID, OrgID: sb.OrgID, Snapshot: sb.Image, Isolation: sb.Isolation, User: user, Env: sb.Env, Region: sb.Target,
		CPU: float64(sb.CPU), MemoryMiB: int64(sb.MemoryGiB) * 1024, DiskMiB: int64(sb.DiskGiB) * 1024,
		Network: sb.Network().policy(),
	}
}

// newToken returns 32 random lower-case letters and digits.
func newToken() string {
	const letters = "abcdefghijklmnopqrstuvwxyz234567"
	var raw [32]byte
	rand.Read(raw[:]) // never fails
	for i, b := range raw {
		raw[i] = letters[b%32]
	}
	return string(raw[:])
}
