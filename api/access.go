package api

// SignedPortPreviewURL is a link to a port that is good for a while and needs
// nothing else.
type SignedPortPreviewURL struct {
	SandboxID string `json:"sandboxId"`
	Port      int    `json:"port"`
	Token     string `json:"token"`
	URL       string `json:"url"`
}

// SSHAccess lets whoever knows the token log in to a sandbox by SSH.
type SSHAccess struct {
	ID         string `json:"id"`
	SandboxID  string `json:"sandboxId"`
	Token      string `json:"token"`
	ExpiresAt  Time   `json:"expiresAt"`
	CreatedAt  Time   `json:"createdAt"`
	UpdatedAt  Time   `json:"updatedAt"`
	SSHCommand string `json:"sshCommand"`
}

// SSHAccessInfo is an SSHAccess in a list: the token is shown only once.
type SSHAccessInfo struct {
	ID        string `json:"id"`
	SandboxID string `json:"sandboxId"`
	ExpiresAt Time   `json:"expiresAt"`
	CreatedAt Time   `json:"createdAt"`
	UpdatedAt Time   `json:"updatedAt"`
}

// SSHAccessValidation says whether a token lets one log in, and where.
type SSHAccessValidation struct {
	Valid     bool   `json:"valid"`
	SandboxID string `json:"sandboxId"`
}
