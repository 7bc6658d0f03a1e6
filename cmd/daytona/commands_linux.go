package main

import (
	"github.com/spf13/cobra"

	"daytona/cli"
)

// serverCommands are those that run a server or look after it.
func serverCommands(app *cli.App) []*cobra.Command {
	return []*cobra.Command{serverCommand(), proxyCommand(), runnerCommand(), downCommand(), adminCommand(app), doctorCommand(app), trustCommand(), objectStore()}
}
