package cli

import (
	"errors"

	"github.com/spf13/cobra"

	daytona "daytona/sdk/go"
)

func (a *App) snapshotPush() *cobra.Command {
	var p daytona.SnapshotParams
	var entrypoint string
	cmd := &cobra.Command{
		Use:   "push [SNAPSHOT]",
		Short: "Push local snapshot",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkImageName(args[0]); err != nil {
				return err
			}
			client, err := a.client()
			if err != nil {
				return err
			}
			if _, err := client.Registries.PushAccess(cmd.Context()); err != nil {
				return err
			}
			return errors.New("not yet")
		},
	}
	cmd.Flags().StringVarP(&p.Name, "name", "n", "", "Specify the Snapshot name")
	cmd.Flags().StringVarP(&entrypoint, "entrypoint", "e", "", "The entrypoint command for the image")
	resourceFlags(cmd, &p.Resources)
	_ = cmd.MarkFlagRequired("name")
	return cmd
}
