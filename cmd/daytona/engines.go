//go:build linux

package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"daytona/runner/oci"
)

// staleAfter is the age at which an engine is likely to lack fixes.
const staleAfter = 90 * 24 * time.Hour

// program finds a program: where it is said to be, else beside this one, else in
// PATH.
func program(given, name string) (string, error) {
	if given != "" {
		return filepath.Abs(given)
	}
	if self, err := os.Executable(); err == nil {
		if self, err = filepath.EvalSymlinks(self); err == nil {
			if path := filepath.Join(filepath.Dir(self), name); isProgram(path) {
				return path, nil
			}
		}
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("%s is neither beside this program nor in PATH; say where it is with --%s", name, name)
	}
	return filepath.Abs(path)
}

func isProgram(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

// engine is what is known of an isolation engine.
type engine struct {
	name, path, version string
	date                time.Time // of its source; zero when unknown
	err                 error
}

func (e engine) age(now time.Time) (time.Duration, bool) {
	if e.date.IsZero() {
		return 0, false
	}
	return now.Sub(e.date), true
}

func engines(s *settings) []engine {
	out := []engine{{name: "runsc", path: s.Runsc}, {name: "runc", path: s.Runc}}
	for i := range out {
		e := &out[i]
		if e.path, e.err = program(e.path, e.name); e.err != nil {
			continue
		}
		_, e.version, e.date, e.err = oci.EngineInfo(e.path)
	}
	return out
}

// warnAboutEngines logs how old the engines in use are.
func warnAboutEngines(s *settings, log *slog.Logger) {
	used := map[string]string{"runsc": isolationGVisor, "runc": isolationRunc}
	for _, e := range engines(s) {
		if !slices.Contains(s.offered(), used[e.name]) || e.err != nil {
			continue // one that is missing stops the start in a moment, with its reason
		}
		age, known := e.age(time.Now())
		switch {
		case !known:
			log.Info("engine", "name", e.name, "version", e.version, "path", e.path)
		case age > staleAfter:
			log.Warn("engine is old: newer ones may have security fixes", "name", e.name, "version", e.version, "age_days", int(age.Hours()/24), "path", e.path)
		default:
			log.Info("engine", "name", e.name, "version", e.version, "age_days", int(age.Hours()/24), "path", e.path)
		}
	}
}

// printEngines writes a line for each engine.
func printEngines(w io.Writer, s *settings, now time.Time) {
	for _, e := range engines(s) {
		switch age, known := e.age(now); {
		case e.err != nil:
			fmt.Fprintf(w, "%s: not found (%v)\n", e.name, e.err)
		case !known:
			fmt.Fprintf(w, "%s %s at %s\n", e.name, e.version, e.path)
		default:
			stale := ""
			if age > staleAfter {
				stale = ", stale"
			}
			fmt.Fprintf(w, "%s %s, %d days old%s, at %s\n", e.name, e.version, int(age.Hours()/24), stale, e.path)
		}
	}
}
