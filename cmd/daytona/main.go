// Daytona runs code in sandboxes: this is the program that people start.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"daytona/cli"
)

func main() { os.Exit(run()) }

// run is main with an exit code, so that a test can call it.
func run() int {
	app, err := cli.New()
	if err != nil {
		fmt.Fprintln(os.Stderr, "daytona:", err)
		return 1
	}
	return app.Run(context.Background(), rootCommand(app))
}

// rootCommand is the whole tree: what works on a server by its API, and what
// runs one, which only Linux can.
func rootCommand(app *cli.App) *cobra.Command {
	return app.Root(append(serverCommands(app), versionCommand())...)
}
