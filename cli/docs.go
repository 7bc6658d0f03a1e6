package cli

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
	"github.com/spf13/pflag"

	"daytona/internal/version"
)

// docsURL is the documentation for people.
const docsURL = "https://www.daytona.io/docs/"

func (a *App) docs() *cobra.Command {
	return &cobra.Command{
		Use: "docs", Aliases: []string{"documentation", "doc"}, Short: "Opens the Daytona documentation in your default browser.", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			fmt.Fprintln(a.Out, "Opening the Daytona documentation in your default browser. If opening fails, you can go to "+docsURL+" manually.")
			if err := a.Open(docsURL); err != nil {
				fmt.Fprintln(a.Err, "no browser could be opened:", err)
			}
			return nil
		},
	}
}

// generateDocs writes the reference of the command line, from its own tree.
func (a *App) generateDocs() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use: "generate-docs", Short: "Write the reference of all commands, as Markdown and as man pages", Hidden: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			root := cmd.Root()
			man := filepath.Join(dir, "man")
			if err := os.MkdirAll(man, 0o755); err != nil {
				return err
			}
			var text bytes.Buffer
			Markdown(&text, root)
			if err := os.WriteFile(filepath.Join(dir, "cli.md"), text.Bytes(), 0o644); err != nil {
				return err
			}
			date := time.Unix(0, 0).UTC()
			header := &doc.GenManHeader{Title: "DAYTONA", Section: "1", Source: "Daytona " + version.Version, Date: &date}
			return doc.GenManTree(root, header, man)
		},
	}
	cmd.Flags().StringVar(&dir, "directory", ".", "Directory to write to")
	return cmd
}

// Markdown writes what every command that is shown does, in their order.
func Markdown(w io.Writer, cmd *cobra.Command) {
	fmt.Fprintf(w, "## %s\n\n%s\n\n```shell\n%s\n```\n\n", cmd.CommandPath(), cmp(cmd.Long, cmd.Short), cmd.UseLine())
	if len(cmd.Aliases) > 0 {
		fmt.Fprintf(w, "Also: %s\n\n", strings.Join(cmd.Aliases, ", "))
	}
	if cmd.Example != "" {
		fmt.Fprintf(w, "```shell\n%s\n```\n\n", unindent(cmd.Example))
	}
	cmd.InitDefaultHelpFlag()
	f := cmd.Flags().Lookup("listen")
	if f != nil && !f.Hidden && cmd.Flags().Lookup("data") != nil && !partly(cmd) {
		fmt.Fprint(w, "Options: see [configuration.md](configuration.md).\n\n")
		return
	}
	fmt.Fprint(w, "| Flag | Short | Description |\n| :--- | :---- | :---------- |\n")
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		short := ""
		if f.Shorthand != "" {
			short = "`-" + f.Shorthand + "`"
		}
		fmt.Fprintf(w, "| `--%s` | %s | %s |\n", f.Name, short, cell.Replace(f.Usage))
	})
	fmt.Fprintln(w)
	if partly(cmd) {
		fmt.Fprint(w, "The other options of [configuration.md](configuration.md) are taken as well.\n\n")
	}
	for _, child := range cmd.Commands() {
		if !child.IsAvailableCommand() || child.Hidden || child.Name() == "help" {
			continue
		}
		Markdown(w, child)
	}
}

// partly says whether a command takes more options of the server than it shows.
func partly(cmd *cobra.Command) bool {
	f := cmd.Flags().Lookup("log-level")
	return f != nil && f.Hidden
}

// cell keeps a cell of a table one, and words in angle brackets visible.
var cell = strings.NewReplacer("|", "\\|", "<", "&lt;", ">", "&gt;", "\n", " ")

func unindent(text string) string {
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = strings.TrimPrefix(lines[i], "  ")
	}
	return strings.Join(lines, "\n")
}
