package httpapi

import (
	"context"
	"io"
	"net/http"

	"daytona/api"
	"daytona/controlplane/auth"
	"daytona/controlplane/snapshot"
)

// pathSnapshot names the snapshot of a route, by id or name.
const pathSnapshot = "idOrName"

// snapshotQuery is what GET /snapshots understands.
type snapshotQuery struct {
	Page          *int   `query:"page" description:"from 1" default:"1"`
	Limit         *int   `query:"limit" description:"items a page" default:"100"`
	Name          string `query:"name" description:"part of the name, in any case"`
	SourceSandbox string `query:"sourceSandboxId" description:"only those taken from this sandbox"`
	Sort          string `query:"sort" description:"default lastUsedAt" enum:"name,state,lastUsedAt,createdAt"`
	Order         string `query:"order" description:"default desc" enum:"asc,desc"`
}

// maxSnapshotLimit bounds a page. Old SDKs ask for as many as there are.
const maxSnapshotLimit = 100_000

func (a *API) listSnapshots(w http.ResponseWriter, r *http.Request, c call) error {
	var q snapshotQuery
	if err := bindQuery(r, &q); err != nil {
		return err
	}
	var p problems
	page, limit := p.pages(q.Page, q.Limit, maxSnapshotLimit)
	ascending := p.order(q.Order)
	p.oneOf("sort", q.Sort, "name", "state", "lastUsedAt", "createdAt")
	if err := p.err(); err != nil {
		return err
	}
	list, err := a.Snapshots.List(r.Context(), c.OrgID, snapshot.Filter{
		Name: q.Name, SourceSandbox: q.SourceSandbox, Sort: snapshot.SortField(q.Sort), Ascending: ascending,
		Page: page, Limit: limit,
	})
	if err != nil {
		return err
	}
	full := make([]api.Snapshot, len(list.Items))
	old := make([]api.DocsEraSnapshot, len(list.Items))
	for i, s := range list.Items {
		full[i] = toSnapshot(c.client, s)
		old[i] = full[i].DocsEraSnapshot
	}
	pages := (list.Total + limit - 1) / limit
	if c.client.strict {
		writeJSON(w, http.StatusOK, api.DocsEraPaginatedSnapshots{Items: old, Total: list.Total, Page: page, TotalPages: pages})
	} else {
		writeJSON(w, http.StatusOK, api.PaginatedSnapshots{Items: full, Total: list.Total, Page: page, TotalPages: pages})
	}
	return nil
}

func (a *API) getSnapshot(w http.ResponseWriter, r *http.Request, c call) error {
	s, err := a.Snapshots.Get(r.Context(), c.OrgID, r.PathValue(pathSnapshot))
	if err != nil {
		return err
	}
	a.writeSnapshot(w, c, s)
	return nil
}

// writeSnapshot answers in the dialect of the client that asks.
func (a *API) writeSnapshot(w http.ResponseWriter, c call, s snapshot.Snapshot) {
	full := toSnapshot(c.client, s)
	if c.client.strict {
		writeJSON(w, http.StatusOK, full.DocsEraSnapshot)
	} else {
		writeJSON(w, http.StatusOK, full)
	}
}

// by is who asks, for the snapshots.
func (c call) by() snapshot.By {
	return snapshot.By{OrgID: c.OrgID, Admin: c.User.Role == auth.RoleAdmin}
}

func (a *API) createSnapshot(w http.ResponseWriter, r *http.Request, c call) error {
	var body api.CreateSnapshot
	if err := decodeBody(w, r, &body); err != nil {
		return err
	}
	s, err := a.Snapshots.Create(r.Context(), c.by(), toCreateSnapshot(body))
	if err != nil {
		return err
	}
	a.writeSnapshot(w, c, s)
	return nil
}

