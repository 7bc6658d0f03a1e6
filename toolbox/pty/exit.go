package pty

import (
	"encoding/json"
	"strconv"

	"github.com/coder/websocket"
)

// exit is how a session ended, in the words of a close frame's reason.
type exit struct {
	Code   int    `json:"exitCode"`
	Reason string `json:"exitReason,omitempty"`
}

// exitOf names the reason of an exit code by the shell's rule, in which a
// signal's number is added to 128.
func exitOf(code int) exit {
	switch {
	case code == 0:
		return exit{}
	case code == 130:
		return exit{code, "Ctrl+C"}
	case code == 137:
		return exit{code, "SIGKILL"}
	case code == 143:
		return exit{code, "SIGTERM"}
	case code > 128:
		return exit{code, "signal " + strconv.Itoa(code-128)}
	}
	return exit{code, "non-zero exit"}
}

// farewell is how a connection is closed: an optional control message, then the
// close frame.
type farewell struct {
	control any
	status  websocket.StatusCode
	reason  string
}

// control is a message about the session, sent as text.
type control struct {
	Type   string `json:"type"` // always "control"
	Status string `json:"status"`
	Error  string `json:"error,omitempty"`
}

// exited is the control message about the end of a session.
type exited struct {
	Type   string `json:"type"`
	Status string `json:"status"`
	exit
}

// farewell tells how the session ended: with status 1000 when that was well,
// else 1011. Clients that asked for it get a control message too.
func (e exit) farewell(asked bool) farewell {
	f := farewell{status: websocket.StatusNormalClosure, reason: closeReason(e)}
	if e.Code != 0 {
		f.status = websocket.StatusInternalError
	}
	if asked {
		f.control = exited{"control", "exited", e}
	}
	return f
}

// refusal tells that there is no session to be had.
func refusal(text string) farewell {
	return farewell{
		control: control{"control", "error", text},
		status:  websocket.StatusPolicyViolation,
		reason: closeReason(struct {
			Error string `json:"error"`
		}{text}),
	}
}

// slowConsumer tells a client that it did not read fast enough.
var slowConsumer = farewell{status: websocket.StatusPolicyViolation, reason: "slow consumer"}

// mostReason is how many bytes of reason fit into a close frame.
const mostReason = 123

// closeReason encodes v, or returns "" when it does not fit: half of it would
// be no JSON.
func closeReason(v any) string {
	b, err := json.Marshal(v)
	if err != nil || len(b) > mostReason {
		return ""
	}
	return string(b)
}
