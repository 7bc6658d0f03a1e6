package api

// Error is the body of every answer with a status of 400 or more.
type Error struct {
	StatusCode int    `json:"statusCode"`          // the HTTP status, for clients that read only the body
	Message    string `json:"message"`             // for the person who made the call
	Error      string `json:"error"`               // the reason phrase of the status
	Code       string `json:"code"`                // stable, upper case, such as NOT_FOUND
	Source     string `json:"source"`              // SourceAPI or SourceProxy
	Path       string `json:"path"`                // of the request, with its query
	Timestamp  Time   `json:"timestamp"`           //
	Method     string `json:"method,omitempty"`    // on the proxy path only
	RequestID  string `json:"requestId,omitempty"` // also in the X-Request-Id header and the server's log
}

// Who made an error body.
const (
	SourceAPI   = "DAYTONA_API"
	SourceProxy = "DAYTONA_PROXY"
)
