package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"daytona/api"
	daytona "daytona/sdk/go"
)

func (a *App) list(cursors bool) *cobra.Command {
	var format, cursor string
	var page, limit int
	var verbose bool
	var labels, states []string
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List sandboxes",
		Example: `  daytona sandbox list --label team=docs --state started
  daytona sandbox list --format json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			if limit < 1 || page < 1 {
				return usage("--page and --limit count from 1")
			}
			filter, err := listFilter(labels, states)
			if err != nil {
				return err
			}
			filter.Limit = limit
			byCursor := cmd.Flags().Changed("cursor")
			if format != "" && !byCursor && !cursors {
				return a.listJSON(cmd.Context(), client, format, filter, page, cmd.Flags().Changed("page"))
			}
			for n := 1; n < page; n++ { // pages are steps of the cursor
				got, err := client.ListPage(cmd.Context(), filter, cursor)
				if err != nil {
					return err
				}
				if got.NextCursor == nil {
					return usage("there is no page %d", page)
				}
				cursor = *got.NextCursor
			}
			got, err := client.ListPage(cmd.Context(), filter, cursor)
			if err != nil {
				return err
			}
			if format != "" {
				return a.show(format, got)
			}
			a.showSandboxes(got)
			return nil
		},
	}
	formatFlag(cmd, &format)
	cmd.Flags().StringVarP(&cursor, "cursor", "c", "", "Where to read on, as an earlier list has said")
	cmd.Flags().IntVarP(&page, "page", "p", 1, "Page number for pagination (starting from 1)")
	cmd.Flags().IntVarP(&limit, "limit", "l", 100, "Maximum number of items per page")
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "Include verbose output")
	cmd.Flags().StringArrayVar(&labels, "label", nil, "Only sandboxes with this label (format: KEY=VALUE; several all count)")
	cmd.Flags().StringSliceVar(&states, "state", nil, "Only sandboxes in one of these states, such as started,stopped")
	_ = cmd.RegisterFlagCompletionFunc("state", cobra.FixedCompletions(stateNames(), cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("label", noFiles)
	cmd.MarkFlagsMutuallyExclusive("cursor", "page")
	return cmd
}

// listFilter reads the flags that choose among sandboxes.
func listFilter(labels, states []string) (f daytona.Filter, err error) {
	if f.Labels, err = pairs(labels, "label"); err != nil {
		return f, err
	}
	for _, text := range states {
		text = strings.ToLower(strings.NewReplacer(" ", "_", "-", "_").Replace(strings.TrimSpace(text)))
		if !slices.Contains(stateNames(), text) {
			return f, usage("there is no state %q; these are: %s", text, strings.Join(stateNames(), ", "))
		}
		f.States = append(f.States, api.SandboxState(text))
	}
	return f, nil
}

// stateNames are the states in which sandboxes are found.
func stateNames() []string {
	return []string{"creating", "restoring", "started", "starting", "stopped", "stopping", "archived", "archiving",
		"pending_build", "building_snapshot", "pulling_snapshot", "build_failed", "error", "destroying", "destroyed"}
}

// listJSON prints a bare list of sandboxes: all, or one page.
func (a *App) listJSON(ctx context.Context, client *daytona.Client, format string, filter daytona.Filter, page int, one bool) error {
	all := []api.Sandbox{}
	for {
		got, err := client.Page(ctx, filter, page)
		if err != nil {
			return err
		}
		all = append(all, got.Items...)
		if page++; one || page > got.TotalPages {
			return a.show(format, all)
		}
	}
}

// rank orders states for a list.
func rank(state api.SandboxState) int {
	order := []api.SandboxState{api.SandboxCreating, api.SandboxStarted, api.SandboxError, api.SandboxStopped}
	if i := slices.Index(order, state); i >= 0 {
		return i
	}
	return len(order)
}

func (a *App) showSandboxes(got api.ListSandboxesResponse) {
	if len(got.Items) == 0 {
		a.say("No sandboxes found")
		fmt.Fprintln(a.Out, "Create one with: daytona sandbox create")
		return
	}
	slices.SortStableFunc(got.Items, func(x, y api.SandboxListItem) int {
		if d := rank(x.State) - rank(y.State); d != 0 {
			return d
		}
		return y.CreatedAt.Compare(x.CreatedAt.Time)
	})
	var rows [][]string
	for _, item := range got.Items {
		last := item.UpdatedAt.Time
		if item.LastActivityAt != nil {
			last = item.LastActivityAt.Time
		}
		name := item.Name
		if name == item.ID {
			name = "-"
		}
		rows = append(rows, []string{item.ID, name, stateText(string(item.State)), item.Target, ago(a.Now(), last)})
	}
	a.table([]string{"Sandbox", "Name", "State", "Region", "Last Event"}, rows)
	if got.NextCursor != nil && *got.NextCursor != "" {
		fmt.Fprintf(a.Out, "Next cursor: %s\n", *got.NextCursor)
	}
}
