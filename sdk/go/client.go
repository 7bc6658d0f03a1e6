package daytona

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"time"

	"daytona/api"
)

// Client speaks to one server. It is safe for concurrent use and needs no
// closing.
type Client struct {
	config

	// What a server keeps beside sandboxes.
	Snapshots     *Snapshots
	Volumes       *Volumes
	Registries    *Registries
	APIKeys       *APIKeys
	Organizations *Organizations
}

// New returns a client. It makes no request.
func New(options ...Option) (*Client, error) {
	c := &Client{config: config{
		source: "sdk-go", agent: "sdk-go/" + Version,
		http: http.DefaultClient, wait: time.Minute, retries: 3,
		env: os.LookupEnv, dir: ".",
	}}
	for _, option := range options {
		option(&c.config)
	}
	if err := c.resolve(); err != nil {
		return nil, err
	}
	c.Snapshots = &Snapshots{c}
	c.Volumes = &Volumes{c}
	c.Registries = &Registries{c}
	c.APIKeys = &APIKeys{c}
	c.Organizations = &Organizations{c}
	return c, nil
}

// APIURL returns where the server's API is.
func (c *Client) APIURL() string { return c.apiURL }

// Config returns what the server tells its clients about itself.
func (c *Client) Config(ctx context.Context) (api.Configuration, error) {
	return getAs[api.Configuration](ctx, c, c.path("config"), nil)
}

// Regions returns the regions in which sandboxes can be made.
func (c *Client) Regions(ctx context.Context) ([]api.Region, error) {
	return getAs[[]api.Region](ctx, c, c.path("regions"), nil)
}

// Me returns who the caller is.
func (c *Client) Me(ctx context.Context) (api.User, error) {
	return getAs[api.User](ctx, c, c.path("users", "me"), nil)
}

// path joins names to a URL below the API's. Names may contain any character.
func (c *Client) path(names ...string) string { return join(c.apiURL, names...) }

func join(base string, names ...string) string {
	for _, name := range names {
		base += "/" + url.PathEscape(name)
	}
	return base
}

// get reads JSON. It may be sent several times.
func (c *Client) get(ctx context.Context, target string, query url.Values, out any) error {
	return c.call(ctx, request{method: http.MethodGet, url: target, query: query, out: out, again: true})
}

// post sends JSON, once.
func (c *Client) post(ctx context.Context, target string, in, out any) error {
	return c.call(ctx, request{method: http.MethodPost, url: target, in: in, out: out})
}

// pollEvery is how long a wait for a state pauses at first; it grows to
// pollAtMost.
const (
	pollEvery  = 100 * time.Millisecond
	pollAtMost = time.Second
)

// poll calls look until it says that it is done. The wait is bounded by the
// client's limit.
func (c *Client) poll(ctx context.Context, what string, look func(ctx context.Context) (done bool, err error)) error {
	outer := ctx
	if c.wait > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.wait)
		defer cancel()
	}
	for pause := pollEvery; ; pause = min(pause*5/4, pollAtMost) {
		done, err := look(ctx)
		if err == nil && done {
			return nil
		}
		if err == nil {
			err = sleep(ctx, pause)
		}
		if err != nil {
			if errors.Is(err, context.DeadlineExceeded) && outer.Err() == nil {
				return fmt.Errorf("%w: %s within %v", ErrTimeout, what, c.wait)
			}
			return err
		}
	}
}

// getAs reads JSON of a type.
func getAs[T any](ctx context.Context, c *Client, target string, query url.Values) (T, error) {
	var out T
	err := c.get(ctx, target, query, &out)
	return out, err
}

// postAs sends JSON, once, and reads JSON of a type.
func postAs[T any](ctx context.Context, c *Client, target string, in any) (T, error) {
	var out T
	err := c.post(ctx, target, in, &out)
	return out, err
}
