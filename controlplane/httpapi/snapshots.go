package httpapi

import (
	"net/http"

	"daytona/api"
	"daytona/controlplane/snapshot"
)

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
	s, err := a.Snapshots.Get(r.Context(), c.OrgID, r.PathValue("idOrName"))
	if err != nil {
		return err
	}
	full := toSnapshot(c.client, s)
	if c.client.strict {
		writeJSON(w, http.StatusOK, full.DocsEraSnapshot)
	} else {
		writeJSON(w, http.StatusOK, full)
	}
	return nil
}
