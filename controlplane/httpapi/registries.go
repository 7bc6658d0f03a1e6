package httpapi

import (
	"net/http"

	"daytona/api"
	"daytona/controlplane/auth"
	"daytona/controlplane/registry"
)

func (c call) registryBy() registry.By {
	return registry.By{OrgID: c.OrgID, Admin: c.User.Role == auth.RoleAdmin}
}

func (a *API) createRegistry(w http.ResponseWriter, r *http.Request, c call) error {
	var body api.CreateDockerRegistry
	if err := decodeBody(w, r, &body); err != nil {
		return err
	}
	q := registry.Request{Name: body.Name, URL: body.URL, Username: body.Username, Password: &body.Password, Project: body.Project}
	if body.RegistryType != nil {
		q.Type = registry.Type(*body.RegistryType)
	}
	if body.IsDefault != nil {
		q.Default = *body.IsDefault
	}
	g, err := a.Registries.Create(r.Context(), c.registryBy(), q)
	if err == nil {
		writeJSON(w, http.StatusCreated, toRegistry(g))
	}
	return err
}

func (a *API) listRegistries(w http.ResponseWriter, r *http.Request, c call) error {
	list, err := a.Registries.List(r.Context(), c.registryBy())
	if err != nil {
		return err
	}
	out := make([]api.DockerRegistry, len(list))
	for i, g := range list {
		out[i] = toRegistry(g)
	}
	writeJSON(w, http.StatusOK, out)
	return nil
}

func (a *API) getRegistry(w http.ResponseWriter, r *http.Request, c call) error {
	g, err := a.Registries.Get(r.Context(), c.registryBy(), r.PathValue("id"))
	if err == nil {
		writeJSON(w, http.StatusOK, toRegistry(g))
	}
	return err
}

func (a *API) updateRegistry(w http.ResponseWriter, r *http.Request, c call) error {
	var body api.UpdateDockerRegistry
	if err := decodeBody(w, r, &body); err != nil {
		return err
	}
	g, err := a.Registries.Update(r.Context(), c.registryBy(), r.PathValue("id"), registry.Request{
		Name: body.Name, URL: body.URL, Username: body.Username, Password: body.Password, Project: body.Project,
	})
	if err == nil {
		writeJSON(w, http.StatusOK, toRegistry(g))
	}
	return err
}

func (a *API) deleteRegistry(w http.ResponseWriter, r *http.Request, c call) error {
	if err := a.Registries.Delete(r.Context(), c.registryBy(), r.PathValue("id")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (a *API) setDefaultRegistry(w http.ResponseWriter, r *http.Request, c call) error {
	g, err := a.Registries.SetDefault(r.Context(), c.registryBy(), r.PathValue("id"))
	if err == nil {
		writeJSON(w, http.StatusCreated, toRegistry(g))
	}
	return err
}

// toRegistry leaves the password out, in whatever form.
func toRegistry(g registry.Registry) api.DockerRegistry {
	return api.DockerRegistry{
		ID: g.ID, Name: g.Name, URL: g.URL, Username: g.Username, Project: g.Project, RegistryType: api.RegistryType(g.Type),
		CreatedAt: api.At(g.CreatedAt), UpdatedAt: api.At(g.UpdatedAt),
	}
}
