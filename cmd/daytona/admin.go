//go:build linux

package main

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"daytona/cli"
	"daytona/controlplane/auth"
)

func adminCommand(app *cli.App) *cobra.Command {
	admin := &cobra.Command{Use: "admin", Short: "Administer a server"}
	key := &cobra.Command{Use: "key", Short: "API keys of the administrator"}
	create := &cobra.Command{
		Use:   "create",
		Short: "Make an API key that may do everything",
		Long: `Make an API key that may do everything in the administrator's organization, and
print it. It works on the server's database, while the server runs or not.`,
	}
	var name string
	create.Flags().StringVar(&name, "name", "", "name of the key (default made of the time)")
	key.AddCommand(withSettings(create, func(cmd *cobra.Command, s *settings) (err error) {
		store, err := openExistingStore(cmd.Context(), s, slog.New(slog.DiscardHandler))
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, store.Close()) }()
		value, err := auth.New(auth.Config{Store: store, Log: slog.New(slog.DiscardHandler)}).CreateAdminKey(cmd.Context(), name)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(cmd.OutOrStdout(), value)
		return err
	}))
	admin.AddCommand(key, proxyKeyCommand(), ownSnapshotsCommand())
	admin.AddCommand(app.Administration()...)
	return admin
}
