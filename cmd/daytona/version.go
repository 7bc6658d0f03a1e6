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
		Short: "Print the version number",
		Long:  "Print the version, and those of the isolation engines with their age.",
		Args:  cobra.NoArgs,
		Run: func(cmd *cobra.Command, _ []string) {
			out := cmd.OutOrStdout()
			fmt.Fprintf(out, "Daytona CLI version %s\n", version.Version)
			fmt.Fprintf(out, "%s, %s/%s\n", runtime.Version(), runtime.GOOS, runtime.GOARCH)
			printEngines(out, &settings{}, time.Now())
		},
	}
}
