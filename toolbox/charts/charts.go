// Package charts gets the figures that a Python program draws out of it.
//
// A program that uses matplotlib is run by a wrapper, which prints a
// description of each figure shown, as one line of output. The package takes
// those lines out of the output again and gives the descriptions the types that
// clients expect.
package charts

import (
	"bytes"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"regexp"
	"strings"
)

// Chart is the description of one figure, as JSON values. Numbers are
// json.Number.
type Chart map[string]any

// marker begins the part of a line that describes a figure. Old clients carry a
// wrapper of their own and look for the same one.
const marker = "dtn_artifact_k39fd2:"

//go:embed wrapper.py
var wrapper string

//go:embed figures.py
var figures string

// Figures is a piece of Python that defines _toolbox_figures(sink): after a call
// of it, sink is given the description of each figure shown, as the JSON text
// that Parse reads.
func Figures() string { return figures }

// imports finds the ways by which a line, outside a comment, may load
// matplotlib.
var imports = regexp.MustCompile(`(?m)^[^#\n]*(` + strings.Join([]string{
	`import\s+matplotlib`,
	`from\s+matplotlib`,
	`__import__\s*\(\s*['"]matplotlib['"]`,
	`importlib\.import_module\s*\(\s*['"]matplotlib['"]`,
	`loader\.load_module\s*\(\s*['"]matplotlib['"]`,
	`sys\.modules\[['"]matplotlib['"]\]`,
}, "|") + `)`)

// Used reports whether a Python program may draw figures.
func Used(code string) bool { return imports.MatchString(code) }

// Wrap returns a Python program that runs code and describes its figures.
func Wrap(code string) string {
	return figures + strings.Replace(wrapper, "@CODE@", base64.StdEncoding.EncodeToString([]byte(code)), 1)
}

// Extract splits a program's output into what it printed and the figures it
// showed. A description that is damaged is dropped.
func Extract(output []byte) (rest []byte, found []Chart) {
	if !bytes.Contains(output, []byte(marker)) {
		return output, nil
	}
	rest = make([]byte, 0, len(output))
	for len(output) > 0 {
		line := output
		if end := bytes.IndexByte(output, '\n'); end >= 0 {
			line = output[:end+1]
		}
		output = output[len(line):]
		// The program may have printed something without ending the line.
		before, described, ok := bytes.Cut(line, []byte(marker))
		rest = append(rest, before...)
		if !ok {
			continue
		}
		if chart, ok := Parse(described); ok {
			found = append(found, chart)
		}
	}
	return rest, found
}

// Parse reads one description. It reports whether it is one.
func Parse(described []byte) (Chart, bool) {
	decoder := json.NewDecoder(bytes.NewReader(described))
	decoder.UseNumber()
	var artifact struct {
		Type  string         `json:"type"`
		Value map[string]any `json:"value"`
	}
	if decoder.Decode(&artifact) != nil || artifact.Type != "chart" || artifact.Value == nil {
		return nil, false
	}
	return normalise(artifact.Value), true
}
