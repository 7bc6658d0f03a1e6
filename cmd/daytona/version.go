package main

import (
	"fmt"
	"runtime"
	"time"

	"github.com/spf13/cobra"

	"daytona/internal/version"
)

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version, and those of the isolation engines with their age",
		Args:  cobra.NoArgs,
		Run: func(cmd *cobra.Command, _ []string) {
			out := cmd.OutOrStdout()
			fmt.Fprintf(out, "daytona %s (%s, %s/%s)\n", version.Version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			printEngines(out, &settings{}, time.Now())
		},
	}
}
