package httpapi

import (
	"encoding/json"
	"math"
	"net/http"
	"reflect"
	"time"

	"daytona/api"
	"daytona/controlplane/sandbox"
)

// filterQuery selects sandboxes, in every form of the list.
type filterQuery struct {
	ID                    string    `query:"id" description:"prefix of the id, in any case"`
	Name                  string    `query:"name" description:"prefix of the name, in any case"`
	Labels                string    `query:"labels" description:"JSON object of labels that must all be there; the text null is no filter"`
	Verbose               *bool     `query:"verbose" description:"accepted from old clients; no effect"`
	IncludeErroredDeleted *bool     `query:"includeErroredDeleted" description:"also those that failed while they were being deleted"`
	IncludeWarm           *bool     `query:"includeWarm" description:"accepted; waiting warm sandboxes belong to nobody"`
	States                []string  `query:"states" description:"only in these states"`
	Snapshots             []string  `query:"snapshots" description:"only of these snapshots, by name"`
	RegionIDs             []string  `query:"regionIds" description:"only in these regions"`
	SandboxClasses        []string  `query:"sandboxClasses" description:"only of these classes"`
	MinCPU                *float64  `query:"minCpu"`
	MaxCPU                *float64  `query:"maxCpu"`
	MinMemory             *float64  `query:"minMemoryGiB"`
	MaxMemory             *float64  `query:"maxMemoryGiB"`
	MinDisk               *float64  `query:"minDiskGiB"`
	MaxDisk               *float64  `query:"maxDiskGiB"`
	MinGPU                *float64  `query:"minGpu"`
	MaxGPU                *float64  `query:"maxGpu"`
	IsPublic              *bool     `query:"isPublic"`
	IsRecoverable         *bool     `query:"isRecoverable"`
	CreatedAfter          *api.Time `query:"createdAtAfter"`
	CreatedBefore         *api.Time `query:"createdAtBefore"`
	EventAfter            *api.Time `query:"lastEventAfter"`
	EventBefore           *api.Time `query:"lastEventBefore"`
	DestroyAfter          *api.Time `query:"autoDestroyAtAfter"`
	DestroyBefore         *api.Time `query:"autoDestroyAtBefore"`
	Sort                  string    `query:"sort" enum:"name,cpu,memoryGib,diskGib,lastActivityAt,createdAt"`
	Order                 string    `query:"order" description:"default desc" enum:"asc,desc"`
}

// listQuery is what GET /sandbox understands.
type listQuery struct {
	filterQuery
	Cursor string `query:"cursor" description:"of the page before"`
	Limit  *int   `query:"limit" description:"1 to 200" default:"100"`
}

// pageQuery is what GET /sandbox/paginated understands.
type pageQuery struct {
	filterQuery
	Page  *int `query:"page" description:"from 1" default:"1"`
	Limit *int `query:"limit" description:"1 to 200" default:"100"`
}

const maxListLimit = 200

func (a *API) listSandboxes(w http.ResponseWriter, r *http.Request, c call) error {
	var q listQuery
	if err := bindQuery(r, &q); err != nil {
		return err
	}
	var p problems
	f := p.filter(q.filterQuery)
	cursor := wantsCursorList(c.client, r.URL.Query())
	if cursor {
		f.Cursor, f.Limit = q.Cursor, p.limit(q.Limit, maxListLimit)
	} else if f.Sort == "" {
		f.Sort = sandbox.ByCreated
	}
	if err := p.err(); err != nil {
		return err
	}
	page, err := a.Sandboxes.List(r.Context(), c.OrgID, f)
	if err != nil {
		return err
	}
	if !cursor {
		out := make([]any, len(page.Items))
		for i, s := range page.Items {
			out[i] = a.sandboxFor(c.client, s)
		}
		writeJSON(w, http.StatusOK, out)
		return nil
	}
	out := api.ListSandboxesResponse{Items: make([]api.SandboxListItem, len(page.Items)), NextCursor: page.NextCursor}
	for i, s := range page.Items {
		out.Items[i] = a.toListItem(c.client, s)
	}
	writeJSON(w, http.StatusOK, out)
	return nil
}

