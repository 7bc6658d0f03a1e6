package main

import (
	"fmt"
	"io"
	"math"
	"text/tabwriter"
)

// Report is everything that one run measured, as it is written to JSON.
type Report struct {
	Machine  string            `json:"machine"`
	Date     string            `json:"date"`
	Subjects map[string]Result `json:"subjects"`
	Order    []string          `json:"order"`
	// Previews are the figures of the ways to a port of a sandbox.
	Previews map[string]previewResult `json:"previews,omitempty"`
	// Images are the figures of builds and pulls, by subject.
	Images map[string]Result `json:"images,omitempty"`
	// CLI is how long the command line takes to start and end.
	CLI []cliResult `json:"cli,omitempty"`
}

const peer = "docker"

// write prints one row for each of some figures and subject: median, tails, and the
// peer's median divided by ours, so that more than 1 means faster (or smaller)
// than the peer.
func (r Report) write(w io.Writer, figures []string) error {
	fmt.Fprintf(w, "\n%s, %s\n\n", r.Machine, r.Date)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "figure\tsubject\tn\tfailed\tp50\tp95\tp99\tunit\tpeer/p50\tpeer/p95\t")
	for _, figure := range figures {
		other := r.Subjects[peer][figure]
		for _, name := range r.Order {
			s := r.Subjects[name][figure]
			if s == nil {
				continue
			}
			ratio := func(p float64) string {
				if other == nil || name == peer {
					return ""
				}
				v := percentile(other.Values, p) / percentile(s.Values, p)
				if math.IsNaN(v) {
					return ""
				}
				return fmt.Sprintf("%.1fx", v)
			}
			fmt.Fprintf(table, "%s\t%s\t%d\t%d\t%s\t%s\t%s\t%s\t%s\t%s\t\n", figure, name, len(s.Values), s.Failed,
				s.text(percentile(s.Values, .5)), s.text(percentile(s.Values, .95)), s.text(percentile(s.Values, .99)), s.Unit, ratio(.5), ratio(.95))
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, name := range r.Order {
		if pairs := r.Subjects[name][figPair]; pairs != nil && len(pairs.Values) > 0 {
			fmt.Fprintf(w, "%s: %.1f create+delete per second\n", name, 1000/percentile(pairs.Values, .5))
		}
	}
	return nil
}