func (a *API) deleteSnapshot(w http.ResponseWriter, r *http.Request, c call) error {
	if err := a.Snapshots.Delete(r.Context(), c.by(), r.PathValue(pathSnapshot)); err != nil {
		return err
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

func (a *API) activateSnapshot(w http.ResponseWriter, r *http.Request, c call) error {
	s, err := a.Snapshots.Activate(r.Context(), c.by(), r.PathValue(pathSnapshot))
	if err != nil {
		return err
	}
	a.writeSnapshot(w, c, s)
	return nil
}

func (a *API) deactivateSnapshot(w http.ResponseWriter, r *http.Request, c call) error {
	if err := a.Snapshots.Deactivate(r.Context(), c.by(), r.PathValue(pathSnapshot)); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (a *API) setSnapshotGeneral(w http.ResponseWriter, r *http.Request, c call) error {
	var body api.SetSnapshotGeneralStatus
	if err := decodeBody(w, r, &body); err != nil {
		return err
	}
	s, err := a.Snapshots.SetGeneral(r.Context(), c.by(), r.PathValue(pathSnapshot), body.General)
	if err != nil {
		return err
	}
	a.writeSnapshot(w, c, s)
	return nil
}

func (a *API) snapshotLogsURL(w http.ResponseWriter, r *http.Request, c call) error {
	s, err := a.Snapshots.Get(r.Context(), c.OrgID, r.PathValue(pathSnapshot))
	if err == nil {
		writeJSON(w, http.StatusOK, api.URL{URL: a.origin() + basePath + "/snapshots/" + s.ID + "/build-logs"})
	}
	return err
}

func (a *API) sandboxLogsURL(w http.ResponseWriter, r *http.Request, c call) error {
	sb, err := a.Sandboxes.Get(r.Context(), c.OrgID, r.PathValue(pathSandbox))
	if err == nil {
		writeJSON(w, http.StatusOK, api.URL{URL: a.origin() + basePath + "/sandbox/" + sb.ID + "/build-logs"})
	}
	return err
}

func (a *API) snapshotLogs(w http.ResponseWriter, r *http.Request, c call) error {
	s, err := a.Snapshots.Get(r.Context(), c.OrgID, r.PathValue(pathSnapshot))
	if err != nil {
		return err
	}
	return a.streamLog(w, r, func(ctx context.Context, follow bool, to io.Writer) error {
		return a.Snapshots.Log(ctx, c.OrgID, s.ID, follow, to)
	})
}

func (a *API) sandboxLogs(w http.ResponseWriter, r *http.Request, c call) error {
	sb, err := a.Sandboxes.Get(r.Context(), c.OrgID, r.PathValue(pathSandbox))
	if err != nil {
		return err
	}
	return a.streamLog(w, r, func(ctx context.Context, follow bool, to io.Writer) error {
		return a.Sandboxes.Log(ctx, c.OrgID, sb.ID, follow, to)
	})
}

// logsQuery is what the routes for build logs understand.
type logsQuery struct {
	Follow *bool `query:"follow" description:"stay until the image is made or has failed"`
}

// streamLog answers with a log as it grows. Clients print whatever the body of
// the answer is, whatever its status, so what goes wrong once it has begun only
// ends it.
func (a *API) streamLog(w http.ResponseWriter, r *http.Request, log func(ctx context.Context, follow bool, to io.Writer) error) error {
	var q logsQuery
	if err := bindQuery(r, &q); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("X-Accel-Buffering", "no") // a proxy before us must not wait for more
	w.WriteHeader(http.StatusOK)
	to := flushing{w: w, rc: http.NewResponseController(w)}
	_ = to.rc.Flush() // whoever has gone is noticed by Write
	if err := log(r.Context(), q.Follow != nil && *q.Follow, to); err != nil && r.Context().Err() == nil {
		a.log.WarnContext(r.Context(), "a build log broke off", "path", r.URL.Path, "error", err)
	}
	return nil
}

// flushing sends on what it gets at once.
type flushing struct {
	w  io.Writer
	rc *http.ResponseController
}

func (f flushing) Write(p []byte) (int, error) {
	n, err := f.w.Write(p)
	if err == nil {
		err = f.rc.Flush()
	}
	return n, err
}
