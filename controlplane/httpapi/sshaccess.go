package httpapi

// SSHAddress is where people log in to sandboxes by SSH.
type SSHAddress struct {
	Host string
	Port int
}
