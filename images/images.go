// Package images holds the definitions of the snapshots that the product makes
// itself. A definition is data: a list of scripts, and what the image's
// configuration shall say afterwards.
package images

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

//go:embed slim desktop full
var files embed.FS

// Definition says how a snapshot is made from a Debian base, or from another
// snapshot.
type Definition struct {
	Name string `yaml:"name"`
	// Base names the snapshot that this one is made on top of; "" is the
	// Debian base.
	Base   string `yaml:"base"`
	Steps  []Step `yaml:"steps"`
	Config Config `yaml:"config"`
	// Hash names the content of the whole definition, and of those below it:
	// another hash means that an image made from it is out of date.
	Hash string `yaml:"-"`
}

// Step is one script, run as root in a sandbox made from the base.
type Step struct {
	Name   string `yaml:"name"`   // what a person reads while it runs
	Script string `yaml:"script"` // file in the definition's folder; its text after Load
	// Keep says that a build which is broken off goes on behind this step.
	Keep bool `yaml:"keep"`
}

// Config is what the finished image says of itself.
type Config struct {
	User       string   `yaml:"user"`
	WorkDir    string   `yaml:"workdir"`
	Entrypoint []string `yaml:"entrypoint"`
	Env        []string `yaml:"env"` // KEY=value
}

// Slim returns the definition of the default snapshot.
func Slim() (Definition, error) { return Load(files, "slim") }

// All returns every definition, each after the one that it is made on top of.
func All() ([]Definition, error) {
	var all []Definition
	for _, dir := range []string{"slim", "desktop", "full"} {
		d, err := Load(files, dir)
		if err != nil {
			return nil, err
		}
		if d.Base != "" {
			base, ok := find(all, d.Base)
			if !ok {
				return nil, fmt.Errorf("image definition %s: its base %s is not defined before it", dir, d.Base)
			}
			d.Hash = d.on(base)
		}
		all = append(all, d)
	}
	return all, nil
}

// Named returns the definitions of these names, and of what they are made on
// top of, in the order in which they are to be made. An unknown name is an
// error that says which there are.
func Named(names ...string) ([]Definition, error) {
	all, err := All()
	if err != nil {
		return nil, err
	}
	wanted := map[string]bool{}
	for _, name := range names {
		for name != "" {
			d, ok := find(all, name)
			if !ok {
				var known []string
				for _, d := range all {
					known = append(known, d.Name)
				}
				return nil, fmt.Errorf("%q is not one of %s", name, strings.Join(known, ", "))
			}
			wanted[name] = true
			name = d.Base
		}
	}
	return slices.DeleteFunc(all, func(d Definition) bool { return !wanted[d.Name] }), nil
}

func find(all []Definition, name string) (Definition, bool) {
	i := slices.IndexFunc(all, func(d Definition) bool { return d.Name == name })
	if i < 0 {
		return Definition{}, false
	}
	return all[i], true
}

// on is the hash of d made on top of base.
func (d Definition) on(base Definition) string {
	sum := sha256.Sum256([]byte(base.Hash + "\n" + d.Hash))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Load reads the definition in a folder: definition.yaml and the scripts that
// it names. An unknown field, a missing script or an empty name is an error.
func Load(fsys fs.FS, dir string) (Definition, error) {
	var d Definition
	f, err := fsys.Open(path.Join(dir, "definition.yaml"))
	if err != nil {
		return d, fmt.Errorf("image definition: %w", err)
	}
	defer func() { _ = f.Close() }() // it was only read
	hash := sha256.New()
	dec := yaml.NewDecoder(f)
	dec.KnownFields(true)
	if err := dec.Decode(&d); err != nil {
		return d, fmt.Errorf("image definition %s: %w", dir, err)
	}
	if d.Name == "" || len(d.Steps) == 0 {
		return d, fmt.Errorf("image definition %s: name and steps are required", dir)
	}
	fmt.Fprintf(hash, "%q %q\n", d.Name, d.Config)
	for i := range d.Steps {
		step := &d.Steps[i]
		text, err := fs.ReadFile(fsys, path.Join(dir, step.Script))
		if err != nil {
			return d, fmt.Errorf("image definition %s: step %q: %w", dir, step.Name, err)
		}
		step.Script = string(text)
		fmt.Fprintf(hash, "%q\n", step.Script)
	}
	d.Hash = "sha256:" + hex.EncodeToString(hash.Sum(nil))
	return d, nil
}
