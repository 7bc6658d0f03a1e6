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
	"time"

	"github.com/spf13/cobra"

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
	cmd.AddCommand(a.create(), a.list(false), a.info(), a.start(), a.stop(), a.delete(), a.archive(), a.resize(), a.fork(), a.recover(), a.capture(),
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
	if link, err := sb.SignedPreviewURL(ctx, webTerminal, terminalLink); err == nil { // a link that a browser can open
		lines = append(lines, "Open the Web Terminal:   "+link.URL)
	}
	a.say("%s", strings.Join(lines, "\n "))
	return nil
}

// webTerminal is the port of a terminal for browsers in each sandbox, and
// terminalLink how long the link to it that create prints is good.
const (
	webTerminal  = 22222
	terminalLink = time.Hour
)

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
