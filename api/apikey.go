package api

// CreateAPIKey asks for a new API key of the caller in its organization.
type CreateAPIKey struct {
	Name        string       `json:"name"`                // unique per organization and user
	Permissions []Permission `json:"permissions"`         // not empty, only what the caller holds
	ExpiresAt   *Time        `json:"expiresAt,omitempty"` // absent or null: never
}

// APIKeyResponse is a new key with its secret, which is shown only here.
type APIKeyResponse struct {
	Name        string       `json:"name"`
	Value       string       `json:"value"` // "dtn_" and 64 hex digits
	CreatedAt   Time         `json:"createdAt"`
	Permissions []Permission `json:"permissions"`
	ExpiresAt   *Time        `json:"expiresAt"` // null: never
}

// APIKey is a key without its secret.
type APIKey struct {
	Name           string       `json:"name"`
	Value          string       `json:"value"` // masked
	CreatedAt      Time         `json:"createdAt"`
	Permissions    []Permission `json:"permissions"` // those in effect
	LastUsedAt     *Time        `json:"lastUsedAt"`
	ExpiresAt      *Time        `json:"expiresAt"`
	UserID         string       `json:"userId,omitempty"`
	OrganizationID string       `json:"organizationId,omitempty"`
}
