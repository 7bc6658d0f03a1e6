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

	"go.yaml.in/yaml/v3"
)

//go:embed slim
var files embed.FS

// Definition says how a snapshot is made from a Debian base.
type Definition struct {
	Name   string `yaml:"name"`
	Steps  []Step `yaml:"steps"`
	Config Config `yaml:"config"`
	// Hash names the content of the whole definition: another hash means that
	// an image made from it is out of date.
	Hash string `yaml:"-"`
}

// Step is one script, run as root in a sandbox made from the base.
type Step struct {
	Name   string `yaml:"name"`   // what a person reads while it runs
	Script string `yaml:"script"` // file in the definition's folder; its text after Load
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
