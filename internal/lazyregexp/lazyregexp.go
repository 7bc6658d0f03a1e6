// Package lazyregexp compiles regular expressions when they are first used. The
// command line shares its program with the server, and a person who presses Tab
// shall not wait until the server's rules are compiled: a bounded repetition
// ({0,254}) takes a third of a millisecond.
package lazyregexp

import (
	"regexp"
	"sync"
)

// Regexp is a regular expression that may not be compiled yet.
type Regexp struct{ compile func() *regexp.Regexp }

// New returns a regular expression. One that cannot be compiled panics when it
// is first used, so a test has to use it.
func New(text string) *Regexp {
	return &Regexp{sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(text) })}
}

// MatchString reports whether s contains a match.
func (r *Regexp) MatchString(s string) bool { return r.compile().MatchString(s) }

// FindStringSubmatch returns the leftmost match and its groups, or nil.
func (r *Regexp) FindStringSubmatch(s string) []string { return r.compile().FindStringSubmatch(s) }
