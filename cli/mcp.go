package cli

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"strings"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/spf13/cobra"

	"daytona/internal/version"
	"daytona/mcp"
)

func (a *App) mcp() *cobra.Command {
	cmd := &cobra.Command{
		Use: "mcp", Short: "Manage Daytona MCP Server",
		Long: "Manage Daytona MCP Server, by which AI agents work in sandboxes",
		Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	start := &cobra.Command{
		Use: "start", Short: "Start Daytona MCP Server",
		Long: "Start Daytona MCP Server: it speaks JSON-RPC on standard input and output, and writes its log to standard error.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := a.clientAs("daytona-mcp")
			if err != nil {
				return err
			}
			log := slog.New(slog.NewTextHandler(a.Err, &slog.HandlerOptions{Level: slog.LevelWarn}))
			server := mcp.New(mcp.Config{Client: client, Version: version.Version, Keep: strings.ToLower(rand.Text()[:12]), Log: log})
			err = server.Run(cmd.Context(), &sdk.StdioTransport{})
			if errors.Is(err, context.Canceled) || errors.Is(err, io.EOF) {
				return nil // the agent has ended
			}
			return err
		},
	}
	config := &cobra.Command{
		Use: "config [AGENT_NAME]", Short: "Outputs JSON configuration for Daytona MCP Server",
		Long: "Outputs JSON configuration for Daytona MCP Server, to be put among the servers of an agent.",
		Args: cobra.MaximumNArgs(1), ValidArgs: agentNames(),
		RunE: func(_ *cobra.Command, args []string) error {
			place, err := thisPlace(a.getenv)
			if err != nil {
				return err
			}
			entry := place.entry(place.logFile())
			if len(args) == 1 {
				agent, err := findAgent(args[0])
				if err != nil {
					return err
				}
				if agent.codex {
					_, err = io.WriteString(a.Out, codexEntry(entry))
					return err
				}
				entry = place.entry(agent.log(place))
				return printJSON(a.Out, map[string]any{agent.member: map[string]any{serverName: agent.shape(entry)}})
			}
			return printJSON(a.Out, map[string]any{serverName: entry})
		},
	}
	initialize := &cobra.Command{
		Use: "init [AGENT_NAME]", Short: "Initialize Daytona MCP Server with an agent (currently supported: " + strings.Join(agentNames(), ", ") + ")",
		Long: "Initialize Daytona MCP Server with an agent: adds the server to the agent's own configuration file. Everything else in it stays.",
		Args: cobra.ArbitraryArgs, ValidArgs: agentNames(),
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage("agent name is required")
			}
			agent, err := findAgent(args[0])
			if err != nil {
				return err
			}
			place, err := thisPlace(a.getenv)
			if err != nil {
				return err
			}
			path, err := agent.install(place)
			if err != nil {
				return err
			}
			a.say("Daytona MCP Server has been added to %s. Restart the agent to use it", path)
			return nil
		},
	}
	cmd.AddCommand(config, initialize, start)
	return cmd
}

// serverName is the name of our server among those of an agent.
const serverName = "daytona-mcp"

func printJSON(w io.Writer, value any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(value)
}
