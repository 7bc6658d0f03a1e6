package options

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// Sources are where settings come from, weakest first.
type Sources struct {
	File     []byte // YAML; nil is none
	FileName string // for messages
	Env      func(name string) (string, bool)
	Flags    *pflag.FlagSet
}

// Load reads every source and checks the values in force. It returns all
// problems at once, each naming the option and the place that was wrong.
func (s *Set) Load(from Sources) error {
	var errs []error
	errs = append(errs, s.loadFile(from.File, from.FileName)...)
	for _, o := range s.options {
		if from.Env == nil {
			break
		}
		if text, ok := from.Env(s.Env(o.Name)); ok && text != "" {
			errs = append(errs, o.set([]string{text}, s.Env(o.Name)))
		}
	}
	if from.Flags != nil {
		for _, o := range s.options {
			f := from.Flags.Lookup(o.Name)
			if f == nil || !f.Changed {
				continue
			}
			if v, ok := f.Value.(*flagValue); ok {
				errs = append(errs, o.set(v.given, "--"+o.Name))
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err // values in force are not what was meant: checking them would confuse
	}
	for _, o := range s.options {
		if o.Check == nil {
			continue
		}
		if err := o.Check(); err != nil {
			place := o.changed
			if place == "" {
				place = "--" + o.Name
			}
			errs = append(errs, fmt.Errorf("%s: %w", place, err))
		}
	}
	return errors.Join(errs...)
}

func (o *Option) set(texts []string, place string) error {
	var err error
	if o.Value.Many() {
		err = o.Value.SetAll(texts)
	} else {
		err = o.Value.Set(texts[len(texts)-1])
	}
	if err != nil {
		return fmt.Errorf("%s: %w", place, err)
	}
	o.changed = place
	return nil
}

func (s *Set) loadFile(data []byte, name string) []error {
	if data == nil {
		return nil
	}
	var root yaml.Node
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	if err := decoder.Decode(&root); errors.Is(err, io.EOF) {
		return nil // empty, or comments alone
	} else if err != nil {
		return []error{fmt.Errorf("%s: %w", name, err)}
	}
	if err := decoder.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return []error{fmt.Errorf("%s: must be one YAML document", name)}
	}
	top := root.Content[0]
	if top.Kind != yaml.MappingNode {
		if top.Tag == "!!null" {
			return nil
		}
		return []error{fmt.Errorf("%s: must be a YAML map of options", name)}
	}
	var errs []error
	seen := map[string]bool{}
	for i := 0; i < len(top.Content); i += 2 {
		key, node := top.Content[i], top.Content[i+1]
		place := fmt.Sprintf("%s:%d: %s", name, key.Line, key.Value)
		o := s.byName[key.Value]
		switch {
		case o == nil:
			errs = append(errs, fmt.Errorf("%s: no such option%s", place, s.nearest(key.Value)))
			continue
		case o.NotInFile:
			errs = append(errs, fmt.Errorf("%s: cannot be set in the file: it is needed to find it", place))
			continue
		case seen[key.Value]:
			errs = append(errs, fmt.Errorf("%s: given twice", place))
			continue
		}
		seen[key.Value] = true
		texts, err := texts(node)
		if err == nil && len(texts) != 1 && !o.Value.Many() {
			err = errors.New("takes one value")
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", place, err))
			continue
		}
		if len(texts) == 1 || o.Value.Many() {
			errs = append(errs, o.set(texts, place))
		}
	}
	return errs
}

// texts flattens a YAML value into what Set takes: a map into key=value.
func texts(node *yaml.Node) ([]string, error) {
	switch node.Kind {
	case yaml.AliasNode:
		return texts(node.Alias)
	case yaml.ScalarNode:
		return []string{node.Value}, nil
	case yaml.SequenceNode:
		out := make([]string, len(node.Content))
		for i, item := range node.Content {
			if item.Kind != yaml.ScalarNode {
				return nil, errors.New("must be a list of plain values")
			}
			out[i] = item.Value
		}
		return out, nil
	case yaml.MappingNode:
		var out []string
		for i := 0; i < len(node.Content); i += 2 {
			if node.Content[i+1].Kind != yaml.ScalarNode {
				return nil, errors.New("must be a map of plain values")
			}
			out = append(out, node.Content[i].Value+"="+node.Content[i+1].Value)
		}
		return out, nil
	}
	return nil, errors.New("must be a value, a list or a map")
}

// nearest suggests the option that a misspelt key may have meant.
func (s *Set) nearest(key string) string {
	plain := strings.NewReplacer("-", "", "_", "").Replace
	for _, o := range s.options {
		if strings.EqualFold(plain(o.Name), plain(key)) {
			return fmt.Sprintf(" (did you mean %s?)", o.Name)
		}
	}
	return ""
}
