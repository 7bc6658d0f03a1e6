// Package controlplane puts the control plane together: the nouns over one
// store, the loops that keep them going, and the HTTP interface.
package controlplane

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"daytona/api/proxyapi"
	"daytona/api/runnerapi"
	"daytona/controlplane/auth"
	"daytona/controlplane/fleet"
	"daytona/controlplane/gate"
	"daytona/controlplane/grant"
	"daytona/controlplane/httpapi"
	"daytona/controlplane/image"
	"daytona/controlplane/org"
	"daytona/controlplane/registry"
	"daytona/controlplane/sandbox"
	"daytona/controlplane/snapshot"
	"daytona/controlplane/suspension"
	"daytona/controlplane/upload"
	"daytona/controlplane/warmpool"
	"daytona/internal/chunkstore"
	"daytona/internal/fault"
	"daytona/internal/keyring"
)

// Store is everything that a store keeps. Package storage has two of them.
type Store interface {
	auth.Store
	org.Store
	image.Store
	registry.Store
	snapshot.Store
	fleet.Store
	sandbox.Store
	grant.Store
	warmpool.Store
	upload.Rows
	// Ping says whether the database answers.
	Ping(ctx context.Context) error
}

// Config is what a control plane needs.
type Config struct {
	Store  Store
	Runner runnerapi.Runner // of this host
	Log    *slog.Logger
	// Metrics is where everything registers and what /metrics shows.
	Metrics *prometheus.Registry
	Version string
	// PublicURL is the origin at which clients reach the server.
	PublicURL *url.URL
	// Previews says where previews live.
	Previews proxyapi.Template
	// Keys seal secrets in the database.
	Keys *keyring.Ring
	// Uploads is where clients bring files for builds; nil is nowhere.
	Uploads *upload.Service
	// ImageBudget is how many bytes images may take on a runner; see image.Config.
	ImageBudget int64
	// Archives is where the files of archived sandboxes go; nil is nowhere.
	Archives *chunkstore.Store
	// BackupEvery is how often sandboxes are backed up unasked; see sandbox.Config.
	BackupEvery time.Duration
	// SSH is where people log in to sandboxes; the zero value is nowhere.
	SSH httpapi.SSHAddress
	// Region is the id of the region of Runner. Defaults to "us".
	Region string
	// DefaultSnapshot is the snapshot that a request without one gets.
	DefaultSnapshot string
	// Quota of new organizations. Defaults to org.DefaultQuota.
	Quota org.Quota
	// Rates say how often the API may be called. The zero value is no limit.
	Rates httpapi.RateLimits
	// TrustedProxies stand in front of the server and say for whom they act.
	TrustedProxies []netip.Prefix
	// AnswerWithin is how long a call waits for what it began. Defaults to
	// that of sandbox.Config.
	AnswerWithin time.Duration
	// Resync is the time between two comparisons with the runner. Defaults
	// to that of sandbox.Config.
	Resync time.Duration
	// SnapshotsEvery is the time between two looks at the runner's snapshots.
	// Defaults to that of snapshot.Config.
	SnapshotsEvery time.Duration
	// FirstKey returns the value of the admin's API key when this start makes
	// the admin; see auth.Service.Bootstrap. Defaults to a new value, which
	// nobody learns.
	FirstKey func() (string, error)
	// Now is the clock. Defaults to time.Now.
	Now func() time.Time
}

// ControlPlane is a control plane, ready to serve.
type ControlPlane struct {
	// Planted says that this start made the admin and its key.
	Planted bool
	Auth    *auth.Service
	// Gate decides who may reach the ports of sandboxes.
	Gate *gate.Gate

	store      Store
	grants     *grant.Service
	sandboxes  *sandbox.Manager
	snapshots  *snapshot.Service
	uploads    *upload.Service // or nil
	suspension *suspension.Enforcer
	warmPools  *warmpool.Service
	handler    http.Handler
}

