//go:build linux

package main

import (
	"errors"

	"github.com/spf13/cobra"
)

// runnerCommand says where runners are, to those who look for one.
func runnerCommand() *cobra.Command {
	return &cobra.Command{
		Use: "runner", Short: "Runners are part of the server", Hidden: true, DisableFlagParsing: true,
		RunE: func(*cobra.Command, []string) error {
			return errors.New("each server has one runner, in its own process: type `daytona server`. Runners in processes of their own, on other hosts, do not exist; run a server on each host, with regions of different names")
		},
	}
}
