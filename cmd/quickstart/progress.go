package main

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/term"
)

// progress is one line on the terminal that says what takes time.
type progress struct {
	what  string
	last  string
	start time.Time
	tty   bool
}

func newProgress(what string) *progress {
	p := &progress{what: what, start: time.Now(), tty: term.IsTerminal(int(os.Stdout.Fd()))}
	if p.tty {
		fmt.Printf("  %-58s", p.what)
	}
	return p
}

// say shows where the work is. On a terminal the line is rewritten, elsewhere a
// new line is printed when the text changes.
func (p *progress) say(detail string) {
	if p.tty {
		fmt.Printf("\r\033[K  %-58s %s %s", p.what, since(p.start), detail)
		return
	}
	if detail != "" && detail != p.last {
		p.last = detail
		fmt.Printf("  %s: %s (%s)\n", p.what, detail, since(p.start))
	}
}

func (p *progress) done() {
	if p.tty {
		fmt.Printf("\r\033[K")
	}
	fmt.Printf("  %-58s done (%s)\n", p.what, since(p.start))
}

// fail ends the line and returns err, so that it can be returned at once.
func (p *progress) fail(err error) error {
	if p.tty {
		fmt.Printf("\r\033[K")
	}
	fmt.Printf("  %-58s FAILED\n", p.what)
	return err
}

func since(t time.Time) string {
	d := time.Since(t)
	if d < time.Second {
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%ds", int(d.Seconds()))
}
