// Package options reads a program's settings from flags, the environment and a
// YAML file, in that precedence, from one declaration of each setting. The help
// text, the names in all three places and the checks come from the same
// declaration, so they cannot drift apart.
package options

import (
	"fmt"
	"strings"

	"github.com/spf13/pflag"
)

// Option is one setting. Its name is that of the flag and of the YAML key; the
// name of its environment variable is made of it.
type Option struct {
	Name  string
	Group string // heading in the help text
	Help  string // ends without a full stop
	Value Value  // holds the default
	// NotInFile is for what must be known before the file is read.
	NotInFile bool
	// Check says what is wrong with the value in force, without naming the
	// option; nil accepts everything.
	Check func() error

	changed string // where the value came from, "" for the default
}

// Value parses and holds a setting.
type Value interface {
	pflag.Value
	// SetAll replaces the value with those of a YAML list or map, each in the
	// form that Set takes.
	SetAll(texts []string) error
	// Many says whether a YAML list or map may be given.
	Many() bool
}

// Set is a program's settings.
type Set struct {
	prefix  string // of environment variables, such as DAYTONA_
	options []*Option
	byName  map[string]*Option
}

// New returns an empty Set.
func New(envPrefix string) *Set { return &Set{prefix: envPrefix, byName: map[string]*Option{}} }

// Add declares options. Declaring a name twice is a mistake in the program.
func (s *Set) Add(options ...Option) {
	for _, o := range options {
		if s.byName[o.Name] != nil {
			panic("options: " + o.Name + " is declared twice")
		}
		s.options = append(s.options, &o)
		s.byName[o.Name] = &o
	}
}

// Env is the name of an option's environment variable.
func (s *Set) Env(name string) string {
	return s.prefix + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

// Has reports whether an option is declared.
func (s *Set) Has(name string) bool { return s.byName[name] != nil }

// All lists the options in the order of their declaration.
func (s *Set) All() []*Option { return s.options }

// Flags declares a flag for each option. Their values are read by Load, from the
// flag set's record of what was given.
func (s *Set) Flags(flags *pflag.FlagSet) {
	for _, o := range s.options {
		f := flags.VarPF(&flagValue{typ: o.Value.Type(), def: o.Value.String()}, o.Name, "", fmt.Sprintf("%s [%s]", o.Help, s.Env(o.Name)))
		if o.Value.Type() == "bool" {
			f.NoOptDefVal = "true"
		}
	}
}

// flagValue keeps what was given on the command line until Load has read what is
// weaker than flags.
type flagValue struct {
	typ, def string
	given    []string
}

func (v *flagValue) String() string { return v.def }
func (v *flagValue) Type() string   { return v.typ }
func (v *flagValue) Set(text string) error {
	v.given = append(v.given, text)
	return nil
}
