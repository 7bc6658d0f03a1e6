package httpapi

import (
	"fmt"
	"net/http"
	"regexp"
	"time"

	"daytona/api"
	"daytona/internal/fault"
)

// SSHAddress is where people log in to sandboxes by SSH.
type SSHAddress struct {
	Host     string
	Port     int      // 0 is nowhere
	HostKeys []string // "<type> <base64>"
	// Fingerprints are those of HostKeys, as OpenSSH shows them.
	Fingerprints []string
}

// command is what a person types.
func (s SSHAddress) command(user string) string {
	if s.Port == 22 {
		return fmt.Sprintf("ssh %s@%s", user, s.Host)
	}
	return fmt.Sprintf("ssh -p %d %s@%s", s.Port, user, s.Host)
}

type sshAccessQuery struct {
	ExpiresInMinutes *float64 `query:"expiresInMinutes" description:"1 to 43200; default 60"`
}

type sshTokenQuery struct {
	Token string `query:"token"`
}

func (a *API) createSSHAccess(w http.ResponseWriter, r *http.Request, c call) error {
	var q sshAccessQuery
	if err := bindQuery(r, &q); err != nil {
		return err
	}
	if _, err := a.Sandboxes.Get(r.Context(), c.OrgID, r.PathValue(pathSandbox)); err != nil {
		return err
	}
	if a.SSH.Port == 0 {
		return fault.New(fault.Unprocessable, "This server does not offer SSH: its operator has turned it off (--ssh-listen)")
	}
	var life time.Duration
	if q.ExpiresInMinutes != nil {
		minutes := *q.ExpiresInMinutes
		if !(minutes >= 1 && minutes <= 1e6) {
			return fault.New(fault.Invalid, "expiresInMinutes: must be between 1 and 43200")
		}
		life = time.Duration(minutes * float64(time.Minute))
	}
	t, value, err := a.Grants.GrantSSH(r.Context(), c.OrgID, r.PathValue(pathSandbox), life)
	if err != nil {
		return err
	}
	infoOf(r).sandboxID = t.SandboxID
	writeJSON(w, http.StatusOK, api.SSHAccess{
		ID: t.ID, SandboxID: t.SandboxID, Token: value, SSHCommand: a.SSH.command(value),
		ExpiresAt: api.At(t.ExpiresAt), CreatedAt: api.At(t.CreatedAt), UpdatedAt: api.At(t.CreatedAt),
	})
	return nil
}

func (a *API) listSSHAccess(w http.ResponseWriter, r *http.Request, c call) error {
	sb, all, err := a.Grants.ListSSH(r.Context(), c.OrgID, r.PathValue(pathSandbox))
	if err != nil {
		return err
	}
	infoOf(r).sandboxID = sb.ID
	out := []api.SSHAccessInfo{}
	for _, t := range all {
		out = append(out, api.SSHAccessInfo{
			ID: t.ID, SandboxID: t.SandboxID,
			ExpiresAt: api.At(t.ExpiresAt), CreatedAt: api.At(t.CreatedAt), UpdatedAt: api.At(t.CreatedAt),
		})
	}
	writeJSON(w, http.StatusOK, out)
	return nil
}

// sshTokenForm is what tokens look like, and ids of organizations do not. The
// Python SDK puts the token that it wants to revoke in the header that names an
// organization.
var sshTokenForm = regexp.MustCompile(`^[0-9A-Za-z]{32}$`)

func (a *API) revokeSSHAccess(w http.ResponseWriter, r *http.Request, c call) error {
	var q sshTokenQuery
	if err := bindQuery(r, &q); err != nil {
		return err
	}
	if named := r.Header.Get(headerOrganization); q.Token == "" && sshTokenForm.MatchString(named) {
		q.Token = named
	}
	sb, err := a.Grants.RevokeSSH(r.Context(), c.OrgID, r.PathValue(pathSandbox), q.Token)
	return a.answer(w, r, c, http.StatusOK, sb, err)
}

