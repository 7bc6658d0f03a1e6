package storage

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"daytona/controlplane/sandbox"
	"daytona/internal/fault"
)

// shownState is sandbox.Sandbox.Shown in SQL; the conformance suite compares them.
const shownState = `CASE
	WHEN state IN ('destroyed', 'destroying') THEN state
	WHEN desired = 'destroyed' AND state IN ('started', 'stopped') THEN 'destroying'
	WHEN state = 'started' AND desired = 'stopped' THEN 'stopping'
	WHEN state = 'stopped' AND desired = 'started' THEN 'starting'
	WHEN state = 'stopped' AND desired = 'archived' THEN 'archiving'
	WHEN state = 'unknown' AND desired = 'started' THEN 'creating'
	WHEN resize IS NOT NULL AND state IN ('started', 'stopped') THEN 'resizing'
	WHEN snapshotting <> '' AND state IN ('started', 'stopped') THEN 'snapshotting'
	ELSE state END`

// ListSandboxes implements sandbox.Store. A cursor holds the sort value and id
// of the last row of its page, so that rows that come and go meanwhile neither
// repeat nor hide others.
func (db *DB) ListSandboxes(ctx context.Context, orgID string, f sandbox.Filter) (p sandbox.Page, err error) {
	c := db.reader()
	w := where{}
	w.add(`org_id = ? AND state <> 'destroyed'`, orgID)
	if !f.IncludeErroredDelete {
		w.add(`NOT (state IN ('error', 'build_failed') AND desired = 'destroyed')`)
	}
	w.filter(f, c.pg)
	if f.CountAll {
		if err := c.row(ctx, `SELECT COUNT(*) FROM sandboxes WHERE `+w.String(), w.args...).Scan(&p.Total); err != nil {
			return p, db.fault(err)
		}
	}
	col, value := sortColumn(f.Sort, c.pg)
	dir, past := "DESC", "<"
	if f.Ascending {
		dir, past = "ASC", ">"
	}
	if f.Cursor != "" {
		cur, err := parseCursor(f)
		if err != nil {
			return p, err
		}
		w.add(`(`+col+`, id) `+past+` (?, ?)`, cur.value(), cur.ID)
	}
	q := selectSandbox + `WHERE ` + w.String() + ` ORDER BY ` + col + ` ` + dir + `, id ` + dir
	if f.Limit > 0 {
		q += ` LIMIT ? OFFSET ?`
		w.args = append(w.args, f.Limit+1, max(f.Offset, 0)) // one more tells whether there is a next page
	}
	p.Items, err = list(ctx, db, c, scanSandbox, q, w.args...)
	if err == nil && f.Limit > 0 && len(p.Items) > f.Limit {
		p.Items = p.Items[:f.Limit]
		last := p.Items[f.Limit-1]
		next := newCursor(f, value(last), last.ID)
		p.NextCursor = &next
	}
	return p, err
}

// CountSandboxes implements sandbox.Store.
func (db *DB) CountSandboxes(ctx context.Context) (map[sandbox.State]int, error) {
	type count struct {
		state sandbox.State
		n     int
	}
	counts, err := list(ctx, db, db.reader(), func(r scanner) (v count, err error) {
		return v, r.Scan(&v.state, &v.n)
	}, `SELECT `+shownState+` AS shown, COUNT(*) FROM sandboxes GROUP BY shown`)
	out := map[sandbox.State]int{}
	for _, v := range counts {
		out[v.state] = v.n
	}
	return out, err
}

// where gathers conditions.
type where struct {
	conds []string
	args  []any
}

func (w *where) String() string { return strings.Join(w.conds, " AND ") }

func (w *where) add(cond string, args ...any) {
	w.conds = append(w.conds, cond)
	w.args = append(w.args, args...)
}

func (w *where) filter(f sandbox.Filter, pg bool) {
	w.prefix("id", f.ID)
	w.prefix("name", f.Name)
	each := `json_each(labels)`
	if pg {
		each = `json_each_text(labels::json)`
	}
	for _, k := range sorted(f.Labels) {
		w.add(`EXISTS (SELECT 1 FROM `+each+` AS l WHERE l.key = ? AND l.value = ?)`, k, f.Labels[k])
	}
	in(w, shownState, f.States)
	in(w, "snapshot", f.Snapshots)
	in(w, "target", f.Regions)
	if len(f.Classes) > 0 && !slices.Contains(f.Classes, "container") {
		w.add(`1 = 0`)
	}
	w.ints("cpu", f.CPU)
	w.ints("memory_gib", f.MemoryGiB)
	w.ints("disk_gib", f.DiskGiB)
	w.ints("gpu", f.GPU)
	if f.Public != nil {
		w.add(`public = ?`, *f.Public)
	}
	if f.Recoverable != nil {
		w.add(`recoverable = ?`, *f.Recoverable)
	}
	w.times("created_at", f.Created)
	w.times("last_activity_at", f.LastEvent)
	if f.AutoDestroyAt.After != nil || f.AutoDestroyAt.Before != nil {
		w.add(`1 = 0`)
	}
}

