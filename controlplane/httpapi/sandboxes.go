package httpapi

import (
	"context"
	"net/http"
	"strconv"

	"daytona/api"
	"daytona/controlplane/sandbox"
	"daytona/internal/fault"
)

// pathSandbox names the sandbox of a route, by id or name.
const pathSandbox = "sandboxIdOrName"

type idempotencyHeader struct {
	Key string `header:"Idempotency-Key" description:"the same key with the same body gives the same sandbox; with another body 409"`
}

type verboseQuery struct {
	Verbose *bool `query:"verbose" description:"accepted from old clients; no effect"`
}

type forceQuery struct {
	Force *bool `query:"force" description:"give processes no time to end by themselves"`
}

func (a *API) createSandbox(w http.ResponseWriter, r *http.Request, c call) error {
	var body api.CreateSandbox
	if err := decodeBody(w, r, &body); err != nil {
		return err
	}
	sb, err := a.Sandboxes.Create(r.Context(), c.OrgID, c.User.ID, toCreateRequest(body), r.Header.Get("Idempotency-Key"))
	return a.answer(w, r, c, http.StatusOK, sb, err)
}

func (a *API) getSandbox(w http.ResponseWriter, r *http.Request, c call) error {
	sb, err := a.Sandboxes.Get(r.Context(), c.OrgID, r.PathValue(pathSandbox))
	return a.answer(w, r, c, http.StatusOK, sb, err)
}

func (a *API) deleteSandbox(w http.ResponseWriter, r *http.Request, c call) error {
	if err := bindQuery(r, new(forceQuery)); err != nil { // delete is always by force
		return err
	}
	sb, err := a.Sandboxes.Delete(r.Context(), c.OrgID, r.PathValue(pathSandbox))
	return a.answer(w, r, c, http.StatusOK, sb, err)
}

func (a *API) startSandbox(w http.ResponseWriter, r *http.Request, c call) error {
	sb, err := a.Sandboxes.Start(r.Context(), c.OrgID, r.PathValue(pathSandbox))
	return a.answer(w, r, c, http.StatusOK, sb, err)
}

func (a *API) stopSandbox(w http.ResponseWriter, r *http.Request, c call) error {
	var q forceQuery
	if err := bindQuery(r, &q); err != nil {
		return err
	}
	sb, err := a.Sandboxes.Stop(r.Context(), c.OrgID, r.PathValue(pathSandbox), q.Force != nil && *q.Force)
	return a.answer(w, r, c, http.StatusOK, sb, err)
}

func (a *API) archiveSandbox(w http.ResponseWriter, r *http.Request, c call) error {
	sb, err := a.Sandboxes.Archive(r.Context(), c.OrgID, r.PathValue(pathSandbox))
	return a.answer(w, r, c, http.StatusOK, sb, err)
}

func (a *API) backupSandbox(w http.ResponseWriter, r *http.Request, c call) error {
	sb, err := a.Sandboxes.Backup(r.Context(), c.OrgID, r.PathValue(pathSandbox))
	return a.answer(w, r, c, http.StatusCreated, sb, err)
}

type recoverQuery struct {
	SkipStart *bool `query:"skipStart" description:"leave it stopped"`
}

func (a *API) recoverSandbox(w http.ResponseWriter, r *http.Request, c call) error {
	var q recoverQuery
	if err := bindQuery(r, &q); err != nil {
		return err
	}
	sb, err := a.Sandboxes.Recover(r.Context(), c.OrgID, r.PathValue(pathSandbox), q.SkipStart != nil && *q.SkipStart)
	return a.answer(w, r, c, http.StatusOK, sb, err)
}

func (a *API) forkSandbox(w http.ResponseWriter, r *http.Request, c call) error {
	var body api.ForkSandbox
	if err := decodeBody(w, r, &body); err != nil {
		return err
	}
	name := ""
	if body.Name != nil {
		name = *body.Name
	}
	sb, err := a.Sandboxes.Fork(r.Context(), c.OrgID, c.User.ID, r.PathValue(pathSandbox), name)
	return a.answer(w, r, c, http.StatusOK, sb, err)
}

func (a *API) resizeSandbox(w http.ResponseWriter, r *http.Request, c call) error {
	var body api.ResizeSandbox
	if err := decodeBody(w, r, &body); err != nil {
		return err
	}
	sb, err := a.Sandboxes.Resize(r.Context(), c.OrgID, r.PathValue(pathSandbox), sandbox.ResizeRequest{CPU: body.CPU, Memory: body.Memory, Disk: body.Disk})
	return a.answer(w, r, c, http.StatusOK, sb, err)
}

func (a *API) snapshotSandbox(w http.ResponseWriter, r *http.Request, c call) error {
	var body api.CreateSandboxSnapshot
	if err := decodeBody(w, r, &body); err != nil {
		return err
	}
	if body.IncludeMemory != nil && *body.IncludeMemory {
		return fault.New(fault.Unprocessable, "includeMemory: sandboxes of this server are containers, whose memory cannot be kept. Leave it out")
	}
	sb, err := a.Sandboxes.Snapshot(r.Context(), c.OrgID, r.PathValue(pathSandbox), body.Name)
	return a.answer(w, r, c, http.StatusOK, sb, err)
}

