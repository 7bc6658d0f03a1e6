package httpapi

import (
	"net/http"
	"time"

	"daytona/internal/fault"
)

func (a *API) listOrganizations(w http.ResponseWriter, r *http.Request, c call) error {
	list, err := a.Orgs.List(r.Context(), c.User.ID)
	if err != nil {
		return err
	}
	now, out := time.Now(), make([]any, len(list))
	for i, o := range list {
		out[i] = organizationFor(c.client, o, now)
	}
	writeJSON(w, http.StatusOK, out)
	return nil
}

func (a *API) getOrganization(w http.ResponseWriter, r *http.Request, c call) error {
	id := r.PathValue("organizationId")
	o, err := a.Orgs.Get(r.Context(), c.User.ID, id)
	if err != nil {
		return err
	}
	if o.ID != c.OrgID {
		return fault.New(fault.Forbidden, "This API key does not belong to organization %s", id)
	}
	writeJSON(w, http.StatusOK, organizationFor(c.client, o, time.Now()))
	return nil
}

func (a *API) me(w http.ResponseWriter, _ *http.Request, c call) error {
	writeJSON(w, http.StatusOK, toUser(c.User))
	return nil
}
