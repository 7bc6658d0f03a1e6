package api

// StorageAccess is what an S3 client needs to upload files for builds. The keys
// that it reaches begin with OrganizationID and a slash.
type StorageAccess struct {
	AccessKey      string `json:"accessKey"`
	Secret         string `json:"secret"`
	SessionToken   string `json:"sessionToken"`
	StorageURL     string `json:"storageUrl"` // origin; buckets are paths below it
	OrganizationID string `json:"organizationId"`
	Bucket         string `json:"bucket"`
	Region         string `json:"region,omitempty"` // to sign with; the Go client of the first era does not know it
}

// RegistryPushAccess is what a client needs to push images to the registry of
// this server, to RegistryURL/Project/<name>:<tag>.
type RegistryPushAccess struct {
	Username    string `json:"username"`
	Secret      string `json:"secret"`
	RegistryURL string `json:"registryUrl"` // host[:port]
	RegistryID  string `json:"registryId"`
	Project     string `json:"project"`
	ExpiresAt   string `json:"expiresAt"` // RFC 3339
}
