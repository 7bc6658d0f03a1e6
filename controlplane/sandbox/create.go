package sandbox

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/trace"

	"daytona/api/runnerapi"
	"daytona/controlplane/fleet"
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
	done := m.kick(sb.ID, nudge{trace: trace.SpanContextFromContext(ctx)})
	m.c.Snapshots.Used(context.WithoutCancel(ctx), sn.ID)
	m.await(ctx, done)
	return m.c.Store.Sandbox(context.WithoutCancel(ctx), sb.ID)
}

// place fills in the snapshot, region, resources and runner.
func (m *Manager) place(ctx context.Context, orgID, userID string, plan Plan) (Sandbox, snapshot.Snapshot, fleet.Member, error) {
	sb := plan.Sandbox
	name := plan.SnapshotName
	if plan.FromImage != "" {
		name = plan.FromImage
	}
	fail := func(err error) (Sandbox, snapshot.Snapshot, fleet.Member, error) {
		return Sandbox{}, snapshot.Snapshot{}, fleet.Member{}, err
	}
	sn, err := m.c.Snapshots.Resolve(ctx, orgID, name)
	if plan.FromImage != "" && fault.Is(err, fault.NotFound) {
		return fail(fault.New(fault.Invalid, "buildInfo: builds are not available yet on this server, and there is no snapshot named %s. GET /snapshots lists those there are", name))
	}
	if fault.Is(err, fault.NotFound) {
		return fail(fault.New(fault.NotFound, "Snapshot %s not found. GET /snapshots lists those there are", shorten(name)))
	}
	if err != nil {
		return fail(err)
	}
	if sb.Target, err = m.c.Regions.Resolve(ctx, orgID, sb.Target); err != nil {
		return fail(err)
	}
	now := m.now()
	sb.OrgID, sb.UserID, sb.SnapshotID, sb.Image = orgID, userID, sn.ID, sn.Image
	if plan.OwnsResources {
		sb.BuildInfo = newBuildInfo(plan.Dockerfile, now)
	} else {
		sb.Snapshot = sn.Name
		sb.CPU, sb.GPU, sb.MemoryGiB, sb.DiskGiB = sn.CPU, sn.GPU, sn.MemoryGiB, sn.DiskGiB
	}
	member, err := m.c.Runners.Place(ctx, fleet.Want{
		Region: sb.Target, Isolation: sb.Isolation, AtLeast: sn.Isolation, CPU: sb.CPU, MemoryGiB: sb.MemoryGiB, DiskGiB: sb.DiskGiB,
	})
	if err != nil {
		return fail(err)
	}
	if sb.Isolation, err = fleet.Isolate(member.Info.Isolations, sb.Isolation, sn.Isolation); err != nil {
		return fail(err)
	}
	sb.RunnerID = member.ID
	sb.State, sb.Desired = Creating, Started
	if sn.State != snapshot.Active {
		sb.State = PullingSnapshot
	}
	sb.PreviewToken = newToken()
	sb.CreatedAt, sb.UpdatedAt, sb.StateSince, sb.LastActivityAt, sb.Version = now, now, now, now, 1
	return sb, sn, member, nil
}

// admit is the check of the organization's state and quota for one sandbox.
func (m *Manager) admit(want org.Resources) Admit {
	now := m.now()
	return func(o org.Organization, used org.Usage) error {
		if err := o.CheckActive(now); err != nil {
			return err
		}
		if err := o.Quota.CheckSandbox(want); err != nil {
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

func newBuildInfo(text string, now time.Time) *BuildInfo {
	sum := sha256.Sum256([]byte(text))
	return &BuildInfo{
		DockerfileContent: text, ContextHashes: []string{},
		SnapshotRef: "daytona-" + hex.EncodeToString(sum[:]) + ":daytona", CreatedAt: now, UpdatedAt: now,
	}
}

// Spec is what the runner is told to make.
func Spec(sb Sandbox) runnerapi.Spec {
	var allow []string
	if sb.NetworkAllowList != nil {
		allow, _ = ParseAllowList(*sb.NetworkAllowList) // checked when it was stored
	}
	user := sb.User
	if user == DefaultUser {
		user = "" // the image's own rule, which is this user where the image has it
	}
	return runnerapi.Spec{
		ID: sb.ID, OrgID: sb.OrgID, Snapshot: sb.Image, Isolation: sb.Isolation, User: user, Env: sb.Env, Region: sb.Target,
		CPU: float64(sb.CPU), MemoryMiB: int64(sb.MemoryGiB) * 1024, DiskMiB: int64(sb.DiskGiB) * 1024,
		Network: runnerapi.NetworkPolicy{BlockAll: sb.NetworkBlockAll, AllowList: slices.Clone(allow)},
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
