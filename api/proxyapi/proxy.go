// Package proxyapi is the private contract between the proxy, through which
// people and programs reach what listens in sandboxes, and the control plane,
// which knows who may.
//
// All errors are faults (internal/fault).
package proxyapi

import (
	"context"
	"net"
	"net/http"
	"time"
)

// Ports of a sandbox that are not a program's own.
const (
	ToolboxPort    = 2280
	TerminalPort   = 22222
	RecordingsPort = 33333
)

// Guarded reports whether a port needs credentials in a public sandbox too:
// whoever reaches it controls the sandbox, or sees what was done in it.
func Guarded(port int) bool {
	return port == ToolboxPort || port == TerminalPort || port == RecordingsPort
}

// Credentials are what a caller showed, each "" when it was not shown. They are
// tried in this order, and the first that is right counts.
type Credentials struct {
	Bearer string `json:"bearer,omitempty"` // an API key
	OrgID  string `json:"orgId,omitempty"`  // the organization that the caller names beside it
	Header string `json:"header,omitempty"` // preview token
	Query  string `json:"query,omitempty"`  // preview token
	Cookie string `json:"cookie,omitempty"` // of an earlier Session
}

// Ask is a request at the door.
type Ask struct {
	Ref  string      `json:"ref"` // id of a sandbox, or the token of a signed link
	Port int         `json:"port"`
	With Credentials `json:"with"`
}

// By says what opened the door.
type By string

// What can open the door.
const (
	ByPublic By = "public" // nothing was needed
	ByBearer By = "bearer"
	ByHeader By = "header"
	ByQuery  By = "query"
	ByCookie By = "cookie"
	ByLink   By = "link" // the signed link itself
	BySSH    By = "ssh"  // a token for SSH
)

// Pass lets a request through the door.
type Pass struct {
	SandboxID string `json:"sandboxId"`
	OrgID     string `json:"orgId"`
	By        By     `json:"by"`
	// State is what clients read as the sandbox's state; Started is the only one
	// in which ports can be reached.
	State string `json:"state"`
	Why   string `json:"why,omitempty"` // why it is in that state, for people
	// Startable says that Wake can bring it to Started, and AutoWake that a
	// request shall do so.
	Startable bool `json:"startable"`
	AutoWake  bool `json:"autoWake"`
	// Generation differs from run to run of the sandbox: connections of one are
	// not used in another.
	Generation string `json:"generation"`
}

// Started is the state of a sandbox that runs.
const Started = "started"

// CodeRevoked is the code of the fault for a token that was taken back.
const CodeRevoked = "TOKEN_REVOKED"

// ControlPlane is the contract.
type ControlPlane interface {
	// Admit lets a request through or not: Unauthenticated without credentials
	// or with wrong ones, NotFound for somebody who is known but not to this
	// sandbox. Without credentials the answer does not tell whether there is
	// such a sandbox.
	Admit(ctx context.Context, ask Ask) (Pass, error)
	// AdmitSSH lets whoever shows a token log in to a sandbox: NotFound when it is
	// not good, or not good any more; with CodeRevoked when it was taken back, and
	// what was opened with it is to end.
	AdmitSSH(ctx context.Context, token string) (Pass, error)
	// Wake starts a stopped sandbox and waits until it runs or ctx ends.
	Wake(ctx context.Context, sandboxID string) error
	// Touch counts as activity of a sandbox.
	Touch(sandboxID string)

	// Session makes the value of a cookie for a sandbox's port, out of what a
	// person brings back from signing in or of the credentials of an Ask.
	Session(ctx context.Context, ask Ask, code, nonce string) (value string, until time.Time, err error)
	// SignIn is the page at which a person signs in and gets a code, for a nonce
	// that the same browser must show with it; back is where it leads.
	SignIn(back, nonce string) string

	// DialPort and RoundTripToolbox are as in runnerapi.
	DialPort(ctx context.Context, sandboxID string, port int) (net.Conn, error)
	RoundTripToolbox(r *http.Request, sandboxID string) (*http.Response, error)
}
