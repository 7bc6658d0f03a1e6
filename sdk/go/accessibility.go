package daytona

import (
	"context"
	"net/url"
	"strconv"
)

// Node is something on the screen, as its program describes it.
type Node struct {
	ID          string   `json:"id"` // until the program changes it
	Role        string   `json:"role"`
	Name        string   `json:"name"`
	Description string   `json:"description"`
	States      []string `json:"states"`
	Actions     []string `json:"actions"`
	Bounds      struct {
		X      int `json:"x"`
		Y      int `json:"y"`
		Width  int `json:"width"`
		Height int `json:"height"`
	} `json:"bounds"`
	Children []Node `json:"children"`
}

// NodeTree says what of the screen to tell. Everything may be left out.
type NodeTree struct {
	PID   int  // of one program; 0 is the focused window
	All   bool // every program
	Depth int  // at most 100
}

// Tree returns what programs say of their windows. truncated says that there is
// more.
func (c *Computer) Tree(ctx context.Context, t NodeTree) (root Node, truncated bool, err error) {
	query := url.Values{}
	if s := scope(t.PID, t.All); s != "" {
		query.Set("scope", s)
	}
	for name, n := range map[string]int{"pid": t.PID, "maxDepth": t.Depth} {
		if n != 0 {
			query.Set(name, strconv.Itoa(n))
		}
	}
	out, err := getAs[struct {
		Root      Node `json:"root"`
		Truncated bool `json:"truncated"`
	}](ctx, c.sandbox.client, c.url("a11y", "tree"), query)
	return out.Root, out.Truncated, err
}

func scope(pid int, all bool) string {
	switch {
	case all:
		return "all"
	case pid != 0:
		return "pid"
	}
	return ""
}

// NodeQuery describes nodes. Everything may be left out.
type NodeQuery struct {
	PID    int  // of one program; 0 is the focused window
	All    bool // every program
	Role   string
	Name   string
	Match  string   // exact, substring (default) or regex
	States []string // each of which it must have
	Limit  int
}

// FindNodes returns the nodes that fit. truncated says that there are more.
func (c *Computer) FindNodes(ctx context.Context, q NodeQuery) (found []Node, truncated bool, err error) {
	var out struct {
		Matches   []Node `json:"matches"`
		Truncated bool   `json:"truncated"`
	}
	err = c.sandbox.client.post(ctx, c.url("a11y", "find"), struct {
		Scope     string   `json:"scope,omitempty"`
		PID       int      `json:"pid,omitempty"`
		Role      string   `json:"role,omitempty"`
		Name      string   `json:"name,omitempty"`
		NameMatch string   `json:"nameMatch,omitempty"`
		States    []string `json:"states,omitempty"`
		Limit     int      `json:"limit,omitempty"`
	}{scope(q.PID, q.All), q.PID, q.Role, q.Name, q.Match, q.States, q.Limit}, &out)
	return out.Matches, out.Truncated, err
}

type nodeAct struct {
	ID     string  `json:"id"`
	Action string  `json:"action,omitempty"`
	Value  *string `json:"value,omitempty"`
}

// FocusNode gives a node the keyboard.
func (c *Computer) FocusNode(ctx context.Context, id string) error {
	return c.post(ctx, nodeAct{ID: id}, "a11y", "node", "focus")
}

// InvokeNode does what a node can do; with action "" the first of its actions.
func (c *Computer) InvokeNode(ctx context.Context, id, action string) error {
	return c.post(ctx, nodeAct{ID: id, Action: action}, "a11y", "node", "invoke")
}

// SetNodeValue writes a node's text or number.
func (c *Computer) SetNodeValue(ctx context.Context, id, value string) error {
	return c.post(ctx, nodeAct{ID: id, Value: &value}, "a11y", "node", "value")
}

// ProcessRunning says whether a process of the desktop runs: xvfb, xfce4, x11vnc
// or novnc.
func (c *Computer) ProcessRunning(ctx context.Context, name string) (bool, error) {
	out, err := getAs[struct {
		Running bool `json:"running"`
	}](ctx, c.sandbox.client, c.url("process", name, "status"), nil)
	return out.Running, err
}

// RestartProcess ends a process of the desktop and starts it again.
func (c *Computer) RestartProcess(ctx context.Context, name string) error {
	return c.post(ctx, nil, "process", name, "restart")
}

// ProcessLogs returns what a process of the desktop has printed, and what on
// standard error.
func (c *Computer) ProcessLogs(ctx context.Context, name string) (stdout, stderr string, err error) {
	out, err := getAs[struct {
		Logs string `json:"logs"`
	}](ctx, c.sandbox.client, c.url("process", name, "logs"), nil)
	if err != nil {
		return "", "", err
	}
	errs, err := getAs[struct {
		Errors string `json:"errors"`
	}](ctx, c.sandbox.client, c.url("process", name, "errors"), nil)
	return out.Logs, errs.Errors, err
}