func (a *API) parentSandbox(w http.ResponseWriter, r *http.Request, c call) error {
	sb, err := a.Sandboxes.Parent(r.Context(), c.OrgID, r.PathValue(pathSandbox))
	return a.answer(w, r, c, http.StatusOK, sb, err)
}

func (a *API) setLabels(w http.ResponseWriter, r *http.Request, c call) error {
	var body api.SandboxLabels
	if err := decodeBody(w, r, &body); err != nil {
		return err
	}
	sb, err := a.Sandboxes.SetLabels(r.Context(), c.OrgID, r.PathValue(pathSandbox), body.Labels)
	if err != nil {
		return err
	}
	infoOf(r).sandboxID = sb.ID
	writeJSON(w, http.StatusOK, api.SandboxLabels{Labels: notNil(sb.Labels)})
	return nil
}

func (a *API) setPublic(w http.ResponseWriter, r *http.Request, c call) error {
	isPublic, err := strconv.ParseBool(r.PathValue("isPublic"))
	if err != nil {
		return fault.New(fault.Invalid, "isPublic must be true or false")
	}
	sb, err := a.Sandboxes.SetPublic(r.Context(), c.OrgID, r.PathValue(pathSandbox), isPublic)
	return a.answer(w, r, c, http.StatusCreated, sb, err)
}

func (a *API) setAutoStop(w http.ResponseWriter, r *http.Request, c call) error {
	return a.setInterval(w, r, c, a.Sandboxes.SetAutoStop)
}

func (a *API) setAutoArchive(w http.ResponseWriter, r *http.Request, c call) error {
	return a.setInterval(w, r, c, a.Sandboxes.SetAutoArchive)
}

func (a *API) setAutoDelete(w http.ResponseWriter, r *http.Request, c call) error {
	return a.setInterval(w, r, c, a.Sandboxes.SetAutoDelete)
}

func (a *API) setInterval(w http.ResponseWriter, r *http.Request, c call,
	set func(ctx context.Context, orgID, idOrName string, minutes int) (sandbox.Sandbox, error)) error {
	minutes, err := pathInt(r, "interval")
	if err != nil {
		return err
	}
	sb, err := set(r.Context(), c.OrgID, r.PathValue(pathSandbox), minutes)
	return a.answer(w, r, c, http.StatusCreated, sb, err)
}

func (a *API) lastActivity(w http.ResponseWriter, r *http.Request, c call) error {
	var body api.UpdateLastActivity
	if err := decodeBody(w, r, &body); err != nil {
		return err
	}
	sb, err := a.Sandboxes.Get(r.Context(), c.OrgID, r.PathValue(pathSandbox))
	if err != nil {
		return err
	}
	infoOf(r).sandboxID = sb.ID
	a.Sandboxes.Touch(r.Context(), sb.ID)
	w.WriteHeader(http.StatusCreated)
	return nil
}

func (a *API) previewURL(w http.ResponseWriter, r *http.Request, c call) error {
	port, err := pathInt(r, "port")
	if err != nil {
		return err
	}
	p, err := a.Sandboxes.PreviewURL(r.Context(), c.OrgID, r.PathValue(pathSandbox), port)
	if err != nil {
		return err
	}
	infoOf(r).sandboxID = p.SandboxID
	address := a.Previews.URL(p.Port, p.SandboxID)
	if port == toolboxPort {
		// Clients stream logs through a preview of the toolbox. That it has a
		// path of its own spares them a name to be resolved.
		address = a.toolboxURL() + "/" + p.SandboxID
	}
	out := api.PortPreviewURL{
		DocsEraPortPreviewURL: api.DocsEraPortPreviewURL{URL: address, Token: p.Token},
		SandboxID:             p.SandboxID,
	}
	if c.client.strict {
		writeJSON(w, http.StatusOK, out.DocsEraPortPreviewURL)
	} else {
		writeJSON(w, http.StatusOK, out)
	}
	return nil
}

func (a *API) toolboxProxyURL(w http.ResponseWriter, r *http.Request, c call) error {
	sb, err := a.Sandboxes.Get(r.Context(), c.OrgID, r.PathValue(pathSandbox))
	if err != nil {
		return err
	}
	infoOf(r).sandboxID = sb.ID
	writeJSON(w, http.StatusOK, api.ToolboxProxyURL{URL: a.toolboxURL()})
	return nil
}

// answer sends a sandbox, or passes the error on.
func (a *API) answer(w http.ResponseWriter, r *http.Request, c call, status int, sb sandbox.Sandbox, err error) error {
	if err != nil {
		return err
	}
	infoOf(r).sandboxID = sb.ID
	writeJSON(w, status, a.sandboxFor(c.client, sb))
	return nil
}
