package httpapi

import (
	"net/http"

	"daytona/api"
	"daytona/controlplane/auth"
	"daytona/internal/fault"
)

// routes is the whole interface below /api, in one list. The OpenAPI document
// is made of it, and nothing is served that is not here, except requests to
// toolboxes (toolbox.go) and the few pages in dispatch.
func routes() []route {
	const (
		get, post, put, del = http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete
		patch               = http.MethodPatch
		sb                  = "/sandbox/{sandboxIdOrName}"
	)
	write, remove := needs(auth.WriteSandboxes), needs(auth.DelSandboxes)
	return []route{
		// Sandboxes
		{method: post, path: "/sandbox", access: write, handler: (*API).createSandbox, id: "createSandbox", doc: "Create a sandbox", header: idempotencyHeader{}, body: api.CreateSandbox{}, answer: api.Sandbox{}, errors: []int{400, 403, 404, 409, 503}},
		{method: get, path: "/sandbox", access: member, handler: (*API).listSandboxes, id: "listSandboxes", doc: "List sandboxes; clients of the first era, and callers that give no parameter but labels, get a bare array of Sandbox", query: listQuery{}, answer: api.ListSandboxesResponse{}, errors: []int{400}},
		{method: get, path: "/sandbox/paginated", access: member, handler: (*API).listSandboxPages, id: "listSandboxesPaginated", doc: "List sandboxes in pages", query: pageQuery{}, answer: api.PaginatedSandboxes{}, errors: []int{400}},
		{method: get, path: sb, access: member, handler: (*API).getSandbox, id: "getSandbox", doc: "Get a sandbox; a destroyed one for 24 hours", query: verboseQuery{}, answer: api.Sandbox{}, errors: []int{404}},
		{method: del, path: sb, access: remove, handler: (*API).deleteSandbox, id: "deleteSandbox", doc: "Delete a sandbox, from any state, any number of times", query: forceQuery{}, answer: api.Sandbox{}, errors: []int{404}},
		{method: post, path: sb + "/start", access: write, handler: (*API).startSandbox, id: "startSandbox", doc: "Start a sandbox", answer: api.Sandbox{}, errors: []int{400, 403, 404, 409}},
		{method: post, path: sb + "/stop", access: write, handler: (*API).stopSandbox, id: "stopSandbox", doc: "Stop a sandbox; its files stay", query: forceQuery{}, answer: api.Sandbox{}, errors: []int{400, 404, 409}},
		{method: post, path: sb + "/archive", access: write, handler: (*API).archiveSandbox, id: "archiveSandbox", doc: "Move the files of a stopped sandbox to object storage; start brings them back", answer: api.Sandbox{}, errors: []int{400, 404, 503}},
		{method: post, path: sb + "/backup", access: write, handler: (*API).backupSandbox, id: "createBackup", doc: "Copy the files of a sandbox to object storage; only what is new is sent", answer: api.Sandbox{}, status: 201, errors: []int{400, 404, 503}},
		{method: post, path: sb + "/recover", access: write, handler: (*API).recoverSandbox, id: "recoverSandbox", doc: "Bring a sandbox out of state error", query: recoverQuery{}, answer: api.Sandbox{}, errors: []int{400, 403, 404, 409}},
		{method: post, path: sb + "/fork", access: write, handler: (*API).forkSandbox, id: "forkSandbox", doc: "Make a sandbox with the files of a stopped one", body: api.ForkSandbox{}, answer: api.Sandbox{}, errors: []int{400, 403, 404, 409}},
		{method: post, path: sb + "/resize", access: write, handler: (*API).resizeSandbox, id: "resizeSandbox", doc: "Change what a started or stopped sandbox may use; disks grow while it is stopped", body: api.ResizeSandbox{}, answer: api.Sandbox{}, errors: []int{400, 403, 404, 409, 503}},
		{method: post, path: sb + "/snapshot", access: write, handler: (*API).snapshotSandbox, id: "createSandboxSnapshot", doc: "Make a snapshot of the files of a started or stopped sandbox", body: api.CreateSandboxSnapshot{}, answer: api.Sandbox{}, errors: []int{400, 403, 404, 409, 422}},
		{method: get, path: sb + "/parent", access: member, handler: (*API).parentSandbox, id: "getSandboxParent", doc: "The sandbox that one was forked from", answer: api.Sandbox{}, errors: []int{404}},
		{method: put, path: sb + "/labels", access: write, handler: (*API).setLabels, id: "replaceLabels", doc: "Replace all labels", body: api.SandboxLabels{}, answer: api.SandboxLabels{}, errors: []int{400, 404}},
		{method: post, path: sb + "/public/{isPublic}", access: write, handler: (*API).setPublic, id: "updatePublicStatus", doc: "Show or hide previews", answer: api.Sandbox{}, status: 201, errors: []int{400, 404}},
		{method: post, path: sb + "/autostop/{interval}", access: write, handler: (*API).setAutoStop, id: "setAutostopInterval", doc: "Stop after so many idle minutes; 0: never", answer: api.Sandbox{}, status: 201, errors: []int{400, 404}},
		{method: post, path: sb + "/autoarchive/{interval}", access: write, handler: (*API).setAutoArchive, id: "setAutoArchiveInterval", doc: "Archive after so many minutes stopped; 0: the maximum", answer: api.Sandbox{}, status: 201, errors: []int{400, 404}},
		{method: post, path: sb + "/autodelete/{interval}", access: write, handler: (*API).setAutoDelete, id: "setAutoDeleteInterval", doc: "Delete after so many minutes stopped; 0: at once; negative: never", answer: api.Sandbox{}, status: 201, errors: []int{400, 404}},
		{method: post, path: sb + "/network-settings", access: write, handler: (*API).setNetwork, id: "updateNetworkSettings", doc: "Change what a sandbox may reach; in force when it answers", body: api.UpdateSandboxNetworkSettings{}, answer: api.Sandbox{}, errors: []int{400, 404, 409, 503}},
		{method: post, path: sb + "/last-activity", access: member, handler: (*API).lastActivity, id: "updateLastActivity", doc: "Say that a sandbox is in use", body: api.UpdateLastActivity{}, status: 201, errors: []int{400, 404}},
		{method: get, path: sb + "/ports/{port}/preview-url", access: member, handler: (*API).previewURL, id: "getPortPreviewUrl", doc: "Where a port of a sandbox can be reached", answer: api.PortPreviewURL{}, errors: []int{400, 404}},
		{method: get, path: sb + "/ports/{port}/signed-preview-url", access: member, handler: (*API).signedPreviewURL, id: "getSignedPortPreviewUrl", doc: "A link to a port that is good for a while and needs nothing else", query: signedQuery{}, answer: api.SignedPortPreviewURL{}, errors: []int{400, 404}},
		{method: post, path: sb + "/ports/{port}/signed-preview-url/{token}/expire", access: member, handler: (*API).expireSignedPreview, id: "expireSignedPortPreviewUrl", doc: "End such a link before its time", status: 201, errors: []int{400, 404}},
		{method: post, path: sb + "/ssh-access", access: write, handler: (*API).createSSHAccess, id: "createSshAccess", doc: "Let somebody log in by SSH; earlier tokens end", query: sshAccessQuery{}, answer: api.SSHAccess{}, errors: []int{400, 404, 422}},
		{method: get, path: sb + "/ssh-access", access: member, handler: (*API).listSSHAccess, id: "listSshAccess", doc: "Who can log in by SSH at present", answer: []api.SSHAccessInfo{}, errors: []int{404}},
		{method: del, path: sb + "/ssh-access", access: write, handler: (*API).revokeSSHAccess, id: "revokeSshAccess", doc: "End a token for SSH, without one all", query: sshTokenQuery{}, answer: api.Sandbox{}, errors: []int{404}},
		{method: get, path: "/sandbox/ssh-access/validate", access: member, handler: (*API).validateSSHAccess, id: "validateSshAccess", doc: "Whether a token lets one log in by SSH", query: sshTokenQuery{}, answer: api.SSHAccessValidation{}},
		{method: get, path: sb + "/toolbox-proxy-url", access: member, handler: (*API).toolboxProxyURL, id: "getToolboxProxyUrl", doc: "The base of toolbox requests", answer: api.ToolboxProxyURL{}, errors: []int{404}},
		{method: get, path: sb + "/build-logs", access: member, handler: (*API).sandboxLogs, id: "getBuildLogs", doc: "What making a sandbox's image printed, as text", query: logsQuery{}, errors: []int{400, 404}},
		{method: get, path: sb + "/build-logs-url", access: member, handler: (*API).sandboxLogsURL, id: "getBuildLogsUrl", doc: "Where that can be read", answer: api.URL{}, errors: []int{404}},

		// Previews
		{method: get, path: "/preview/{sandboxId}/public", access: public, handler: (*API).previewPublic, id: "isSandboxPublic", doc: "Whether previews of a sandbox need no credentials", answer: true, errors: []int{404}},
		{method: get, path: "/preview/{sandboxId}/validate/{authToken}", access: public, handler: (*API).previewValidate, id: "isValidAuthToken", doc: "Whether a preview token is a sandbox's", answer: true, errors: []int{404}},
		{method: get, path: "/preview/{sandboxId}/access", access: member, handler: (*API).previewAccess, id: "hasSandboxAccess", doc: "Whether the caller may see private previews of a sandbox", answer: true, errors: []int{404}},

		// Snapshots
		{method: get, path: "/snapshots", access: member, handler: (*API).listSnapshots, id: "getAllSnapshots", doc: "List snapshots, one's own and general ones", query: snapshotQuery{}, answer: api.PaginatedSnapshots{}, errors: []int{400}},
		{method: post, path: "/snapshots", access: needs(auth.WriteSnapshots), handler: (*API).createSnapshot, id: "createSnapshot", doc: "Create a snapshot from an image or a Dockerfile", body: api.CreateSnapshot{}, answer: api.Snapshot{}, errors: []int{400, 403, 409}},
		{method: get, path: "/snapshots/can-cleanup-image", access: administrators, handler: (*API).canCleanUpImage, id: "canCleanupImage", doc: "Whether no snapshot and no image on a runner needs an image of the registry; administrators only", query: cleanUpQuery{}, answer: true, errors: []int{400, 403}},
		{method: get, path: "/admin/snapshots/can-cleanup-image", access: administrators, handler: (*API).canCleanUpImage, id: "adminCanCleanupImage", doc: "The same, for newer clients", query: cleanUpQuery{}, answer: true, errors: []int{400, 403}},
		{method: get, path: "/snapshots/{idOrName}", access: member, handler: (*API).getSnapshot, id: "getSnapshot", doc: "Get a snapshot", answer: api.Snapshot{}, errors: []int{404}},
		{method: del, path: "/snapshots/{idOrName}", access: needs(auth.DelSnapshots), handler: (*API).deleteSnapshot, id: "removeSnapshot", doc: "Delete a snapshot; sandboxes made of it stay", errors: []int{403, 404}},
		{method: patch, path: "/snapshots/{idOrName}/general", access: member, handler: (*API).setSnapshotGeneral, id: "setSnapshotGeneralStatus", doc: "Show a snapshot to every organization; administrators only", body: api.SetSnapshotGeneralStatus{}, answer: api.Snapshot{}, errors: []int{400, 403, 404}},
		{method: patch, path: "/admin/snapshots/{idOrName}/general", access: member, handler: (*API).setSnapshotGeneral, id: "adminSetSnapshotGeneralStatus", doc: "The same, for newer clients", body: api.SetSnapshotGeneralStatus{}, answer: api.Snapshot{}, errors: []int{400, 403, 404}},
		{method: post, path: "/snapshots/{idOrName}/activate", access: needs(auth.WriteSnapshots), handler: (*API).activateSnapshot, id: "activateSnapshot", doc: "Make an inactive snapshot usable", answer: api.Snapshot{}, errors: []int{400, 403, 404}},
		{method: post, path: "/snapshots/{idOrName}/deactivate", access: needs(auth.WriteSnapshots), handler: (*API).deactivateSnapshot, id: "deactivateSnapshot", doc: "Bar a snapshot from use", status: 204, errors: []int{400, 403, 404}},
		{method: get, path: "/snapshots/{idOrName}/build-logs", access: member, handler: (*API).snapshotLogs, id: "getSnapshotBuildLogs", doc: "What making a snapshot printed, as text", query: logsQuery{}, errors: []int{400, 404}},
		{method: get, path: "/snapshots/{idOrName}/build-logs-url", access: member, handler: (*API).snapshotLogsURL, id: "getSnapshotBuildLogsUrl", doc: "Where that can be read", answer: api.URL{}, errors: []int{404}},

		// Warm pools
		{method: post, path: "/warm-pools", access: write, handler: (*API).createWarmPool, id: "createWarmPool", doc: "Keep booted sandboxes of a snapshot ready for the organization", body: api.CreateWarmPool{}, answer: api.WarmPool{}, status: 201, errors: []int{400, 403, 404, 409}},
		{method: get, path: "/warm-pools", access: member, handler: (*API).listWarmPools, id: "listWarmPools", doc: "List the organization's warm pools", answer: []api.WarmPool{}},
		{method: patch, path: "/warm-pools/{id}", access: write, handler: (*API).updateWarmPool, id: "updateWarmPool", doc: "Change how many sandboxes shall wait; 0 drains the pool", body: api.UpdateWarmPool{}, answer: api.WarmPool{}, errors: []int{400, 403, 404}},
		{method: del, path: "/warm-pools/{id}", access: write, handler: (*API).deleteWarmPool, id: "deleteWarmPool", doc: "Delete a warm pool and what waits in it", status: 204, errors: []int{404}},

		// Uploads
		{method: get, path: "/object-storage/push-access", access: member, handler: (*API).storageAccess, id: "getPushAccess", doc: "Credentials for an hour, with which an S3 client puts and gets files for builds, those of the organization alone", answer: api.StorageAccess{}, errors: []int{400, 403, 503}},
		{method: get, path: "/docker-registry/registry-push-access", access: member, handler: (*API).registryPushAccess, id: "getTransientPushAccess", doc: "Credentials for an hour, with which images are pushed to the registry of this server, into the organization's part", query: regionQuery{}, answer: api.RegistryPushAccess{}, errors: []int{403, 503}},

		// Registries
		{method: post, path: "/docker-registry", access: needs(auth.WriteRegistries), handler: (*API).createRegistry, id: "createRegistry", doc: "Add a registry with credentials", body: api.CreateDockerRegistry{}, answer: api.DockerRegistry{}, status: 201, errors: []int{400, 403}},
		{method: get, path: "/docker-registry", access: member, handler: (*API).listRegistries, id: "listRegistries", doc: "List the organization's registries", answer: []api.DockerRegistry{}},
		{method: get, path: "/docker-registry/{id}", access: member, handler: (*API).getRegistry, id: "getRegistry", doc: "Get a registry", answer: api.DockerRegistry{}, errors: []int{404}},
		{method: patch, path: "/docker-registry/{id}", access: needs(auth.WriteRegistries), handler: (*API).updateRegistry, id: "updateRegistry", doc: "Change a registry", body: api.UpdateDockerRegistry{}, answer: api.DockerRegistry{}, errors: []int{400, 404}},
		{method: del, path: "/docker-registry/{id}", access: needs(auth.DelRegistries), handler: (*API).deleteRegistry, id: "deleteRegistry", doc: "Delete a registry; images pulled from it stay", status: 204, errors: []int{404}},
		{method: post, path: "/docker-registry/{id}/set-default", access: member, handler: (*API).setDefaultRegistry, id: "setDefaultRegistry", doc: "Make a registry the default of its type; administrators only", answer: api.DockerRegistry{}, status: 201, errors: []int{403, 404}},
		{method: post, path: "/admin/docker-registry/{id}/set-default", access: member, handler: (*API).setDefaultRegistry, id: "adminSetDefaultRegistry", doc: "The same, for newer clients", answer: api.DockerRegistry{}, status: 201, errors: []int{403, 404}},

		// API keys
		{method: post, path: "/api-keys", access: member, handler: (*API).createAPIKey, id: "createApiKey", doc: "Create an API key; its secret is shown only here", body: api.CreateAPIKey{}, answer: api.APIKeyResponse{}, status: 201, errors: []int{400, 403, 409}},
		{method: get, path: "/api-keys", access: member, handler: (*API).listAPIKeys, id: "listApiKeys", doc: "List one's own API keys", answer: []api.APIKey{}},
		{method: get, path: "/api-keys/current", access: member, handler: (*API).currentAPIKey, id: "getCurrentApiKey", doc: "The API key of this request", answer: api.APIKey{}},
		{method: get, path: "/api-keys/{name}", access: member, handler: (*API).getAPIKey, id: "getApiKey", doc: "Get an API key", answer: api.APIKey{}, errors: []int{404}},
		{method: del, path: "/api-keys/{name}", access: member, handler: (*API).deleteAPIKey, id: "deleteApiKey", doc: "Revoke an API key", status: 204, errors: []int{404}},
		{method: del, path: "/api-keys/{userId}/{name}", access: member, handler: (*API).deleteMemberAPIKey, id: "deleteApiKeyForUser", doc: "Revoke a member's API key; owners only", status: 204, errors: []int{403, 404}},

		// Organizations and users
		{method: get, path: "/organizations", access: member, handler: (*API).listOrganizations, id: "listOrganizations", doc: "List the caller's organizations", answer: []api.Organization{}},
		{method: get, path: "/organizations/{organizationId}", access: member, handler: (*API).getOrganization, id: "getOrganization", doc: "Get an organization", answer: api.Organization{}, errors: []int{403, 404}},
		{method: get, path: "/admin/organizations", access: administrators, handler: (*API).allOrganizations, id: "adminListOrganizations", doc: "List every organization; administrators only", answer: []api.Organization{}, errors: []int{403}},
		{method: get, path: sb + "/organization", access: member, handler: (*API).sandboxOrganization, id: "getOrganizationOfSandbox", doc: "The organization of a sandbox; administrators may ask for any sandbox", answer: api.Organization{}, errors: []int{404}},
		{method: get, path: sb + "/region-quota", access: member, handler: (*API).sandboxRegionQuota, id: "getRegionQuotaOfSandbox", doc: "What its organization may use in the region of a sandbox", answer: api.RegionQuota{}, errors: []int{404}},
		{method: get, path: "/organizations/{organizationId}/usage", access: member, handler: (*API).organizationUsage, id: "getOrganizationUsageOverview", doc: "What an organization uses of what it may", answer: api.OrganizationUsageOverview{}, errors: []int{403, 404}},
		{method: patch, path: "/organizations/{organizationId}/quota", access: administrators, handler: (*API).setQuota, id: "updateOrganizationQuota", doc: "Change what an organization may use, and how often it may call; administrators only", body: api.UpdateOrganizationQuota{}, answer: api.Organization{}, errors: []int{400, 403, 404}},
		{method: patch, path: "/organizations/{organizationId}/quota/{regionId}", access: administrators, handler: (*API).setRegionQuota, id: "updateOrganizationRegionQuota", doc: "Change what an organization may use in one region; administrators only", body: api.UpdateOrganizationRegionQuota{}, status: 204, errors: []int{400, 403, 404}},
		{method: patch, path: "/admin/organizations/{organizationId}/quota/{regionId}", access: administrators, handler: (*API).setRegionQuota, id: "adminUpdateOrganizationRegionQuota", doc: "The same, for newer clients", body: api.UpdateOrganizationRegionQuota{}, status: 204, errors: []int{400, 403, 404}},
		{method: patch, path: "/admin/organizations/{organizationId}/quota/{regionId}/{sandboxClass}", access: administrators, handler: (*API).setRegionQuota, id: "adminUpdateOrganizationClassQuota", doc: "The same by class of sandboxes, of which there is one: container", body: api.UpdateOrganizationRegionQuota{}, status: 204, errors: []int{400, 403, 404}},
		{method: post, path: "/organizations/{organizationId}/suspend", access: administrators, handler: (*API).suspendOrganization, id: "suspendOrganization", doc: "Bar an organization from using more; what runs is stopped after a while; administrators only", body: api.OrganizationSuspension{}, status: 201, errors: []int{400, 403, 404}},
		{method: post, path: "/organizations/{organizationId}/unsuspend", access: administrators, handler: (*API).unsuspendOrganization, id: "unsuspendOrganization", doc: "Lift that; administrators only", status: 201, errors: []int{403, 404}},
		{method: get, path: "/users/me", access: member, handler: (*API).me, id: "getAuthenticatedUser", doc: "The caller's user record", answer: api.User{}},

		// The server
		{method: get, path: "/config", access: public, handler: (*API).config, id: "configControllerGetConfig", doc: "What clients need to know of the server", answer: api.Configuration{}},
		{method: get, path: "/shared-regions", access: public, handler: (*API).sharedRegions, id: "listSharedRegions", doc: "List the regions that everybody can use", answer: []api.Region{}},
		{method: get, path: "/regions", access: member, handler: (*API).regions, id: "listAvailableRegions", doc: "List the regions that the organization can use", answer: []api.Region{}},
		{method: get, path: "/health", access: public, handler: (*API).health, id: "live", doc: "Whether the server runs", answer: api.Health{}},
		{method: get, path: "/health/ready", access: public, handler: (*API).ready, id: "check", doc: "Whether everything that the server depends on works", answer: api.Health{}, errors: []int{503}},
	}
}

