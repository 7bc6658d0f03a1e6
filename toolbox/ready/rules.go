package ready

import (
	"regexp"
	"slices"
	"strings"
	"sync"

	"daytona/toolbox/launch"
)

// tells finds what a program may use to look at things that differ between a
// fresh process and a copy of a ready one: memory and its management, the
// process as the kernel shows it, the machinery of imports, the seed of hashes.
// A program that mentions one of them, even in a comment, gets a fresh process.
var tells = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`/proc\b|\bhash\s*\(|__hash__|__subclasses__|\b(?:` + strings.Join([]string{
		"gc", "ctypes", "cffi", "psutil", "tracemalloc", "resource", "loggerDict", "disable_existing_loggers", "logging\\.config",
		"meta_path", "path_hooks", "path_importer_cache", "settrace", "setprofile", "cProfile", "profile",
		"addaudithook", "importtime", "getallocatedblocks", "_debugmallocstats", "getswitchinterval",
		"memory_profiler", "objgraph", "pympler", "_find_spec", "_ncallbacks", "pidfd_open", "prctl",
	}, "|") + `)\b`)
})

// setsVariables finds the ways by which a program changes its own variables.
var setsVariables = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`\benviron|putenv|setenv`)
})

// suits reports whether a program cannot tell a copy of a ready interpreter from
// a fresh one. asked are the variables that were read when the modules were
// imported: a program that sets one before it imports them expects an effect.
func suits(code string, asked []string) bool {
	if tells().MatchString(code) {
		return false
	}
	if !setsVariables().MatchString(code) {
		return true
	}
	for _, name := range asked {
		if strings.Contains(code, name) {
			return false
		}
	}
	for _, prefix := range prefixes {
		if len(prefix) > 3 && strings.Contains(code, prefix) {
			return false
		}
	}
	return true
}

// imports finds what a program imports.
var imports = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?m)(?:^|[;:])\s*(?:import|from)\s+([\w.]+(?:[ \t]*,[ \t]*[\w.]+)*)`)
})

// light are modules that cost little to import.
var light = []string{
	"__future__", "abc", "base64", "bisect", "calendar", "collections", "contextlib", "copy", "csv", "dataclasses", "datetime", "enum", "errno",
	"fnmatch", "functools", "glob", "hashlib", "heapq", "io", "itertools", "json", "math", "operator", "os", "pathlib", "platform", "random", "re",
	"shutil", "signal", "stat", "statistics", "string", "struct", "subprocess", "sys", "textwrap", "threading", "time", "types", "typing", "uuid",
}

// worth reports whether a program gains from a copy that has yet to be made:
// under gVisor that takes as long as several starts of Python.
func worth(code string) bool {
	for _, found := range imports().FindAllStringSubmatch(code, -1) {
		for name := range strings.SplitSeq(found[1], ",") {
			name, _, _ = strings.Cut(strings.TrimSpace(name), ".")
			if !slices.Contains(light, name) {
				return true
			}
		}
	}
	return false
}

// prefixes are the beginnings of the names of variables that are read by C code
// at the start of a process or when a library is loaded.
var prefixes = []string{
	"PYTHON", "LD_", "LC_", "LANG", "TZ", "GLIBC_", "MALLOC_", "OPENBLAS", "GOTO", "OMP_", "MKL_", "BLIS_", "KMP_",
	"NUMEXPR_", "VECLIB_", "NPY_", "DISPLAY", "WAYLAND_DISPLAY", "TMPDIR", "TEMP", "TMP", "VIRTUAL_ENV", "HOME", "PATH",
}

// alike reports whether two environments make no difference to an interpreter
// until a program reads them.
func alike(a, b launch.Vars, asked []string) bool {
	differ := func(x, y launch.Vars) bool {
		for name, value := range x {
			if other, ok := y[name]; ok && other == value {
				continue
			}
			if slices.Contains(asked, name) || slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(name, p) }) {
				return true
			}
		}
		return false
	}
	return !differ(a, b) && !differ(b, a)
}

// pairs turns "K=V" into variables.
func pairs(env []string) launch.Vars {
	vars := make(launch.Vars, len(env))
	for _, pair := range env {
		name, value, _ := strings.Cut(pair, "=")
		vars[name] = value
	}
	return vars
}
