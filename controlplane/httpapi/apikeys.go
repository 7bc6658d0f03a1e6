package httpapi

import (
	"net/http"

	"daytona/api"
	"daytona/controlplane/auth"
)

func (a *API) createAPIKey(w http.ResponseWriter, r *http.Request, c call) error {
	var body api.CreateAPIKey
	if err := decodeBody(w, r, &body); err != nil {
		return err
	}
	asked := auth.NewKey{Name: body.Name, Permissions: fromPermissions(body.Permissions)}
	if body.ExpiresAt != nil && !body.ExpiresAt.IsZero() {
		at := body.ExpiresAt.Time
		asked.ExpiresAt = &at
	}
	key, value, err := a.Auth.Create(r.Context(), c.Identity, asked)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusCreated, api.APIKeyResponse{
		Name: key.Name, Value: value, CreatedAt: api.At(key.CreatedAt),
		Permissions: toPermissions(key.Permissions), ExpiresAt: timeOrNull(key.ExpiresAt),
	})
	return nil
}

func (a *API) listAPIKeys(w http.ResponseWriter, r *http.Request, c call) error {
	keys, err := a.Auth.List(r.Context(), c.Identity)
	if err != nil {
		return err
	}
	out := make([]api.APIKey, len(keys))
	for i, k := range keys {
		out[i] = toAPIKey(k)
	}
	writeJSON(w, http.StatusOK, out)
	return nil
}

func (a *API) currentAPIKey(w http.ResponseWriter, _ *http.Request, c call) error {
	key := *c.Key
	key.Permissions = c.Permissions
	writeJSON(w, http.StatusOK, toAPIKey(key))
	return nil
}

func (a *API) getAPIKey(w http.ResponseWriter, r *http.Request, c call) error {
	key, err := a.Auth.Get(r.Context(), c.Identity, r.PathValue("name"))
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, toAPIKey(key))
	return nil
}

func (a *API) deleteAPIKey(w http.ResponseWriter, r *http.Request, c call) error {
	if err := a.Auth.Delete(r.Context(), c.Identity, r.PathValue("name")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (a *API) deleteMemberAPIKey(w http.ResponseWriter, r *http.Request, c call) error {
	if err := a.Auth.DeleteOf(r.Context(), c.Identity, r.PathValue("userId"), r.PathValue("name")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
