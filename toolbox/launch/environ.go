package launch

import (
	"maps"
	"slices"
	"strings"
	"sync"

	"daytona/internal/fault"
)

// Environ is the environment that every new process gets: that of the toolbox,
// without its secrets, below what the sandbox was given.
type Environ struct {
	mu   sync.Mutex // guards vars
	vars map[string]string
}

// NewEnviron takes "K=V" pairs as os.Environ returns them, leaving out the
// names in secret.
func NewEnviron(pairs []string, secret ...string) *Environ {
	e := &Environ{vars: map[string]string{
		"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
	}}
	for _, pair := range pairs {
		name, value, ok := strings.Cut(pair, "=")
		if ok && name != "" && !slices.Contains(secret, name) {
			e.vars[name] = value
		}
	}
	return e
}

// Set lays vars over the environment of processes started from now on.
func (e *Environ) Set(vars map[string]string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	maps.Copy(e.vars, vars)
}

// Change takes out the variables named in unset, and those whose value begins
// with prefix unless that is "", and then sets vars, all at once.
func (e *Environ) Change(vars map[string]string, unset []string, prefix string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, name := range unset {
		delete(e.vars, name)
	}
	if prefix != "" {
		maps.DeleteFunc(e.vars, func(_, value string) bool { return strings.HasPrefix(value, prefix) })
	}
	maps.Copy(e.vars, vars)
}

// Get returns one variable, or "".
func (e *Environ) Get(name string) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.vars[name]
}

// With returns a copy of the environment with vars laid over it.
func (e *Environ) With(vars map[string]string) Vars {
	e.mu.Lock()
	merged := make(Vars, len(e.vars)+len(vars))
	maps.Copy(merged, e.vars)
	e.mu.Unlock()
	maps.Copy(merged, vars)
	return merged
}

// Vars is one process's environment.
type Vars map[string]string

// Pairs returns the variables as "K=V", in the order of their names.
func (v Vars) Pairs() []string {
	pairs := make([]string, 0, len(v))
	for _, name := range slices.Sorted(maps.Keys(v)) {
		pairs = append(pairs, name+"="+v[name])
	}
	return pairs
}

// CheckVars returns a fault that names the first variable which no shell could
// read, or which the kernel would not take.
func CheckVars(vars map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		if !validName(name) {
			return fault.New(fault.Invalid, "invalid environment variable name: '%s'", name)
		}
		if strings.ContainsRune(vars[name], 0) {
			return fault.New(fault.Invalid, "value of environment variable '%s' contains a NUL byte", name)
		}
	}
	return nil
}

func validName(name string) bool {
	for i, c := range []byte(name) {
		letter := c == '_' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return name != ""
}
