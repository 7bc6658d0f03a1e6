package httpapi

import (
	"net/http"

	"daytona/api"
	"daytona/controlplane/warmpool"
)

func (a *API) createWarmPool(w http.ResponseWriter, r *http.Request, c call) error {
	var body api.CreateWarmPool
	if err := decodeBody(w, r, &body); err != nil {
		return err
	}
	target := ""
	if body.Target != nil {
		target = *body.Target
	}
	v, err := a.WarmPools.Create(r.Context(), c.OrgID, body.Snapshot, target, body.Pool)
	if err == nil {
		writeJSON(w, http.StatusCreated, toWarmPool(v))
	}
	return err
}

func (a *API) listWarmPools(w http.ResponseWriter, r *http.Request, c call) error {
	list, err := a.WarmPools.List(r.Context(), c.OrgID)
	if err != nil {
		return err
	}
	out := make([]api.WarmPool, len(list))
	for i, v := range list {
		out[i] = toWarmPool(v)
	}
	writeJSON(w, http.StatusOK, out)
	return nil
}

func (a *API) updateWarmPool(w http.ResponseWriter, r *http.Request, c call) error {
	var body api.UpdateWarmPool
	if err := decodeBody(w, r, &body); err != nil {
		return err
	}
	v, err := a.WarmPools.Resize(r.Context(), c.OrgID, r.PathValue("id"), body.Pool)
	if err == nil {
		writeJSON(w, http.StatusOK, toWarmPool(v))
	}
	return err
}

func (a *API) deleteWarmPool(w http.ResponseWriter, r *http.Request, c call) error {
	if err := a.WarmPools.Delete(r.Context(), c.OrgID, r.PathValue("id")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func toWarmPool(v warmpool.View) api.WarmPool {
	out := api.WarmPool{
		ID: v.ID, OrganizationID: v.OrgID, Snapshot: v.Snapshot, Target: v.Target, Pool: v.Size, CurrentSize: v.Ready,
		CPU: v.CPU, Mem: v.MemoryGiB, Disk: v.DiskGiB, OSUser: "daytona", Env: map[string]string{},
		CreatedAt: api.At(v.CreatedAt), UpdatedAt: api.At(v.UpdatedAt),
	}
	if v.Reason != "" {
		out.ErrorReason = &v.Reason
	}
	return out
}
