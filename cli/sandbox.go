package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"daytona/api"
	daytona "daytona/sdk/go"
)

func (a *App) sandbox() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "sandbox",
		Aliases: []string{"sandboxes"},
		Short:   "Manage Daytona sandboxes",
		Long:    "Manage Daytona sandboxes. Each of these commands also works without the word sandbox: `daytona create`.",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.create(), a.list(false), a.info(), a.start(), a.stop(), a.delete(), a.archive(),
		a.execCommand(), a.copyCommand(), a.ssh(), a.previewURL(), a.logs())
	return cmd
}

// notFound names the sandbox that was asked for.
func notFound(kind, name string, err error) error {
	if errors.Is(err, daytona.ErrNotFound) {
		return fmt.Errorf("%s %s not found", kind, name)
	}
	return err
}

// get returns a sandbox by its id or name.
func (a *App) get(ctx context.Context, name string) (*daytona.Sandbox, error) {
	client, err := a.client()
	if err != nil {
		return nil, err
	}
	sb, err := client.Get(ctx, name)
	if err != nil {
		return nil, notFound("sandbox", name, err)
	}
	return sb, nil
}

// getStarted is get for commands that need it to run.
func (a *App) getStarted(ctx context.Context, name string) (*daytona.Sandbox, error) {
	sb, err := a.get(ctx, name)
	if err != nil {
		return nil, err
	}
	switch state := sb.State(); state {
	case api.SandboxStarted:
		return sb, nil
	case api.SandboxCreating, api.SandboxStarting, api.SandboxRestoring, api.SandboxPullingSnapshot, api.SandboxResuming:
		return sb, sb.AwaitStarted(ctx)
	case api.SandboxStopped, api.SandboxArchived, api.SandboxPaused:
		return nil, fmt.Errorf("sandbox is %s. Start it with: daytona sandbox start %s", state, name)
	default:
		return nil, fmt.Errorf("sandbox is %s, not started", state)
	}
}

type createFlags struct {
	snapshot, name, user, class, target, dockerfile, allow, isolation string
	env, labels, volumes, context                                     []string
	public, block, quiet                                              bool
	cpu, gpu, memory, disk                                            int
	stop, archive, delete                                             int
}