func (w *where) prefix(col, s string) {
	if s != "" {
		w.add(`lower(`+col+`) LIKE ? ESCAPE '\'`, likeEscape(strings.ToLower(s))+"%")
	}
}

func in[T any](w *where, expr string, values []T) {
	if len(values) > 0 {
		w.add(`(`+expr+`) IN (`+marks(len(values))+`)`, anys(values)...)
	}
}

func (w *where) ints(col string, r sandbox.IntRange) {
	if r.Min != nil {
		w.add(col+` >= ?`, *r.Min)
	}
	if r.Max != nil {
		w.add(col+` <= ?`, *r.Max)
	}
}

func (w *where) times(col string, r sandbox.TimeRange) {
	if r.After != nil {
		w.add(col+` > ?`, millis(*r.After))
	}
	if r.Before != nil {
		w.add(col+` < ?`, millis(*r.Before))
	}
}

// sortColumn is a column and how to read its value off a row.
func sortColumn(f sandbox.SortField, pg bool) (string, func(sandbox.Sandbox) any) {
	number := func(get func(sandbox.Sandbox) int) func(sandbox.Sandbox) any {
		return func(s sandbox.Sandbox) any { return int64(get(s)) }
	}
	moment := func(get func(sandbox.Sandbox) time.Time) func(sandbox.Sandbox) any {
		return func(s sandbox.Sandbox) any { return millis(get(s)) }
	}
	switch f {
	case sandbox.ByName:
		if pg {
			return `name COLLATE "C"`, func(s sandbox.Sandbox) any { return s.Name } // as SQLite sorts
		}
		return "name", func(s sandbox.Sandbox) any { return s.Name }
	case sandbox.ByCPU:
		return "cpu", number(func(s sandbox.Sandbox) int { return s.CPU })
	case sandbox.ByMemory:
		return "memory_gib", number(func(s sandbox.Sandbox) int { return s.MemoryGiB })
	case sandbox.ByDisk:
		return "disk_gib", number(func(s sandbox.Sandbox) int { return s.DiskGiB })
	case sandbox.ByCreated:
		return "created_at", moment(func(s sandbox.Sandbox) time.Time { return s.CreatedAt })
	}
	return "last_activity_at", moment(func(s sandbox.Sandbox) time.Time { return s.LastActivityAt })
}

// cursor is what a page's cursor says, as base64 of JSON. It is bound to the
// order it was made for.
type cursor struct {
	Sort      sandbox.SortField `json:"s"`
	Ascending bool              `json:"a"`
	Number    int64             `json:"n,omitempty"`
	Text      string            `json:"t,omitempty"`
	ID        string            `json:"i"`
}

func (c cursor) value() any {
	if c.Sort == sandbox.ByName {
		return c.Text
	}
	return c.Number
}

func newCursor(f sandbox.Filter, value any, id string) string {
	c := cursor{Sort: f.Sort, Ascending: f.Ascending, ID: id}
	switch v := value.(type) {
	case int64:
		c.Number = v
	case string:
		c.Text = v
	}
	return base64.RawURLEncoding.EncodeToString([]byte(text(c)))
}

func parseCursor(f sandbox.Filter) (c cursor, err error) {
	raw, err := base64.RawURLEncoding.DecodeString(f.Cursor)
	if err == nil {
		err = json.Unmarshal(raw, &c)
	}
	if err != nil || c.ID == "" || strings.ContainsRune(c.ID+c.Text, 0) {
		return c, fault.New(fault.Invalid, "cursor: not a cursor of this server. Begin again without one")
	}
	if c.Sort != f.Sort || c.Ascending != f.Ascending {
		return c, fault.New(fault.Invalid, "cursor: belongs to a list in another order. Keep sort and order the same from page to page")
	}
	return c, nil
}
