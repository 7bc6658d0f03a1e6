package sandbox

import "time"

// SortField names what a list is sorted by.
type SortField string

// The sort fields.
const (
	ByName         SortField = "name"
	ByCPU          SortField = "cpu"
	ByMemory       SortField = "memoryGib"
	ByDisk         SortField = "diskGib"
	ByLastActivity SortField = "lastActivityAt"
	ByCreated      SortField = "createdAt"
)

// Valid reports whether f is a sort field.
func (f SortField) Valid() bool {
	switch f {
	case ByName, ByCPU, ByMemory, ByDisk, ByLastActivity, ByCreated:
		return true
	}
	return false
}

// IntRange is inclusive; a nil end is open.
type IntRange struct{ Min, Max *int }

// TimeRange is exclusive; a nil end is open.
type TimeRange struct{ After, Before *time.Time }

// Filter selects, sorts and pages a list. The zero value is every sandbox that
// is not destroyed, the last active first. Destroyed sandboxes never show, and
// those that failed while they should be destroyed only when asked for.
type Filter struct {
	ID, Name             string            // prefixes, in any case
	Labels               map[string]string // all must be there with this value
	IncludeErroredDelete bool
	States               []State // as shown
	Snapshots            []string
	Regions              []string
	Classes              []string // of "container", "linux-vm", …; this server has containers
	CPU, MemoryGiB       IntRange
	DiskGiB, GPU         IntRange
	Public, Recoverable  *bool
	Created, LastEvent   TimeRange
	AutoDestroyAt        TimeRange // no sandbox here has one: any bound selects none

	Sort      SortField // "" is ByLastActivity
	Ascending bool      // default is descending
	Limit     int       // 0 is no limit
	Cursor    string    // of the page before; excludes Offset
	Offset    int
	CountAll  bool // fill Page.Total
}

// Page is one page of a list.
type Page struct {
	Items      []Sandbox
	NextCursor *string // nil at the end
	Total      int     // of all pages, with Filter.CountAll
}