func (a *App) create() *cobra.Command {
	var f createFlags
	cmd := &cobra.Command{
		Use:     "create",
		Aliases: []string{"add", "new"},
		Short:   "Create a new sandbox",
		Long: `Create a new sandbox, of a snapshot or of a Dockerfile, and wait until it has
started. The log of a build is shown while it goes on.`,
		Example: `  daytona sandbox create --name box --env GREETING=hello --auto-stop 60
  daytona sandbox create --dockerfile Dockerfile --cpu 2 --memory 4
  id=$(daytona sandbox create --quiet)`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.runCreate(cmd, f) },
	}
	fl := cmd.Flags()
	fl.StringVar(&f.snapshot, "snapshot", "", "Snapshot to use for the sandbox")
	fl.StringVar(&f.name, "name", "", "Name of the sandbox")
	fl.StringVar(&f.user, "user", "", "User associated with the sandbox")
	fl.StringArrayVarP(&f.env, "env", "e", nil, "Environment variables (format: KEY=VALUE)")
	fl.StringArrayVarP(&f.labels, "label", "l", nil, "Labels (format: KEY=VALUE)")
	fl.BoolVar(&f.public, "public", false, "Make sandbox publicly accessible")
	fl.StringVar(&f.class, "class", "", "Sandbox class type (small, medium, large)")
	fl.StringVar(&f.target, "target", "", "Target region (eu, us)")
	fl.IntVar(&f.cpu, "cpu", 0, "CPU cores allocated to the sandbox")
	fl.IntVar(&f.gpu, "gpu", 0, "GPU units allocated to the sandbox")
	fl.IntVar(&f.memory, "memory", 0, "Memory allocated to the sandbox in GB")
	fl.IntVar(&f.disk, "disk", 0, "Disk space allocated to the sandbox in GB")
	fl.IntVar(&f.stop, "auto-stop", 15, "Auto-stop interval in minutes (0 means disabled)")
	fl.IntVar(&f.archive, "auto-archive", 10080, "Auto-archive interval in minutes (0 means the maximum interval will be used)")
	fl.IntVar(&f.delete, "auto-delete", -1, "Auto-delete interval in minutes (negative value means disabled, 0 means delete immediately upon stopping)")
	fl.StringArrayVarP(&f.volumes, "volume", "v", nil, "Volumes to mount (format: VOLUME_NAME:MOUNT_PATH)")
	fl.StringVarP(&f.dockerfile, "dockerfile", "f", "", "Path to Dockerfile for Sandbox snapshot")
	fl.StringArrayVarP(&f.context, "context", "c", nil, "Files or directories to include in the build context (can be specified multiple times)")
	fl.BoolVar(&f.block, "network-block-all", false, "Block all network access of the sandbox")
	fl.StringVar(&f.allow, "network-allow-list", "", "IPv4 ranges that the sandbox may reach, separated by commas")
	fl.StringVar(&f.isolation, "isolation", "", "What guards the sandbox (gvisor, runc), of what the server offers")
	fl.BoolVarP(&f.quiet, "quiet", "q", false, "Print the sandbox's id alone")
	cmd.MarkFlagsMutuallyExclusive("snapshot", "dockerfile")
	cmd.MarkFlagsMutuallyExclusive("snapshot", "context")
	_ = cmd.RegisterFlagCompletionFunc("snapshot", a.completeSnapshots)
	_ = cmd.RegisterFlagCompletionFunc("class", cobra.FixedCompletions([]string{"small", "medium", "large"}, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("isolation", cobra.FixedCompletions([]string{"gvisor", "runc"}, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("volume", noFiles)
	return cmd
}

// pairs reads KEY=VALUE.
func pairs(list []string, what string) (map[string]string, error) {
	all := map[string]string{}
	for _, item := range list {
		key, value, ok := strings.Cut(item, "=")
		if !ok || key == "" {
			return nil, usage("invalid %s %q: write KEY=VALUE", what, item)
		}
		all[key] = value
	}
	return all, nil
}

func (f createFlags) params() (p daytona.CreateParams, err error) {
	p = daytona.CreateParams{
		Name: f.name, Snapshot: f.snapshot, User: f.user, Public: f.public, Class: f.class, Target: f.target, Isolation: f.isolation,
		Resources:       daytona.Resources{CPU: f.cpu, GPU: f.gpu, Memory: f.memory, Disk: f.disk},
		AutoDelete:      &f.delete,
		NetworkBlockAll: f.block, NetworkAllowList: f.allow,
	}
	if f.stop >= 0 {
		p.AutoStop = &f.stop
	}
	if f.archive >= 0 {
		p.AutoArchive = &f.archive
	}
	var envErr, labelErr error
	p.Env, envErr = pairs(f.env, "environment variable")
	p.Labels, labelErr = pairs(f.labels, "label")
	err = errors.Join(envErr, labelErr)
	for _, v := range f.volumes {
		id, path, ok := strings.Cut(v, ":")
		if !ok || id == "" || path == "" {
			err = errors.Join(err, usage("invalid volume %q: write VOLUME:MOUNT_PATH", v))
		}
		p.Volumes = append(p.Volumes, api.SandboxVolume{VolumeID: id, MountPath: path})
	}
	if f.dockerfile != "" {
		p.Image = dockerImage(f.dockerfile, f.context)
	} else if len(f.context) > 0 {
		err = errors.Join(err, usage("--context is what a --dockerfile copies: give that too"))
	}
	return p, err
}

// dockerImage is a Dockerfile with what it copies: the files that were named,
// or else those that its own lines name.
func dockerImage(dockerfile string, files []string) *daytona.Image {
	if len(files) == 0 {
		return daytona.ImageFromDockerfile(dockerfile, "")
	}
	return daytona.ImageFromFiles(dockerfile, filepath.Dir(dockerfile), files...)
}

func (a *App) runCreate(cmd *cobra.Command, f createFlags) error {
	ctx := cmd.Context()
	p, err := f.params()
	if err != nil {
		return err
	}
	client, err := a.client()
	if err != nil {
		return err
	}
	done := a.spin("Creating sandbox")
	defer done()
	p.OnLog = func(text string) {
		done()
		w := a.Out
		if f.quiet {
			w = a.Err
		}
		_, _ = io.WriteString(w, text)
	}
	sb, err := client.Create(ctx, p)
	done()
	if err != nil {
		if sb != nil && errors.Is(err, context.Canceled) {
			fmt.Fprintf(a.Err, "the sandbox %s goes on being created; `daytona sandbox delete %s` removes it\n", sb.Name(), sb.Name())
		}
		return err
	}
	if f.quiet {
		_, err = fmt.Fprintln(a.Out, sb.ID)
		return err
	}
	name := sb.Name()
	lines := []string{
		fmt.Sprintf("Sandbox '%s' created successfully", name),
		"Run a command:           daytona exec " + name + " -- ls -la",
		"Connect via SSH:         daytona ssh " + name,
	}
	if preview, err := sb.PreviewURL(ctx, webTerminal); err == nil {
		lines = append(lines, "Open the Web Terminal:   "+preview.URL)
	}
	a.say("%s", strings.Join(lines, "\n "))
	return nil
}

// webTerminal is the port of a terminal for browsers in each sandbox.
const webTerminal = 22222

func (a *App) list(cursors bool) *cobra.Command {
	var format, cursor string
	var page, limit int
	var verbose bool
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List sandboxes",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			if limit < 1 || page < 1 {
				return usage("--page and --limit count from 1")
			}
			byCursor := cmd.Flags().Changed("cursor")
			if format != "" && !byCursor && !cursors {
				return a.listJSON(cmd.Context(), client, format, page, limit, cmd.Flags().Changed("page"))
			}
			filter := daytona.Filter{Limit: limit}
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
	cmd.MarkFlagsMutuallyExclusive("cursor", "page")
	return cmd
}

// listJSON prints a bare list of sandboxes: all, or one page.
func (a *App) listJSON(ctx context.Context, client *daytona.Client, format string, page, limit int, one bool) error {
	all := []api.Sandbox{}
	for {
		got, err := client.Page(ctx, page, limit)
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

// stateText is a state for people.
func stateText(state string) string {
	if state == "" {
		return "/"
	}
	return strings.ToUpper(strings.ReplaceAll(state, "_", " "))
}

func (a *App) info() *cobra.Command {
	var format string
	var verbose bool
	cmd := &cobra.Command{
		Use:     "info [SANDBOX_ID]",
		Aliases: []string{"view", "inspect"},
		Short:   "Get sandbox info",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			sb, err := a.get(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			info := sb.Info()
			if format != "" {
				return a.show(format, info)
			}
			a.details("Sandbox Info", a.sandboxLines(info, verbose))
			return nil
		},
	}
	formatFlag(cmd, &format)
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "Include verbose output")
	cmd.ValidArgsFunction = a.completeSandboxes
	return cmd
}

func (a *App) sandboxLines(info api.Sandbox, verbose bool) [][2]string {
	last := info.UpdatedAt.Time
	if info.LastActivityAt != nil {
		last = info.LastActivityAt.Time
	}
	snapshot, reason := "", ""
	if info.Snapshot != nil {
		snapshot = *info.Snapshot
	}
	if info.ErrorReason != nil {
		reason = *info.ErrorReason
	}
	var labels []string
	for _, key := range slices.Sorted(maps.Keys(info.Labels)) {
		labels = append(labels, key+"="+info.Labels[key])
	}
	lines := [][2]string{
		{"ID", info.ID}, {"Name", info.Name}, {"State", stateText(string(info.State))}, {"Reason", reason}, {"Snapshot", snapshot}, {"Region", info.Target},
		{"Class", string(info.Class)}, {"Created", ago(a.Now(), info.CreatedAt.Time)}, {"Last Event", ago(a.Now(), last)}, {"Labels", strings.Join(labels, ", ")},
	}
	if verbose {
		lines = append(lines, [][2]string{
			{"User", info.User}, {"CPU", fmt.Sprint(info.CPU)}, {"Memory", fmt.Sprintf("%v GiB", info.Memory)}, {"Disk", fmt.Sprintf("%v GiB", info.Disk)},
			{"Auto-stop", fmt.Sprintf("%d minutes", info.AutoStopInterval)}, {"Auto-archive", fmt.Sprintf("%d minutes", info.AutoArchiveInterval)},
			{"Auto-delete", fmt.Sprintf("%d minutes", info.AutoDeleteInterval)}, {"Isolation", info.Isolation},
			{"Ended by", info.EndCause}, {"Evidence", info.EndEvidence},
		}...)
	}
	return lines
}

// act is a command that does one thing to one sandbox, to several, or with
// --all to all.
type act struct {
	doing, past string // "Stopping", "stopped"
	do          func(ctx context.Context, sb *daytona.Sandbox) error
	one         string // what is said for one, with its name
	fits        func(api.SandboxState) bool
}

// atATime is how many sandboxes are worked on at once by --all.
const atATime = 10

func (a *App) actOn(cmd *cobra.Command, args []string, all, yes bool, x act) error {
	ctx := cmd.Context()
	if !all {
		if helpWithout(cmd, args) {
			return nil
		}
		for _, name := range args {
			sb, err := a.get(ctx, name)
			if err != nil {
				return err
			}
			done := a.spin(x.doing + " sandbox")
			err = x.do(ctx, sb)
			done()
			if err != nil {
				return err
			}
			a.say(x.one, name)
		}
		return nil
	}
	if len(args) > 0 {
		return usage("give names, or --all, not both")
	}
	return a.actOnAll(ctx, yes, x)
}

func (a *App) actOnAll(ctx context.Context, yes bool, x act) error {
	client, err := a.client()
	if err != nil {
		return err
	}
	verb := strings.ToLower(strings.TrimSuffix(x.past, "ed"))
	verb = map[string]string{"delet": "delete", "stopp": "stop", "start": "start"}[verb]
	var items []api.SandboxListItem
	for item, err := range client.List(ctx, daytona.Filter{Limit: 200}) {
		if err != nil {
			return err
		}
		if x.fits == nil || x.fits(item.State) {
			items = append(items, item)
		}
	}
	if len(items) == 0 {
		a.say("No sandboxes to %s", verb)
		return nil
	}
	if err := a.confirm(ctx, yes, fmt.Sprintf("%s all %d sandboxes?", strings.ToUpper(verb[:1])+verb[1:], len(items))); err != nil {
		return err
	}
	done := a.spin(fmt.Sprintf("%s %d sandboxes", x.doing, len(items)))
	defer done()
	var mu sync.Mutex
	var failures []string
	var group errgroup.Group
	group.SetLimit(atATime)
	for _, item := range items {
		group.Go(func() error {
			sb, err := client.Get(ctx, item.ID)
			if err == nil {
				err = x.do(ctx, sb)
			}
			if err != nil && !errors.Is(err, daytona.ErrNotFound) {
				mu.Lock()
				failures = append(failures, fmt.Sprintf("Failed to %s sandbox %s: %v", verb, item.ID, err))
				mu.Unlock()
			}
			return nil
		})
	}
	_ = group.Wait() // failures are kept above
	done()
	for _, text := range failures {
		fmt.Fprintln(a.Err, text)
	}
	a.say("%s %d sandboxes", strings.ToUpper(x.past[:1])+x.past[1:], len(items)-len(failures))
	if len(failures) > 0 {
		return &ExitError{1}
	}
	return nil
}

func (a *App) start() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use: "start [SANDBOX_ID]", Short: "Start a sandbox",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.actOn(cmd, args, all, true, act{
				doing: "Starting", past: "started", one: "Sandbox %s started",
				do:   func(ctx context.Context, sb *daytona.Sandbox) error { return sb.Start(ctx) },
				fits: func(s api.SandboxState) bool { return s == api.SandboxStopped || s == api.SandboxArchived },
			})
		},
	}
	cmd.Flags().BoolVarP(&all, "all", "a", false, "Start all sandboxes")
	cmd.ValidArgsFunction = a.completeSandboxes
	return cmd
}

