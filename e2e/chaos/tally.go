//go:build linux

package chaos

import (
	"fmt"
	"io"
	"slices"
	"sync"
	"time"
)

// Report is what came of a run.
type Report struct {
	Seed       uint64
	Took       time.Duration
	Operations map[string]Counts // by kind
	Faults     map[string]int    // by kind
	Sandboxes  int               // that were acknowledged
	Files      int               // that were read back at the end
	Violations []string          // of what the server promises; none is what we want
}

// Counts are the outcomes of one kind of operation.
type Counts struct{ Done, Refused, Unknown int }

// Total is the number of operations, and of faults.
func (r Report) Total() (operations, faults int) {
	for _, c := range r.Operations {
		operations += c.Done + c.Refused + c.Unknown
	}
	for _, n := range r.Faults {
		faults += n
	}
	return operations, faults
}

// Write prints the report as tables of Markdown.
func (r Report) Write(w io.Writer) error {
	operations, faults := r.Total()
	text := fmt.Sprintf("Seed %d: %d operations and %d faults in %s, %d sandboxes, %d files read back at the end, %d violations.\n\n",
		r.Seed, operations, faults, r.Took.Round(time.Second), r.Sandboxes, r.Files, len(r.Violations))
	text += "| operation | acknowledged | refused | no answer |\n|---|---:|---:|---:|\n"
	for _, name := range sorted(r.Operations) {
		c := r.Operations[name]
		text += fmt.Sprintf("| %s | %d | %d | %d |\n", name, c.Done, c.Refused, c.Unknown)
	}
	text += "\n| fault | times |\n|---|---:|\n"
	for _, name := range sorted(r.Faults) {
		text += fmt.Sprintf("| %s | %d |\n", name, r.Faults[name])
	}
	for _, v := range r.Violations {
		text += "\n- " + v
	}
	_, err := io.WriteString(w, text+"\n")
	return err
}

func sorted[V any](m map[string]V) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// tally collects a report.
type tally struct {
	mu sync.Mutex
	Report
}

func (t *tally) operation(name string, o outcome) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.Operations[name]
	switch o {
	case done:
		c.Done++
	case refused:
		c.Refused++
	case unknown:
		c.Unknown++
	}
	t.Operations[name] = c
}

func (t *tally) fault(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.Faults[name]++
}

// wrong notes a violation, unless what is "".
func (t *tally) wrong(what string) {
	if what == "" {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.Violations = append(t.Violations, what)
}

// calm tells whether a fault is, or lately was, at work.
type calm struct {
	mu     sync.Mutex
	active int
	ended  time.Time
}

// aftermath is how long a fault may still show in answers.
const aftermath = 5 * time.Second

func (c *calm) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.active++
}

func (c *calm) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.active--
	c.ended = time.Now()
}

// since reports whether nothing was broken from a moment until now.
func (c *calm) since(t time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.active == 0 && t.After(c.ended.Add(aftermath))
}
