package httpapi

import (
	"net/http"
	"strings"

	"daytona/controlplane/auth"
	"daytona/internal/clientip"
	"daytona/internal/fault"
)

// call is one authenticated request on its way through a handler.
type call struct {
	auth.Identity
	client client
}

// headerOrganization may name the organization that a caller means.
const headerOrganization = "X-Daytona-Organization-ID"

// authenticate says who is calling: 401 for bad credentials, then 403 for an
// organization that is not the key's own.
func (a *API) authenticate(r *http.Request) (call, error) {
	token, err := bearer(r.Header)
	if err != nil {
		return call{}, err
	}
	address := clientip.Of(r, a.TrustedProxies)
	if !a.Auth.Knows(token) { // whoever shows a key that works is not held up by what others do
		if err := a.rates.stranger(r, address); err != nil {
			return call{}, err
		}
	}
	id, err := a.Auth.Authenticate(r.Context(), token)
	if fault.Is(err, fault.Unauthenticated) {
		a.rates.failed(address)
	}
	if err != nil {
		return call{}, err
	}
	i := infoOf(r)
	i.orgID, i.userID = id.OrgID, id.User.ID
	if named := r.Header.Get(headerOrganization); named != "" && named != id.OrgID && !sshTokenForm.MatchString(named) {
		return call{}, fault.New(fault.Forbidden, "This API key does not belong to organization %s", printable(named))
	}
	return call{Identity: id, client: clientOf(r.Header)}, nil
}

// bearer reads the token of an Authorization header.
func bearer(h http.Header) (string, error) {
	value := h.Get("Authorization")
	if value == "" {
		return "", fault.New(fault.Unauthenticated, "Missing credentials: send an API key as \"Authorization: Bearer <key>\"")
	}
	scheme, token, _ := strings.Cut(value, " ")
	token = strings.TrimSpace(token)
	if !strings.EqualFold(scheme, "Bearer") || token == "" {
		return "", fault.New(fault.Unauthenticated, "Invalid credentials: send an API key as \"Authorization: Bearer <key>\"")
	}
	return token, nil
}

// errNoRoute is what an unknown path gets.
func errNoRoute(r *http.Request) error {
	return fault.New(fault.NotFound, "Cannot %s %s", printable(r.Method), printable(r.URL.Path))
}
