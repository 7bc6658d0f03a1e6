package options

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// single is a Value of one text.
type single[T any] struct {
	p      *T
	typ    string
	parse  func(string) (T, error)
	format func(T) string
}

func (v single[T]) String() string { return v.format(*v.p) }
func (v single[T]) Type() string   { return v.typ }
func (v single[T]) Many() bool     { return false }
func (v single[T]) Set(text string) error {
	parsed, err := v.parse(text)
	if err == nil {
		*v.p = parsed
	}
	return err
}
func (v single[T]) SetAll([]string) error { return errors.New("takes one value") }

// String is a setting of any text.
func String(p *string) Value {
	return single[string]{p, "string",
		func(s string) (string, error) { return s, nil }, func(s string) string { return s }}
}

// Int is a setting that is a whole number.
func Int(p *int) Value {
	return single[int]{p, "int", func(s string) (int, error) {
		n, err := strconv.Atoi(s)
		if err != nil {
			return 0, fmt.Errorf("%q is not a whole number", s)
		}
		return n, nil
	}, strconv.Itoa}
}

// Bool is a setting that is on or off.
func Bool(p *bool) Value {
	return single[bool]{p, "bool", func(s string) (bool, error) {
		b, err := strconv.ParseBool(strings.ToLower(s))
		if err != nil {
			return false, fmt.Errorf("%q is neither true nor false", s)
		}
		return b, nil
	}, strconv.FormatBool}
}

// Duration is a setting that is a length of time, such as 1m30s.
func Duration(p *time.Duration) Value {
	return single[time.Duration]{p, "duration", func(s string) (time.Duration, error) {
		d, err := time.ParseDuration(s)
		if err != nil {
			return 0, fmt.Errorf("%q is not a duration such as 30s or 1m30s", s)
		}
		return d, nil
	}, time.Duration.String}
}

// Strings is a list: a flag may be repeated, and everywhere commas separate.
func Strings(p *[]string) Value { return &list{p} }

type list struct{ p *[]string }

func (v *list) String() string { return strings.Join(*v.p, ",") }
func (v *list) Type() string   { return "list" }
func (v *list) Many() bool     { return true }
func (v *list) Set(text string) error {
	return v.SetAll([]string{text})
}
func (v *list) SetAll(texts []string) error {
	out := []string{}
	for _, text := range texts {
		for item := range strings.SplitSeq(text, ",") {
			if item = strings.TrimSpace(item); item != "" {
				out = append(out, item)
			}
		}
	}
	*v.p = out
	return nil
}

// Map is a list of name=value pairs. value parses what is behind the last "=".
func Map[T any](p *map[string]T, value func(string) (T, error)) Value { return &pairs[T]{p, value} }

type pairs[T any] struct {
	p     *map[string]T
	value func(string) (T, error)
}

func (v *pairs[T]) String() string {
	var out []string
	for _, key := range slices.Sorted(maps.Keys(*v.p)) {
		out = append(out, fmt.Sprintf("%s=%v", key, (*v.p)[key]))
	}
	return strings.Join(out, ",")
}
func (v *pairs[T]) Type() string          { return "name=value,..." }
func (v *pairs[T]) Many() bool            { return true }
func (v *pairs[T]) Set(text string) error { return v.SetAll([]string{text}) }
func (v *pairs[T]) SetAll(texts []string) error {
	out := map[string]T{}
	var l []string
	if err := Strings(&l).SetAll(texts); err != nil {
		return err
	}
	for _, pair := range l {
		i := strings.LastIndex(pair, "=")
		if i <= 0 {
			return fmt.Errorf("%q is not of the form name=value", pair)
		}
		parsed, err := v.value(pair[i+1:])
		if err != nil {
			return fmt.Errorf("%s: %w", pair[:i], err)
		}
		out[pair[:i]] = parsed
	}
	*v.p = out
	return nil
}

// Count parses a whole number that is not negative, for Map.
func Count(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%q is not a count", s)
	}
	return n, nil
}

// OneOf is a Check that a text is one of a few.
func OneOf(p *string, allowed ...string) func() error {
	return func() error {
		if slices.Contains(allowed, *p) {
			return nil
		}
		return fmt.Errorf("%q is not one of %s", *p, strings.Join(allowed, ", "))
	}
}

// AtLeast is a Check of a whole number.
func AtLeast(p *int, least int) func() error {
	return func() error {
		if *p < least {
			return fmt.Errorf("%d is less than %d", *p, least)
		}
		return nil
	}
}

// Positive is a Check of a duration.
func Positive(p *time.Duration) func() error {
	return func() error {
		if *p <= 0 {
			return fmt.Errorf("%s is not a positive duration", *p)
		}
		return nil
	}
}
