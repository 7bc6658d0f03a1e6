package httpapi_test

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"daytona/api/runnerapi"
	"daytona/controlplane/controlplanetest"
	"daytona/controlplane/httpapi"
	"daytona/controlplane/storage/storagetest"
	"daytona/internal/ratelimit"
	"daytona/internal/testpg"
)

func TestMain(m *testing.M) { os.Exit(testpg.Main(m)) }

// BenchmarkOf10000 is how many requests a second the API answers where an
// organization has 10,000 sandboxes, with limits on rates that are never
// reached. Clients are in the same process, on the same processors.
func BenchmarkOf10000(b *testing.B) {
	for _, database := range []struct {
		name string
		dsn  func(b *testing.B) string
	}{
		{"SQLite", func(b *testing.B) string { return filepath.Join(b.TempDir(), "daytona.db") }},
		{"PostgreSQL", func(b *testing.B) string { return testpg.DSN(b) }},
	} {
		b.Run(database.name, func(b *testing.B) {
			dsn := database.dsn(b)
			often := ratelimit.Rate{Limit: 1 << 30, Per: time.Minute}
			s := controlplanetest.NewWith(b, controlplanetest.Options{DSN: dsn, Rates: httpapi.RateLimits{Organization: often, Key: often, SandboxList: often}})
			made := s.Do(b, request{Method: "POST", Path: "/api/sandbox", Key: s.Key, Body: object{"autoStopInterval": 0}})
			if made.Status != http.StatusOK {
				b.Fatalf("%d %s", made.Status, made.Body)
			}
			id := made.Object(b)["id"].(string)
			const more = 9_999
			storagetest.Copies(b.Context(), b, dsn, id, more)
			for i := 1; i <= more; i++ { // as the runner would have them
				if _, err := s.Runner.Create(b.Context(), runnerapi.Spec{ID: id + "-" + strconv.Itoa(i)}); err != nil {
					b.Fatal(err)
				}
			}
			for _, c := range []struct{ name, path string }{
				{"get", "/api/sandbox/" + id + "-5000"},
				{"list of 100", "/api/sandbox?limit=100"},
				{"list of 100 by label", "/api/sandbox?limit=100&labels=%7B%22a%22%3A%22b%22%7D"},
				{"usage", "/api/organizations/" + ownOrgOf(b, s) + "/usage"},
			} {
				b.Run(c.name, func(b *testing.B) {
					client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
					defer client.CloseIdleConnections()
					b.SetParallelism(4)
					b.RunParallel(func(pb *testing.PB) {
						for pb.Next() {
							if err := fetch(b.Context(), client, s.URL+c.path, s.Key); err != nil {
								b.Error(err)
								return
							}
						}
					})
					b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
				})
			}
		})
	}
}

func ownOrgOf(t testing.TB, s *controlplanetest.Server) string {
	var list []struct{ ID string }
	s.Do(t, request{Path: "/api/organizations", Key: s.Key}).JSON(t, &list)
	return list[0].ID
}

func fetch(ctx context.Context, client *http.Client, url, key string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+key)
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = http.ErrNotSupported
	}
	if cerr := res.Body.Close(); err == nil {
		err = cerr
	}
	return err
}
