package api

// Health says whether the server, or each thing it depends on, works.
type Health struct {
	Status  string                  `json:"status"`  // "ok" or "error"
	Info    map[string]HealthDetail `json:"info"`    // what is up
	Error   map[string]HealthDetail `json:"error"`   // what is down
	Details map[string]HealthDetail `json:"details"` // both
}

// HealthDetail is the health of one dependency.
type HealthDetail struct {
	Status  string `json:"status"` // "up" or "down"
	Message string `json:"message,omitempty"`
}
