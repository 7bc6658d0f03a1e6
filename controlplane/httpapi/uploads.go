package httpapi

import (
	"net/http"
	"strings"
	"time"

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

// registryPushAccess gives credentials for the registry to whoever may make
// snapshots or registries: what is pushed becomes one.
func (a *API) registryPushAccess(w http.ResponseWriter, _ *http.Request, c call) error {
	if !c.Can(auth.WriteSnapshots) && !c.Can(auth.WriteRegistries) {
		return fault.New(fault.Forbidden, "This API key lacks the permissions %s and %s, of which one is needed", auth.WriteSnapshots, auth.WriteRegistries)
	}
	if a.Uploads == nil {
		return fault.New(fault.Unavailable, "This server has no registry of its own")
	}
	access, err := a.Uploads.Registry(c.OrgID)
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, http.StatusOK, api.RegistryPushAccess{
		Username: access.Username, Secret: access.Secret, RegistryURL: access.URL, RegistryID: ownRegistryID,
		Project: access.Project, ExpiresAt: access.Expires.Format(time.RFC3339),
	})
	return nil
}

// ownRegistryID stands for the registry of this server, which has no record.
const ownRegistryID = "00000000-0000-0000-0000-000000000000"

// requireAny asks for one of the permissions that begin so.
func (c call) requireAny(start string) error {
	for _, p := range auth.Permissions() {
		if strings.HasPrefix(string(p), start) && c.Can(p) {
			return nil
		}
	}
	return fault.New(fault.Forbidden, "This API key lacks every permission to write")
}

// cleanUpQuery names an image in the registry.
type cleanUpQuery struct {
	ImageName string `query:"imageName" description:"such as registry.example.com/daytona/<organization>/tools:1"`
}

// canCleanUpImage is asked before somebody removes an image from the registry by
// hand; what the server removes by itself it looks up itself.
func (a *API) canCleanUpImage(w http.ResponseWriter, r *http.Request, _ call) error {
	var q cleanUpQuery
	if err := bindQuery(r, &q); err != nil {
		return err
	}
	if q.ImageName == "" {
		return fault.New(fault.Invalid, "imageName is required")
	}
	if a.Uploads == nil {
		return fault.New(fault.Unavailable, "This server has no registry of its own")
	}
	needed, err := a.Uploads.Needed(r.Context(), q.ImageName)
	if err == nil {
		writeJSON(w, http.StatusOK, !needed)
	}
	return err
}

// regionQuery names a region; this server has one registry for all.
type regionQuery struct {
	RegionID string `query:"regionId"`
}
