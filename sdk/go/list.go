package daytona

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/url"
	"strconv"

	"daytona/api"
)

// Filter says which sandboxes to list. Everything may be left out.
type Filter struct {
	Labels map[string]string // all of them, with these values
	States []api.SandboxState
	Limit  int // of one request, 100 when 0
}

// List yields sandboxes, newest first, reading on as needed. After an error it
// ends.
//
//	for item, err := range client.List(ctx, daytona.Filter{}) {
//		if err != nil {
//			return err
//		}
//		fmt.Println(item.Name, item.State)
//	}
func (c *Client) List(ctx context.Context, f Filter) iter.Seq2[api.SandboxListItem, error] {
	return func(yield func(api.SandboxListItem, error) bool) {
		for cursor := ""; ; {
			page, err := c.ListPage(ctx, f, cursor)
			if err != nil {
				yield(api.SandboxListItem{}, err)
				return
			}
			for _, item := range page.Items {
				if !yield(item, nil) {
					return
				}
			}
			if page.NextCursor == nil || *page.NextCursor == "" {
				return
			}
			cursor = *page.NextCursor
		}
	}
}

// ListPage returns one stretch of the list, from a cursor that an earlier one
// gave, or from the start.
func (c *Client) ListPage(ctx context.Context, f Filter, cursor string) (api.ListSandboxesResponse, error) {
	query, err := f.query()
	if err != nil {
		return api.ListSandboxesResponse{}, err
	}
	if cursor != "" {
		query.Set("cursor", cursor)
	}
	return getAs[api.ListSandboxesResponse](ctx, c, c.path("sandbox"), query)
}

// query is a filter as the server reads it.
func (f Filter) query() (url.Values, error) {
	query := url.Values{"limit": {strconv.Itoa(cmp.Or(f.Limit, 100))}}
	if len(f.Labels) > 0 {
		text, err := json.Marshal(f.Labels)
		if err != nil {
			return nil, err
		}
		query.Set("labels", string(text))
	}
	for _, state := range f.States {
		query.Add("states", string(state))
	}
	return query, nil
}

// Find returns the first sandbox that a filter fits, and ErrNotFound when there
// is none.
func (c *Client) Find(ctx context.Context, f Filter) (*Sandbox, error) {
	f.Limit = 1
	for item, err := range c.List(ctx, f) {
		if err != nil {
			return nil, err
		}
		return c.Get(ctx, item.ID)
	}
	return nil, fmt.Errorf("%w: no sandbox has these labels and states", ErrNotFound)
}

// Page returns a page of the list with everything that is known of each
// sandbox; pages count from 1.
func (c *Client) Page(ctx context.Context, f Filter, page int) (api.PaginatedSandboxes, error) {
	query, err := f.query()
	if err != nil {
		return api.PaginatedSandboxes{}, err
	}
	query.Set("page", strconv.Itoa(page))
	return getAs[api.PaginatedSandboxes](ctx, c, c.path("sandbox", "paginated"), query)
}
