package oci

import (
	"debug/buildinfo"
	"time"

	"daytona/internal/fault"
	"daytona/internal/lazyregexp"
)

// EngineInfo reads from an engine's executable which Go module it was built
// from and in which version. The date is that of the version's commit; it is
// zero when the version does not tell, as with a plain release number.
func EngineInfo(path string) (mod, version string, date time.Time, err error) {
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return "", "", time.Time{}, fault.Wrap(err, fault.Unavailable, "the engine %s is missing or is not a Go program", path)
	}
	m := info.Main
	// A tool that was built from a module that depends on it is not the main
	// module of its own binary.
	if m.Version == "" || m.Version == "(devel)" {
		for _, d := range info.Deps {
			if hasModule(info.Path, d.Path) {
				m = *d
				break
			}
		}
	}
	return m.Path, m.Version, versionDate(m.Version), nil
}

// pseudoVersion matches the end of a version that Go made from a commit: the
// commit's time in UTC and the start of its hash.
var pseudoVersion = lazyregexp.New(`[-.](\d{14})-[0-9a-f]{12}$`)

func versionDate(version string) time.Time {
	m := pseudoVersion.FindStringSubmatch(version)
	if m == nil {
		return time.Time{}
	}
	t, err := time.Parse("20060102150405", m[1])
	if err != nil {
		return time.Time{}
	}
	return t
}

// Static reports whether an executable built by Go needs no other file to run.
func Static(path string) bool {
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return false
	}
	for _, s := range info.Settings {
		if s.Key == "CGO_ENABLED" {
			return s.Value == "0"
		}
	}
	return true
}

// hasModule reports whether the package pkg is part of the module mod.
func hasModule(pkg, mod string) bool {
	return pkg == mod || len(pkg) > len(mod) && pkg[:len(mod)] == mod && pkg[len(mod)] == '/'
}