// validateSSHAccess tells members of the sandbox's organization; to others every
// token is as good as unknown.
func (a *API) validateSSHAccess(w http.ResponseWriter, r *http.Request, c call) error {
	var q sshTokenQuery
	if err := bindQuery(r, &q); err != nil {
		return err
	}
	t, err := a.Grants.FindSSH(r.Context(), q.Token)
	if err == nil {
		_, err = a.Sandboxes.Get(r.Context(), c.OrgID, t.SandboxID)
	}
	if err != nil && !fault.Is(err, fault.NotFound) {
		return err
	}
	out := api.SSHAccessValidation{Valid: err == nil}
	if out.Valid {
		out.SandboxID = t.SandboxID
		infoOf(r).sandboxID = t.SandboxID
	}
	writeJSON(w, http.StatusOK, out)
	return nil
}

type signedQuery struct {
	ExpiresInSeconds *float64 `query:"expiresInSeconds" description:"1 to 86400; default 60"`
}

func (a *API) signedPreviewURL(w http.ResponseWriter, r *http.Request, c call) error {
	port, err := pathInt(r, "port")
	if err != nil {
		return err
	}
	var q signedQuery
	if err := bindQuery(r, &q); err != nil {
		return err
	}
	var life time.Duration
	if q.ExpiresInSeconds != nil {
		if s := *q.ExpiresInSeconds; !(s >= 1 && s <= 86400) {
			return fault.New(fault.Invalid, "expiresInSeconds: must be between 1 and 86400")
		}
		life = time.Duration(*q.ExpiresInSeconds * float64(time.Second))
	}
	t, value, err := a.Grants.SignLink(r.Context(), c.OrgID, r.PathValue(pathSandbox), port, life)
	if err != nil {
		return err
	}
	infoOf(r).sandboxID = t.SandboxID
	writeJSON(w, http.StatusOK, api.SignedPortPreviewURL{
		SandboxID: t.SandboxID, Port: t.Port, Token: value, URL: a.Previews.URL(t.Port, value),
	})
	return nil
}

func (a *API) expireSignedPreview(w http.ResponseWriter, r *http.Request, c call) error {
	port, err := pathInt(r, "port")
	if err != nil {
		return err
	}
	if err := a.Grants.ExpireLink(r.Context(), c.OrgID, r.PathValue(pathSandbox), port, r.PathValue("token")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusCreated)
	return nil
}

// errNoPreview is the one answer to whoever may not know more.
func errNoPreview() error { return fault.New(fault.NotFound, "Sandbox not found") }

func (a *API) previewPublic(w http.ResponseWriter, r *http.Request, _ call) error {
	sb, _, err := a.Sandboxes.Target(r.Context(), r.PathValue("sandboxId"))
	return yesOr404(w, err, sb.Public)
}

func (a *API) previewValidate(w http.ResponseWriter, r *http.Request, _ call) error {
	sb, _, err := a.Sandboxes.Target(r.Context(), r.PathValue("sandboxId"))
	return yesOr404(w, err, same(sb.PreviewToken, r.PathValue("authToken")))
}

func (a *API) previewAccess(w http.ResponseWriter, r *http.Request, c call) error {
	_, err := a.Sandboxes.Get(r.Context(), c.OrgID, r.PathValue("sandboxId"))
	return yesOr404(w, err, true)
}

func yesOr404(w http.ResponseWriter, err error, yes bool) error {
	if err != nil && !fault.Is(err, fault.NotFound) {
		return err
	}
	if err != nil || !yes {
		return errNoPreview()
	}
	writeJSON(w, http.StatusOK, true)
	return nil
}

// sshConfig fills in what clients learn of the SSH gateway.
func (a *API) sshConfig(c *api.Configuration) {
	if a.SSH.Port == 0 {
		return
	}
	c.SSHGatewayCommand = a.SSH.command("{{TOKEN}}")
	c.SSHGatewayHost, c.SSHGatewayPort = a.SSH.Host, a.SSH.Port
	c.SSHGatewayHostKeys, c.SSHGatewayHostKeyFingerprints = a.SSH.HostKeys, a.SSH.Fingerprints
}