func (a *API) listSandboxPages(w http.ResponseWriter, r *http.Request, c call) error {
	var q pageQuery
	if err := bindQuery(r, &q); err != nil {
		return err
	}
	var p problems
	f := p.filter(q.filterQuery)
	number, limit := p.pages(q.Page, q.Limit, maxListLimit)
	if err := p.err(); err != nil {
		return err
	}
	if f.Sort == "" {
		f.Sort = sandbox.ByCreated
	}
	f.Limit, f.Offset, f.CountAll = limit, (number-1)*limit, true
	page, err := a.Sandboxes.List(r.Context(), c.OrgID, f)
	if err != nil {
		return err
	}
	out := api.PaginatedSandboxes{
		Items: make([]api.Sandbox, len(page.Items)), Total: page.Total, Page: number,
		TotalPages: (page.Total + limit - 1) / limit,
	}
	for i, s := range page.Items {
		out.Items[i] = a.toSandbox(c.client, s)
	}
	writeJSON(w, http.StatusOK, out)
	return nil
}

// filter turns a query into the domain's filter.
func (p *problems) filter(q filterQuery) sandbox.Filter {
	p.oneOf("sort", q.Sort, "name", "cpu", "memoryGib", "diskGib", "lastActivityAt", "createdAt")
	f := sandbox.Filter{
		ID: q.ID, Name: q.Name, Labels: p.labels(q.Labels),
		IncludeErroredDelete: q.IncludeErroredDeleted != nil && *q.IncludeErroredDeleted,
		Snapshots:            q.Snapshots, Regions: q.RegionIDs, Classes: q.SandboxClasses,
		CPU: within(q.MinCPU, q.MaxCPU), MemoryGiB: within(q.MinMemory, q.MaxMemory),
		DiskGiB: within(q.MinDisk, q.MaxDisk), GPU: within(q.MinGPU, q.MaxGPU),
		Public: q.IsPublic, Recoverable: q.IsRecoverable,
		Created:       between(q.CreatedAfter, q.CreatedBefore),
		LastEvent:     between(q.EventAfter, q.EventBefore),
		AutoDestroyAt: between(q.DestroyAfter, q.DestroyBefore),
		Sort:          sandbox.SortField(q.Sort), Ascending: p.order(q.Order),
	}
	for _, s := range q.States {
		f.States = append(f.States, sandbox.State(s))
		if !sandbox.State(s).Valid() {
			p.add("states", "must each be a sandbox state, which %q is not", printable(s))
		}
	}
	return f
}

// labels reads the JSON object in the labels parameter. Old Python clients send
// the text null for no labels.
func (p *problems) labels(text string) map[string]string {
	if text == "" || text == "null" {
		return nil
	}
	labels := map[string]string{}
	if !json.Valid([]byte(text)) {
		p.add("labels", "must be a JSON object with string values")
		return nil
	}
	p.decode(json.RawMessage(text), reflect.ValueOf(&labels).Elem(), "labels")
	return labels
}

// within turns inclusive bounds, which may be fractions, into whole ones.
func within(low, high *float64) sandbox.IntRange {
	var out sandbox.IntRange
	whole := func(f float64) *int {
		n := int(max(min(f, math.MaxInt32), math.MinInt32))
		return &n
	}
	if low != nil {
		out.Min = whole(math.Ceil(*low))
	}
	if high != nil {
		out.Max = whole(math.Floor(*high))
	}
	return out
}

func between(after, before *api.Time) sandbox.TimeRange {
	pointer := func(t *api.Time) *time.Time {
		if t == nil {
			return nil
		}
		return &t.Time
	}
	return sandbox.TimeRange{After: pointer(after), Before: pointer(before)}
}