// route is one line of the interface.
type route struct {
	method, path string
	access       access
	handler      func(*API, http.ResponseWriter, *http.Request, call) error

	// For the OpenAPI document. answer is what the newest clients read; nil is
	// an empty body. Every route may also answer 401 unless it is public.
	id, doc             string
	query, header, body any
	answer              any
	status              int // 0 is 200
	errors              []int
}

// ok is the status of success.
func (rt route) ok() int {
	if rt.status == 0 {
		return http.StatusOK
	}
	return rt.status
}

// access says who may call a route.
type access struct {
	open       bool
	permission auth.Permission // "" is any member of the organization
	admin      bool            // only those who administer the installation
}

var (
	public = access{open: true}
	member = access{}
	// administrators: the user alone does not decide. A key that the
	// administrator made for a program, with fewer rights, must not raise that
	// program's own limits.
	administrators = access{admin: true, permission: auth.WriteRunners}
)

func needs(p auth.Permission) access { return access{permission: p} }

// serve puts checks and error answers around a route's handler: first who is
// calling (401), then in which organization and with which rights (403), then
// the handler, which says whether the thing exists (404).
func (a *API) serve(rt route) http.Handler {
	template := basePath + rt.path
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		infoOf(r).route = template
		c := call{client: clientOf(r.Header)}
		var err error
		if !rt.access.open {
			c, err = a.authenticate(r)
			if err == nil {
				err = a.rates.check(w.Header(), r, rt, c)
			}
			if err == nil && rt.access.admin && !c.Admin() {
				err = fault.New(fault.Forbidden, "Only administrators of the server can do this")
			}
			if err == nil && rt.access.permission != "" {
				err = c.Require(rt.access.permission)
			}
		}
		if err == nil {
			err = pathText(r)
		}
		if err == nil {
			err = rt.handler(a, w, r, c)
		}
		if err != nil {
			a.fail(w, r, err)
		}
	})
}

// pathText refuses text that no store can carry.
func pathText(r *http.Request) error {
	for _, c := range r.URL.Path {
		if c == 0 || c == '\uFFFD' {
			return fault.New(fault.Invalid, "the path contains a character that no name can contain")
		}
	}
	return nil
}