// Open makes what the first start has to make, and returns a control plane.
// Call Run for its loops.
func Open(ctx context.Context, c Config) (*ControlPlane, error) {
	c.Region = cmp.Or(c.Region, "us")
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.FirstKey == nil {
		c.FirstKey = func() (string, error) { return auth.NewValue(), nil }
	}
	cp := &ControlPlane{store: c.Store}
	runners := fleet.New()
	if err := runners.Add(ctx, c.Region, c.Runner); err != nil {
		return nil, err
	}
	regions := fleet.NewRegions(c.Store, c.Region, c.Region)
	cp.Auth = auth.New(auth.Config{Store: c.Store, Log: c.Log, Quota: c.Quota, Region: c.Region, Now: c.Now})
	registries := registry.New(registry.Config{Store: c.Store, Keys: c.Keys, Log: c.Log, Now: c.Now})
	made := image.Config{Store: c.Store, Fleet: runners, Registries: registries, Budget: c.ImageBudget, Log: c.Log, Now: c.Now}
	if c.Uploads != nil {
		made.Contexts, made.Registries = c.Uploads, allRegistries{c.Uploads, registries}
	}
	images := image.New(made)
	cp.snapshots = snapshot.New(snapshot.Config{
		Store: c.Store, Fleet: runners, Images: images, Regions: regions, Log: c.Log, Default: c.DefaultSnapshot, Every: c.SnapshotsEvery, Now: c.Now,
	})
	cp.sandboxes = sandbox.NewManager(sandbox.Config{
		Store: c.Store, Runners: runners, Snapshots: cp.snapshots, Images: images, Regions: regions, Log: c.Log, Metrics: c.Metrics,
		Archives: c.Archives, BackupEvery: c.BackupEvery, AnswerWithin: c.AnswerWithin, Resync: c.Resync, Now: c.Now,
	})
	var err error
	if err = regions.Bootstrap(ctx, c.Now()); err != nil {
		return nil, err
	}
	if cp.Planted, err = cp.Auth.Bootstrap(ctx, c.FirstKey); err != nil {
		return nil, err
	}
	if err = cp.snapshots.Bootstrap(ctx); err != nil {
		return nil, err
	}
	if err = registries.Reseal(ctx); err != nil {
		c.Log.Error("not every secret can be opened; add the key that is missing to the encryption keys", "error", err)
	}
	cp.grants = grant.New(grant.Config{Store: c.Store, Sandboxes: cp.sandboxes, Log: c.Log, Now: c.Now})
	cp.Gate, err = gate.Open(ctx, gate.Config{
		Auth: cp.Auth, Grants: cp.grants, Sandboxes: cp.sandboxes, Log: c.Log, SignInURL: c.PublicURL.JoinPath(httpapi.SignInPath), Now: c.Now,
	})
	if err != nil {
		return nil, err
	}
	if c.Uploads != nil {
		c.Uploads.Keys, c.Uploads.Rows = cp.Auth, c.Store
		cp.uploads = c.Uploads
	}
	cp.suspension = suspension.New(suspension.Config{Organizations: c.Store, Sandboxes: cp.sandboxes, Snapshots: cp.snapshots, Log: c.Log, Now: c.Now})
	cp.warmPools = warmpool.New(warmpool.Config{Store: c.Store, Snapshots: cp.snapshots, Regions: regions, Runners: runners, Log: c.Log, Now: c.Now})
	checks := map[string]httpapi.Check{
		"database": cp.checkDatabase,
		"runner":   func(ctx context.Context) error { return checkRunner(ctx, c.Runner) },
		"snapshot": cp.checkSnapshot,
	}
	if c.Uploads != nil {
		checks["object-storage"] = c.Uploads.Check
	}
	cp.handler = httpapi.New(httpapi.Config{
		Auth: cp.Auth, Orgs: org.New(c.Store, regions, c.Now), Snapshots: cp.snapshots, Registries: registries, Regions: regions, Sandboxes: cp.sandboxes, WarmPools: cp.warmPools,
		Sandbox: c.Store.Sandbox, Log: c.Log, Metrics: c.Metrics, Version: c.Version,
		PublicURL: c.PublicURL, Previews: c.Previews, SSH: c.SSH, Gate: cp.Gate, Grants: cp.grants,
		Uploads: c.Uploads, Checks: checks, Rates: c.Rates, TrustedProxies: c.TrustedProxies,
	})
	return cp, nil
}

// allRegistries are the server's own and those on record.
type allRegistries struct {
	own      *upload.Service
	recorded *registry.Service
}

// Auths implements image.Registries.
func (a allRegistries) Auths(ctx context.Context, orgID string) ([]runnerapi.RegistryAuth, error) {
	recorded, err := a.recorded.Auths(ctx, orgID)
	if err != nil || orgID == "" {
		return recorded, err
	}
	own, err := a.own.OwnAuths(orgID)
	return append(own, recorded...), err
}

// Handler serves the public interface.
func (cp *ControlPlane) Handler() http.Handler { return cp.handler }

// Run keeps everything going until ctx ends or a loop fails for good. Work that
// calls began is waited for.
func (cp *ControlPlane) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return cp.sandboxes.Run(ctx) })
	group.Go(func() error { return cp.snapshots.Run(ctx) })
	group.Go(func() error { return cp.Auth.Run(ctx) })
	if cp.uploads != nil {
		group.Go(func() error { return cp.uploads.Run(ctx) })
	}
	group.Go(func() error { return cp.grants.Run(ctx) })
	group.Go(func() error { return cp.suspension.Run(ctx) })
	group.Go(func() error { return cp.warmPools.Run(ctx) })
	return group.Wait()
}

func (cp *ControlPlane) checkDatabase(ctx context.Context) error {
	if err := cp.store.Ping(ctx); err != nil {
		return fault.Wrap(err, fault.Unavailable, "the database does not answer")
	}
	return nil
}

func checkRunner(ctx context.Context, r runnerapi.Runner) error {
	if _, err := r.Info(ctx); err != nil {
		return fault.Wrap(err, fault.Unavailable, "the runner does not answer")
	}
	return nil
}

// checkSnapshot says whether a create without a snapshot can be answered.
func (cp *ControlPlane) checkSnapshot(ctx context.Context) error {
	sn, err := cp.snapshots.Get(ctx, "", cp.snapshots.Default())
	switch {
	case err != nil:
		return fault.Wrap(err, fault.Unavailable, "snapshot %s is not known", cp.snapshots.Default())
	case sn.State == snapshot.Active:
		return nil
	case sn.ErrorReason != nil:
		return fault.New(fault.Unavailable, "snapshot %s: %s", sn.Name, *sn.ErrorReason)
	case sn.Progress != "":
		return fault.New(fault.Unavailable, "snapshot %s is %s: %s", sn.Name, sn.State, sn.Progress)
	}
	return fault.New(fault.Unavailable, "snapshot %s is %s", sn.Name, sn.State)
}
