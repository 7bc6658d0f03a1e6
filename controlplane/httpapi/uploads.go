package httpapi

import (
	"net/http"
	"strings"

	"daytona/api"
	"daytona/controlplane/auth"
	"daytona/internal/fault"
)

// storageAccess gives credentials for object storage to whoever may change
// anything: files are uploaded for sandboxes and for snapshots alike.
func (a *API) storageAccess(w http.ResponseWriter, r *http.Request, c call) error {
	if err := c.requireAny("write:"); err != nil {
		return err
	}
	if a.Uploads == nil {
		return fault.New(fault.Unavailable, "This server has no object storage")
	}
	access, err := a.Uploads.Storage(c.OrgID, c.client.noPlainHTTP)
	if err != nil {
		return err
	}
	out := api.StorageAccess{
		AccessKey: access.AccessKey, Secret: access.Secret, SessionToken: access.SessionToken, StorageURL: access.URL,
		OrganizationID: c.OrgID, Bucket: access.Bucket, Region: access.Region,
	}
	if c.client.strict {
		out.Region = ""
	}
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, http.StatusOK, out)
	return nil
}

// requireAny asks for one of the permissions that begin so.
func (c call) requireAny(start string) error {
	for _, p := range auth.Permissions() {
		if strings.HasPrefix(string(p), start) && c.Can(p) {
			return nil
		}
	}
	return fault.New(fault.Forbidden, "This API key lacks every permission to write")
}
