//go:build root

package e2e

import (
	"os"
	"strings"
)

// A sample is one fenced piece of code in the documentation.
type sample struct {
	Page     string // title of the page
	Heading  string // the nearest heading above, without its marks
	Language string // as the fence says
	Code     string
}

// readSamples extracts every fenced piece of code from a documentation file, in
// which each page begins with a line "title: …".
func readSamples(file string) ([]sample, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var all []sample
	var page, heading string
	var open *sample
	var fence string // of the open sample
	var indent int   // of its first fence; as much is taken off every line
	for line := range strings.Lines(string(data)) {
		line = strings.TrimRight(line, "\r\n")
		trimmed := strings.TrimLeft(line, " ")
		if open != nil {
			if strings.HasPrefix(trimmed, fence) && strings.Trim(trimmed, "` ") == "" {
				all = append(all, *open)
				open = nil
				continue
			}
			open.Code += line[min(indent, len(line)-len(trimmed)):] + "\n"
			continue
		}
		switch {
		case strings.HasPrefix(line, "title: "):
			page, heading = strings.TrimPrefix(line, "title: "), ""
		case strings.HasPrefix(trimmed, "```"):
			fence = trimmed[:len(trimmed)-len(strings.TrimLeft(trimmed, "`"))]
			language := strings.TrimPrefix(trimmed, fence)
			if strings.Contains(language, "`") {
				continue // a fence opened and closed on one line
			}
			indent = len(line) - len(trimmed)
			open = &sample{Page: page, Heading: heading, Language: strings.TrimSpace(language)}
		case strings.HasPrefix(line, "#"):
			heading = strings.TrimSpace(strings.TrimLeft(line, "#"))
		}
	}
	return all, nil
}

// find gives the samples below a heading of a page, in order.
func find(all []sample, page, heading, language string) []sample {
	var found []sample
	for _, s := range all {
		if s.Page == page && s.Heading == heading && s.Language == language {
			found = append(found, s)
		}
	}
	return found
}
