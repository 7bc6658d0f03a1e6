//go:build !linux

package main

import (
	"fmt"
	"io"
	"runtime"
	"time"

	"github.com/spf13/cobra"

	"daytona/cli"
)

// serverCommands say where a server can run.
func serverCommands(app *cli.App) []*cobra.Command {
	var all []*cobra.Command
	for name, short := range map[string]string{"server": "Run the server", "down": "Stop the server and every sandbox", "doctor": "Look whether this machine can run a server"} {
		all = append(all, &cobra.Command{
			Use: name, Short: short + " (on Linux)", DisableFlagParsing: true,
			RunE: func(*cobra.Command, []string) error {
				return fmt.Errorf("a server needs the kernel of Linux, and this is %s: run `daytona %s` on a Linux machine, and point this one at it with DAYTONA_API_URL", runtime.GOOS, name)
			},
		})
	}
	admin := &cobra.Command{Use: "admin", Short: "Administer a server"}
	admin.AddCommand(app.Administration()...)
	return append(all, admin)
}

// settings are the server's alone.
type settings struct{}

func printEngines(io.Writer, *settings, time.Time) {}
