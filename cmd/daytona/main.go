// Daytona runs code in sandboxes: this is the program that people start.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"
)

func main() { os.Exit(run()) }

// run is main with an exit code, so that a test can call it.
func run() int {
	if err := rootCommand().ExecuteContext(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "daytona:", err)
		return 1
	}
	return 0
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "daytona",
		Short:         "Secure sandboxes in which code runs",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(serverCommand(), downCommand(), adminCommand(), versionCommand(), trustCommand(), objectStore())
	return root
}
