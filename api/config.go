package api

// Configuration tells clients about the server.
type Configuration struct {
	Version                string                  `json:"version"`
	OIDC                   OIDCConfig              `json:"oidc"`
	LinkedAccountsEnabled  bool                    `json:"linkedAccountsEnabled"`
	Announcements          map[string]Announcement `json:"announcements"`
	ProxyTemplateURL       string                  `json:"proxyTemplateUrl"` // with {{PORT}} and {{sandboxId}}
	ProxyToolboxURL        string                  `json:"proxyToolboxUrl"`
	DefaultSnapshot        string                  `json:"defaultSnapshot"`
	DashboardURL           string                  `json:"dashboardUrl"`
	MaxAutoArchiveInterval int                     `json:"maxAutoArchiveInterval"` // minutes
	MaintenanceMode        bool                    `json:"maintananceMode"`        // published with this spelling
	Environment            string                  `json:"environment"`
	// RateLimit says how often an organization may call; a limit that there is
	// not is left out.
	RateLimit *RateLimitConfig `json:"rateLimit,omitempty"`
	// Where to log in by SSH; left out where that is turned off.
	SSHGatewayCommand             string   `json:"sshGatewayCommand,omitempty"`
	SSHGatewayHost                string   `json:"sshGatewayHost,omitempty"`
	SSHGatewayPort                int      `json:"sshGatewayPort,omitempty"`
	SSHGatewayHostKeys            []string `json:"sshGatewayHostKeys,omitempty"`
	SSHGatewayHostKeyFingerprints []string `json:"sshGatewayHostKeyFingerprints,omitempty"`
}

// OIDCConfig names the issuer at which people log in; its members are empty
// while only API keys are accepted.
type OIDCConfig struct {
	Issuer   string `json:"issuer"`
	ClientID string `json:"clientId"`
	Audience string `json:"audience"`
}

// Announcement is a note of the operator to everybody.
type Announcement struct {
	Text         string `json:"text"`
	LearnMoreURL string `json:"learnMoreUrl,omitempty"`
}

// RateLimitConfig has the limits on requests.
type RateLimitConfig struct {
	FailedAuth       *RateLimitEntry `json:"failedAuth,omitempty"`
	Authenticated    *RateLimitEntry `json:"authenticated,omitempty"`
	SandboxCreate    *RateLimitEntry `json:"sandboxCreate,omitempty"`
	SandboxLifecycle *RateLimitEntry `json:"sandboxLifecycle,omitempty"`
	SandboxList      *RateLimitEntry `json:"sandboxList,omitempty"`
}

// RateLimitEntry allows so many requests in so many seconds.
type RateLimitEntry struct {
	TTL   int `json:"ttl"`
	Limit int `json:"limit"`
}
