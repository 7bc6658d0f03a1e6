//go:build linux

package main

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"

	"github.com/spf13/cobra"

	"daytona/images"
	"daytona/runner/local"
	"daytona/runner/rootfs"
)

func ownSnapshotsCommand() *cobra.Command {
	snapshot := &cobra.Command{Use: "snapshot", Short: "Snapshots that the server makes itself"}
	rebuild := &cobra.Command{
		Use:   "rebuild NAME...",
		Short: "Have snapshots made anew by the next start",
		Long: `Have snapshots made anew by the next start of the server, such as daytona-slim
for the packages of today. The old ones serve until the new ones are ready. What
is made on top of them stays as it is: name it too, as in: rebuild daytona-slim
daytona-full. The server must not be running.`,
	}
	snapshot.AddCommand(withSettings(rebuild, func(cmd *cobra.Command, s *settings) error {
		return rebuildSnapshots(cmd, s, cmd.Flags().Args())
	}, whichServer...))
	rebuild.Args = cobra.MinimumNArgs(1)
	return snapshot
}

// rebuildSnapshots marks images as out of date.
func rebuildSnapshots(cmd *cobra.Command, s *settings, names []string) (err error) {
	if _, err := images.Named(names...); err != nil {
		return err
	}
	lock, err := lockData(s.Data)
	if errors.Is(err, errLocked) {
		return fmt.Errorf("%w. Stop it first, and start it again afterwards", err)
	}
	if err != nil {
		return err
	}
	defer lock.release()
	store, err := rootfs.Open(cmd.Context(), rootfs.Config{Dir: filepath.Join(s.Data, "images"), Disk: s.Disk, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	if err := local.Remake(cmd.Context(), store, names...); err != nil {
		return err
	}
	for _, name := range names {
		if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%s is made by the next start of: daytona server --snapshots %s\n", name, name); err != nil {
			return err
		}
	}
	return nil
}
