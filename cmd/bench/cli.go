package main

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"text/tabwriter"
	"time"
)

// cliSubject is the name of the figures of the command line.
const cliSubject = "cli"

// cliResult is how long a program takes from its start to its end.
type cliResult struct {
	Command string    `json:"command"`
	Millis  []float64 `json:"values"`
}

// measureCLI starts our command line as a person and a shell do, and Docker's
// beside it, in turns.
func measureCLI(ctx context.Context, bin string, quick bool) ([]cliResult, error) {
	rounds := 50
	if quick {
		rounds = 5
	}
	ours, err := filepath.Abs(filepath.Join(bin, "daytona"))
	if err != nil {
		return nil, err
	}
	commands := [][]string{{ours, "--version"}, {ours, "__complete", "sandbox", "cr"}}
	if theirs, err := exec.LookPath("docker"); err == nil {
		commands = append(commands, []string{theirs, "--version"}, []string{theirs, "__complete", "container", "cr"})
	}
	results := make([]cliResult, len(commands))
	for round := range rounds + 1 {
		for i, words := range commands {
			start := time.Now()
			if err := exec.CommandContext(ctx, words[0], words[1:]...).Run(); err != nil {
				return nil, fmt.Errorf("%v: %w", words, err)
			}
			results[i].Command = filepath.Base(words[0]) + " " + words[1]
			if round > 0 { // the first one reads the program from the disk
				results[i].Millis = append(results[i].Millis, float64(time.Since(start).Microseconds())/1000)
			}
		}
	}
	return results, nil
}

func writeCLI(w io.Writer, results []cliResult) error {
	fmt.Fprintln(w, "\nThe command line, from start to end:")
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "command\tn\tp50\tp95\tunit\t")
	for _, r := range results {
		fmt.Fprintf(table, "%s\t%d\t%.1f\t%.1f\tms\t\n", r.Command, len(r.Millis), percentile(r.Millis, .5), percentile(r.Millis, .95))
	}
	return table.Flush()
}
