package main

import "github.com/spf13/cobra"

// serverCommands are those that run a server or look after it.
func serverCommands() []*cobra.Command {
	return []*cobra.Command{serverCommand(), proxyCommand(), downCommand(), adminCommand(), doctorCommand(), trustCommand(), objectStore()}
}
