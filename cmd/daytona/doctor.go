//go:build linux

package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"daytona/cli"
)

// verdict is what a check found.
type verdict string

const (
	good     verdict = "ok"
	doubtful verdict = "warn" // a server runs, with less than it could have
	bad      verdict = "fail" // a server cannot run
)

// finding is a verdict, what was found, and what to do where that is wrong.
type finding struct {
	Verdict verdict `json:"verdict"`
	Found   string  `json:"found"`
	Advice  string  `json:"advice"` // "" if nothing is to be done
}

func well(format string, args ...any) finding { return finding{good, fmt.Sprintf(format, args...), ""} }

// check looks at one thing that a server needs.
type check struct {
	name string
	look func(ctx context.Context, s *settings) finding
	// always is for what also a server that isolates nothing needs.
	always bool
}

func checks() []check {
	return []check{
		{"privileges", lookPrivileges, false},
		{"kernel", lookKernel, false},
		{"control groups", lookCgroups, false},
		{"user namespaces", lookUserNamespaces, false},
		{"processors, memory", lookMemory, true},
		{"disks of sandboxes", lookDisk, false},
		{"space", lookSpace, true},
		{"network", lookNetwork, false},
		{"network ranges", lookRanges, false},
		{"forwarding", lookForwarding, false},
		{"name servers", lookNames, false},
		{"engines", lookEngines, false},
		{"toolbox", lookToolbox, true},
		{"default snapshot", lookBootstrap, false},
		{"database", lookDatabase, true},
		{"port", lookPort, true},
		{"port of SSH", lookSSHPort, true},
		{"previews", lookPreviews, true},
	}
}

// report is what doctor prints with --format.
type report struct {
	OK     bool   `json:"ok"` // a server can run
	Checks []line `json:"checks"`
}

type line struct {
	Name string `json:"name"`
	finding
}

func doctorCommand(app *cli.App) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Look whether this machine can run a server",
		Long: `Look whether this machine can run a server with these options: privileges,
kernel, control groups, memory, disks, network, engines, ports, previews. It says
what is wrong and what to type, changes nothing, and ends with code 1 if a server
cannot run.`,
	}
	cli.FormatFlag(cmd, &format)
	return withSettings(cmd, func(cmd *cobra.Command, s *settings) error {
		r := examine(cmd.Context(), s, checks())
		if format == "" {
			fmt.Fprint(cmd.OutOrStdout(), r)
		} else if err := app.Present(format, r, nil, nil); err != nil {
			return err
		}
		if !r.OK {
			return &cli.ExitError{Code: 1}
		}
		return nil
	}, "data", "config", "listen", "ssh-listen", "database", "proxy-domain", "isolation", "isolations", "disk", "network-range", "dns", "runsc", "runc", "toolbox")
}

// examine runs the checks that count for s.
func examine(ctx context.Context, s *settings, all []check) report {
	r := report{OK: true}
	for _, c := range all {
		if !c.always && slices.Equal(s.offered(), []string{isolationFake}) {
			continue
		}
		f := c.look(ctx, s)
		r.OK = r.OK && f.Verdict != bad
		r.Checks = append(r.Checks, line{c.name, f})
	}
	return r
}

// String is the report for a person.
func (r report) String() string {
	var b strings.Builder
	worst := map[verdict]int{}
	for _, l := range r.Checks {
		worst[l.Verdict]++
		mark := string(l.Verdict)
		if l.Verdict == bad {
			mark = "FAIL"
		}
		fmt.Fprintf(&b, "%-4s  %-20s %s\n", mark, l.Name, l.Found)
		if l.Verdict != good && l.Advice != "" {
			fmt.Fprintf(&b, "      %-20s -> %s\n", "", l.Advice)
		}
	}
	switch {
	case worst[bad] == 1:
		b.WriteString("\nA server cannot run here yet: 1 thing is wrong.\n")
	case worst[bad] > 1:
		fmt.Fprintf(&b, "\nA server cannot run here yet: %d things are wrong.\n", worst[bad])
	default:
		b.WriteString("\nA server can run here.\n")
	}
	return b.String()
}
