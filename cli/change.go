package cli

import (
	"context"

	"github.com/spf13/cobra"

	daytona "daytona/sdk/go"
)

func (a *App) resize() *cobra.Command {
	var to daytona.Resources
	cmd := &cobra.Command{
		Use: "resize [SANDBOX_ID]", Short: "Change what a sandbox may use",
		Long: `Change the processors, memory or disk of a sandbox.

One that is started gets more processors and memory at once, without a restart.
One that is stopped can get less of both, too, and a larger disk. A disk never
becomes smaller.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 && to == (daytona.Resources{}) {
				return usage("give at least one of --cpu, --memory and --disk")
			}
			return a.actOn(cmd, args, false, true, act{
				doing: "Resizing", past: "resized", one: "Sandbox %s resized",
				do: func(ctx context.Context, sb *daytona.Sandbox) error { return sb.Resize(ctx, to) },
			})
		},
	}
	cmd.Flags().IntVar(&to.CPU, "cpu", 0, "Processors")
	cmd.Flags().IntVar(&to.Memory, "memory", 0, "Memory in GiB")
	cmd.Flags().IntVar(&to.Disk, "disk", 0, "Disk in GiB")
	cmd.ValidArgsFunction = a.completeSandboxes
	return cmd
}

func (a *App) fork() *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use: "fork [SANDBOX_ID]", Short: "Make another sandbox with the same files",
		Long: "Make another sandbox with the files and settings of a stopped one, and start it. The two know nothing of each other afterwards.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if helpWithout(cmd, args) {
				return nil
			}
			sb, err := a.get(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			done := a.spin("Forking sandbox")
			fork, err := sb.Fork(cmd.Context(), name)
			done()
			if err != nil {
				return err
			}
			a.say("Sandbox %s forked as %s", args[0], fork.Name())
			return nil
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "Name of the new sandbox (default: its id)")
	cmd.ValidArgsFunction = a.completeSandboxes
	return cmd
}

func (a *App) recover() *cobra.Command {
	var skipStart bool
	cmd := &cobra.Command{
		Use: "recover [SANDBOX_ID]", Short: "Bring a sandbox out of state error",
		Long: "Bring a sandbox out of state error: from the files that its runner has, else from those of its last backup.",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.actOn(cmd, args, false, true, act{
				doing: "Recovering", past: "recovered", one: "Sandbox %s recovered",
				do: func(ctx context.Context, sb *daytona.Sandbox) error { return sb.Recover(ctx, skipStart) },
			})
		},
	}
	cmd.Flags().BoolVar(&skipStart, "skip-start", false, "Leave it stopped")
	cmd.ValidArgsFunction = a.completeSandboxes
	return cmd
}

func (a *App) capture() *cobra.Command {
	cmd := &cobra.Command{
		Use: "capture [SANDBOX_ID] [NAME]", Short: "Make a snapshot of a sandbox's files",
		Long: `Make a snapshot of the files of a sandbox, started or stopped, of which others
can be made. Of one that is started each file is as it is when it is reached.`,
		Args: cobra.MatchAll(cobra.MaximumNArgs(2), func(_ *cobra.Command, args []string) error {
			if len(args) == 1 {
				return usage("give the name of the snapshot after that of the sandbox")
			}
			return nil
		}),
		RunE: func(cmd *cobra.Command, args []string) error {
			if helpWithout(cmd, args) {
				return nil
			}
			sb, err := a.get(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			done := a.spin("Making a snapshot")
			_, err = sb.Snapshot(cmd.Context(), args[1])
			done()
			if err != nil {
				return err
			}
			a.say("Snapshot %s made of sandbox %s", args[1], args[0])
			return nil
		},
	}
	cmd.ValidArgsFunction = a.completeSandboxes
	return cmd
}
