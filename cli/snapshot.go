package cli

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"daytona/api"
	daytona "daytona/sdk/go"
)

func (a *App) snapshot() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "snapshot",
		Aliases: []string{"snapshots"},
		Short:   "Manage Daytona snapshots",
		Long:    "Manage Daytona snapshots: templates from which sandboxes are made",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.snapshotCreate(), a.snapshotList(), a.snapshotDelete(), a.snapshotPush())
	return cmd
}

// resources are the flags that say what sandboxes of a snapshot get.
func resourceFlags(cmd *cobra.Command, r *daytona.Resources) {
	cmd.Flags().IntVar(&r.CPU, "cpu", 0, "CPU cores that will be allocated to the underlying sandboxes (default: 1)")
	cmd.Flags().IntVar(&r.Memory, "memory", 0, "Memory that will be allocated to the underlying sandboxes in GB (default: 1)")
	cmd.Flags().IntVar(&r.Disk, "disk", 0, "Disk space that will be allocated to the underlying sandboxes in GB (default: 3)")
}

func (a *App) snapshotCreate() *cobra.Command {
	var p daytona.SnapshotParams
	var dockerfile, entrypoint string
	var context []string
	cmd := &cobra.Command{
		Use:     "create [SNAPSHOT]",
		Aliases: []string{"add", "new"},
		Short:   "Create a snapshot",
		Long:    "Create a snapshot, of an image in a registry or of a Dockerfile, and wait until sandboxes can be made of it.",
		Example: `  daytona snapshot create tools --image debian:12.11
  daytona snapshot create mine --dockerfile Dockerfile --context src`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			p.Name = args[0]
			switch {
			case dockerfile != "":
				p.Image = dockerImage(dockerfile, context)
			case p.ImageName == "":
				return usage("must specify either --dockerfile or --image")
			default:
				if err := checkImageName(p.ImageName); err != nil {
					return err
				}
			}
			p.Entrypoint = strings.Fields(entrypoint)
			client, err := a.client()
			if err != nil {
				return err
			}
			done := a.spin("Creating snapshot")
			defer done()
			p.OnLog = func(text string) { done(); _, _ = io.WriteString(a.Out, text) }
			snap, err := client.Snapshots.Create(ctx, p)
			done()
			if err != nil {
				return processing(err)
			}
			a.say("Snapshot %s successfully created\n Use '%s' to create a new sandbox using this snapshot: daytona sandbox create --snapshot %s", snap.Name, snap.Name, snap.Name)
			return nil
		},
	}
	cmd.Flags().StringVarP(&p.ImageName, "image", "i", "", "The image name for the snapshot")
	cmd.Flags().StringVarP(&dockerfile, "dockerfile", "f", "", "Path to Dockerfile to build")
	cmd.Flags().StringArrayVarP(&context, "context", "c", nil, "Files or directories to include in the build context (can be specified multiple times)")
	cmd.Flags().StringVarP(&entrypoint, "entrypoint", "e", "", "The entrypoint command for the snapshot")
	cmd.Flags().StringVar(&p.Region, "region", "", "Region in which the snapshot is kept")
	resourceFlags(cmd, &p.Resources)
	cmd.MarkFlagsMutuallyExclusive("image", "dockerfile")
	cmd.MarkFlagsMutuallyExclusive("image", "context")
	cmd.MarkFlagsMutuallyExclusive("entrypoint", "dockerfile")
	cmd.MarkFlagsMutuallyExclusive("entrypoint", "context")
	return cmd
}

// processing names what went wrong with a snapshot as this command line always
// has.
func processing(err error) error {
	var state *daytona.StateError
	if errors.As(err, &state) {
		return fmt.Errorf("snapshot processing failed: %s", cmp(state.Reason, state.State))
	}
	return err
}

