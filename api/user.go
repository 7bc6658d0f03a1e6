package api

// User is a person or a program that calls the API.
type User struct {
	ID            string          `json:"id"`
	Name          string          `json:"name"`
	Email         string          `json:"email"` // may be empty
	PublicKeys    []UserPublicKey `json:"publicKeys"`
	CreatedAt     Time            `json:"createdAt"`
	EmailVerified bool            `json:"emailVerified"`
}

// UserPublicKey is a public key of a user.
type UserPublicKey struct {
	Key  string `json:"key"`
	Name string `json:"name"`
}
