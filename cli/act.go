package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"daytona/api"
	daytona "daytona/sdk/go"
)

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
