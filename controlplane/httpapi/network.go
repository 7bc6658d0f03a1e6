package httpapi

import (
	"net/http"

	"daytona/api"
	"daytona/controlplane/sandbox"
)

func (a *API) setNetwork(w http.ResponseWriter, r *http.Request, c call) error {
	var body api.UpdateSandboxNetworkSettings
	if err := decodeBody(w, r, &body); err != nil {
		return err
	}
	sb, err := a.Sandboxes.SetNetwork(r.Context(), c.OrgID, r.PathValue(pathSandbox), sandbox.NetworkChange{
		BlockAll: body.NetworkBlockAll, AllowList: body.NetworkAllowList, Domains: body.DomainAllowList,
	})
	return a.answer(w, r, c, http.StatusOK, sb, err)
}