func (a *App) stop() *cobra.Command {
	var all, force, yes bool
	cmd := &cobra.Command{
		Use: "stop [SANDBOX_ID]", Short: "Stop a sandbox",
		Long: "Stop a sandbox. Its files stay, and it can be started again.",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.actOn(cmd, args, all, yes, act{
				doing: "Stopping", past: "stopped", one: "Sandbox %s stopped",
				do:   func(ctx context.Context, sb *daytona.Sandbox) error { return sb.Stop(ctx, force) },
				fits: func(s api.SandboxState) bool { return s == api.SandboxStarted },
			})
		},
	}
	cmd.Flags().BoolVarP(&all, "all", "a", false, "Stop all sandboxes")
	cmd.Flags().BoolVarP(&force, "force", "f", false, "Do not ask programs to end first")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "Do not ask whether all are meant")
	cmd.ValidArgsFunction = a.completeSandboxes
	return cmd
}

func (a *App) delete() *cobra.Command {
	var all, force, yes bool
	cmd := &cobra.Command{
		Use: "delete [SANDBOX_ID]", Aliases: []string{"remove", "rm"}, Short: "Delete a sandbox",
		Long: "Delete a sandbox with everything in it. With --all a person is asked first; --yes or --force answers beforehand.",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.actOn(cmd, args, all, yes || force, act{
				doing: "Deleting", past: "deleted", one: "Sandbox %s deleted",
				do: func(ctx context.Context, sb *daytona.Sandbox) error { return sb.Delete(ctx) },
			})
		},
	}
	cmd.Flags().BoolVarP(&all, "all", "a", false, "Delete all sandboxes")
	cmd.Flags().BoolVarP(&force, "force", "f", false, "Force delete")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "Do not ask whether all are meant")
	cmd.ValidArgsFunction = a.completeSandboxes
	return cmd
}

func (a *App) archive() *cobra.Command {
	cmd := &cobra.Command{
		Use: "archive [SANDBOX_ID]", Short: "Archive a sandbox",
		Long: "Archive a stopped sandbox: its files move to cheaper storage until it is started again.",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.actOn(cmd, args, false, true, act{
				doing: "Archiving", past: "archived", one: "Sandbox %s marked for archival",
				do: func(ctx context.Context, sb *daytona.Sandbox) error { return sb.Archive(ctx) },
			})
		},
	}
	cmd.ValidArgsFunction = a.completeSandboxes
	return cmd
}