func cmp(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// checkImageName wants a tag that says which image it is.
func checkImageName(name string) error {
	if strings.Contains(name, "@sha256:") {
		return nil
	}
	last := name[strings.LastIndex(name, "/")+1:]
	_, tag, ok := strings.Cut(last, ":")
	switch {
	case !ok || tag == "" || strings.Contains(tag, ":"):
		return usage("invalid image format: %s must have a tag, such as %s:1.0", name, strings.SplitN(name, ":", 2)[0])
	case tag == "latest":
		return usage("tag 'latest' not allowed: it means another image tomorrow. Name a version in %s", name)
	}
	return nil
}

func (a *App) snapshotList() *cobra.Command {
	var format string
	var page, limit int
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List all snapshots",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			got, err := client.Snapshots.Page(cmd.Context(), page, limit)
			if err != nil {
				return err
			}
			if format != "" {
				return a.show(format, got.Items)
			}
			if len(got.Items) == 0 {
				a.say("No snapshots found")
				fmt.Fprintln(a.Out, "Make one of a local image with: daytona snapshot push")
				return nil
			}
			order := []api.SnapshotState{api.SnapshotPending, api.SnapshotPulling, api.SnapshotError, api.SnapshotActive, api.SnapshotRemoving}
			place := func(s api.SnapshotState) int {
				if i := slices.Index(order, s); i >= 0 {
					return i
				}
				return len(order)
			}
			slices.SortStableFunc(got.Items, func(x, y api.Snapshot) int {
				if d := place(x.State) - place(y.State); d != 0 {
					return d
				}
				return y.CreatedAt.Compare(x.CreatedAt.Time)
			})
			var rows [][]string
			for _, s := range got.Items {
				rows = append(rows, []string{s.Name, stateText(string(s.State)), sizeText(s.Size), ago(a.Now(), s.CreatedAt.Time)})
			}
			a.table([]string{"Snapshot", "State", "Size", "Created"}, rows)
			return nil
		},
	}
	formatFlag(cmd, &format)
	cmd.Flags().IntVarP(&page, "page", "p", 1, "Page number for pagination (starting from 1)")
	cmd.Flags().IntVarP(&limit, "limit", "l", 100, "Maximum number of items per page")
	return cmd
}

// sizeText is a size in GB for people.
func sizeText(gb *float64) string {
	switch {
	case gb == nil:
		return "-"
	case *gb < 0.01:
		return "< 0.01 GB"
	}
	return fmt.Sprintf("%.2f GB", *gb)
}

func (a *App) snapshotDelete() *cobra.Command {
	var all, yes bool
	cmd := &cobra.Command{
		Use:     "delete [SNAPSHOT_ID]",
		Aliases: []string{"remove", "rm"},
		Short:   "Delete a snapshot",
		Long:    "Delete a snapshot by its id or name. With --all a person is asked first; general snapshots, which belong to the server, stay.",
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			if !all && helpWithout(cmd, args) {
				return nil
			}
			client, err := a.client()
			if err != nil {
				return err
			}
			if !all {
				for _, name := range args {
					snap, err := client.Snapshots.Get(ctx, name)
					if err == nil {
						err = client.Snapshots.Delete(ctx, snap.ID)
					}
					if err != nil {
						return notFound("snapshot", name, err)
					}
					a.say("Snapshot %s deleted", name)
				}
				return nil
			}
			if len(args) > 0 {
				return usage("give names, or --all, not both")
			}
			var own []api.Snapshot
			for snap, err := range client.Snapshots.List(ctx) {
				if err != nil {
					return err
				}
				if !snap.General {
					own = append(own, snap)
				}
			}
			if len(own) == 0 {
				a.say("No snapshots to delete")
				return nil
			}
			if err := a.confirm(ctx, yes, fmt.Sprintf("Delete all %d snapshots?", len(own))); err != nil {
				return err
			}
			deleted := 0
			for _, snap := range own {
				if err := client.Snapshots.Delete(ctx, snap.ID); err != nil && !errors.Is(err, daytona.ErrNotFound) {
					fmt.Fprintf(a.Err, "Failed to delete snapshot %s: %v\n", snap.Name, err)
					continue
				}
				deleted++
			}
			a.say("Deleted %d snapshots", deleted)
			if deleted < len(own) {
				return &ExitError{1}
			}
			return nil
		},
	}
	cmd.Flags().BoolVarP(&all, "all", "a", false, "Delete all snapshots")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "Do not ask whether all are meant")
	cmd.ValidArgsFunction = a.completeSnapshots
	return cmd
}
