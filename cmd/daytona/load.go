//go:build linux

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"daytona/internal/options"
)

// withSettings gives a command the server's options and hands it the settings
// that are in force. Help tells of the options that are shown, without any of
// all; the others work, too.
func withSettings(cmd *cobra.Command, work func(cmd *cobra.Command, s *settings) error, shown ...string) *cobra.Command {
	s, set := declare()
	set.Flags(cmd.Flags())
	for _, o := range set.All() {
		cmd.Flags().Lookup(o.Name).Hidden = len(shown) > 0 && !slices.Contains(shown, o.Name)
	}
	cmd.SetHelpFunc(func(cmd *cobra.Command, _ []string) { fmt.Fprint(cmd.OutOrStdout(), help(cmd, set)) })
	cmd.Args = cobra.NoArgs
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := load(set, s, cmd.Flags(), os.LookupEnv); err != nil {
			return fmt.Errorf("the configuration has problems:\n%s", indent(err.Error()))
		}
		return work(cmd, s)
	}
	return cmd
}

// load reads flags, environment and file into s. Where the file and the data
// directory are can be said by flag and environment only.
func load(set *options.Set, s *settings, flags *pflag.FlagSet, env func(string) (string, bool)) error {
	early, first := declare()
	_ = first.Load(options.Sources{Env: env, Flags: flags}) // reported below, with the rest
	from := options.Sources{Env: env, Flags: flags, FileName: early.Config}
	if early.Config == "" {
		from.FileName = filepath.Join(early.Data, "config.yaml")
	}
	var err error
	from.File, err = os.ReadFile(from.FileName)
	if err != nil && (early.Config != "" || !errors.Is(err, fs.ErrNotExist)) {
		return fmt.Errorf("--config: %w", err)
	}
	if err := set.Load(from); err != nil {
		return err
	}
	if s.Data, err = filepath.Abs(s.Data); err != nil {
		return err
	}
	if s.KeyFile == "" {
		s.KeyFile = filepath.Join(s.Data, "admin.key")
	}
	return nil
}

// help is the text of --help: options with their names and defaults, by group.
func help(cmd *cobra.Command, set *options.Set) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\nUsage:\n  %s\n", cmd.Long, cmd.UseLine())
	own := pflag.NewFlagSet("", pflag.ContinueOnError)
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !set.Has(f.Name) {
			own.AddFlag(f)
		}
	})
	if own.HasFlags() {
		fmt.Fprintf(&b, "\nThis command:\n%s", own.FlagUsages())
	}
	group, more := "", false
	for _, o := range byGroup(set.All()) {
		if f := cmd.Flags().Lookup(o.Name); f != nil && f.Hidden {
			more = true
			continue
		}
		if o.Group != group {
			group = o.Group
			fmt.Fprintf(&b, "\n%s:\n", group)
		}
		fmt.Fprintf(&b, "  --%s %s\n", o.Name, o.Value.Type())
		fmt.Fprintf(&b, "      %s", o.Help)
		if def := o.Value.String(); def != "" && def != "false" {
			fmt.Fprintf(&b, " (default %s)", def)
		}
		fmt.Fprintf(&b, "\n      env %s\n", set.Env(o.Name))
	}
	if more {
		b.WriteString("\nThe other options of \"daytona server\" are taken as well, and its configuration file.\n")
		return b.String()
	}
	b.WriteString("\nA flag outweighs the environment, the environment the configuration file.\n")
	return b.String()
}

// byGroup puts the options of each group together.
func byGroup(all []*options.Option) []*options.Option {
	first := map[string]int{}
	for i, o := range all {
		if _, ok := first[o.Group]; !ok {
			first[o.Group] = i
		}
	}
	out := slices.Clone(all)
	slices.SortStableFunc(out, func(a, b *options.Option) int { return first[a.Group] - first[b.Group] })
	return out
}

func indent(text string) string {
	return "  " + strings.ReplaceAll(text, "\n", "\n  ")
}
