package httpapi

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"daytona/api"
	"daytona/internal/fault"
)

// maxAutoArchive is the longest auto-archive interval, in minutes.
const maxAutoArchive = 43200

func (a *API) config(w http.ResponseWriter, _ *http.Request, c call) error {
	out := api.Configuration{
		Version:                a.Version,
		Announcements:          map[string]api.Announcement{},
		ProxyTemplateURL:       a.Previews.String(),
		ProxyToolboxURL:        a.toolboxURL(),
		DefaultSnapshot:        a.Snapshots.Default(),
		DashboardURL:           a.origin(),
		MaxAutoArchiveInterval: maxAutoArchive,
		Environment:            "production",
	}
	if !c.client.strict {
		a.sshConfig(&out)
		out.RateLimit = a.rates.config()
	}
	writeJSON(w, http.StatusOK, out)
	return nil
}

func (a *API) sharedRegions(w http.ResponseWriter, r *http.Request, _ call) error {
	return a.writeRegions(w, r, "")
}

func (a *API) regions(w http.ResponseWriter, r *http.Request, c call) error {
	return a.writeRegions(w, r, c.OrgID)
}

func (a *API) writeRegions(w http.ResponseWriter, r *http.Request, orgID string) error {
	list, err := a.Regions.List(r.Context(), orgID)
	if err != nil {
		return err
	}
	out := make([]api.Region, len(list))
	for i, region := range list {
		out[i] = a.toRegion(region)
	}
	writeJSON(w, http.StatusOK, out)
	return nil
}

func (a *API) health(w http.ResponseWriter, r *http.Request, _ call) error {
	a.live(w, r)
	return nil
}

// live answers as long as the process can answer at all.
func (a *API) live(w http.ResponseWriter, _ *http.Request) {
	none := map[string]api.HealthDetail{}
	writeJSON(w, http.StatusOK, api.Health{Status: "ok", Info: none, Error: none, Details: none})
}

// checkTimeout bounds each readiness check: a hung dependency is a down one.
const checkTimeout = 5 * time.Second

func (a *API) ready(w http.ResponseWriter, r *http.Request, _ call) error {
	out := api.Health{
		Status: "ok", Info: map[string]api.HealthDetail{}, Error: map[string]api.HealthDetail{}, Details: map[string]api.HealthDetail{},
	}
	for name, err := range a.runChecks(r.Context()) {
		detail := api.HealthDetail{Status: "up"}
		if err != nil {
			detail = api.HealthDetail{Status: "down", Message: publicText(err)}
			out.Status, out.Error[name] = "error", detail
		} else {
			out.Info[name] = detail
		}
		out.Details[name] = detail
	}
	status := http.StatusOK
	if out.Status != "ok" {
		status = http.StatusServiceUnavailable
	}
	writeJSON(w, status, out)
	return nil
}

func (a *API) runChecks(ctx context.Context) map[string]error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	var mu sync.Mutex
	var all sync.WaitGroup
	results := map[string]error{}
	for name, check := range a.Checks {
		all.Go(func() {
			err := check(ctx)
			if err != nil {
				level := slog.LevelDebug // who asked reads the same
				if _, told := asFault(err); !told {
					level = slog.LevelWarn
				}
				a.log.Log(ctx, level, "dependency is not ready", "dependency", name, "error", err)
			}
			mu.Lock()
			defer mu.Unlock()
			results[name] = err
		})
	}
	all.Wait()
	return results
}

// publicText is what everybody may read of an error.
func publicText(err error) string {
	if f, ok := asFault(err); ok && f.Kind != fault.Internal {
		return f.Text
	}
	return "not available"
}
