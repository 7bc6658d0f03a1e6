package lsp

import (
	"bytes"
	"context"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"daytona/internal/fault"
)

// Bounds of a search through a project.
const (
	maxSearched   = 1 << 20 // bytes of a file that is searched; larger ones are generated
	maxSources    = 20_000  // files that are searched
	maxEntries    = 200_000 // files and directories that are looked at
	maxSymbols    = 1_000   // symbols that are returned, the best first
	searchLimit   = 20 * time.Second
	maxLookedInto = 50 // files that are opened for one question of a server
)

// skipped reports whether a directory holds what others have written or what a
// program has made.
func skipped(path string) bool {
	name := filepath.Base(path)
	switch name {
	case "node_modules", "site-packages", "__pycache__", "bower_components":
		return true
	}
	if strings.HasPrefix(name, ".") {
		return true // version control, caches, and most virtual environments
	}
	_, err := os.Lstat(filepath.Join(path, "pyvenv.cfg"))
	return err == nil
}

// sources calls visit for every source file of the project that is not skipped,
// until it returns false. The search ends, without an error, where its bounds
// are reached: what was found until then is of use.
func (p *project) sources(ctx context.Context, visit func(path string, text []byte) bool) error {
	entries, files := 0, 0
	deadline := time.Now().Add(searchLimit)
	return filepath.WalkDir(p.dir, func(path string, entry fs.DirEntry, err error) error {
		if entries++; entries > maxEntries || files > maxSources || time.Now().After(deadline) {
			return filepath.SkipAll
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		switch {
		case err != nil && path == p.dir:
			return fileProblem(err, path)
		case err != nil:
			return filepath.SkipDir // unreadable, or gone meanwhile
		case entry.IsDir():
			if path != p.dir && skipped(path) {
				return filepath.SkipDir
			}
			return nil
		case !entry.Type().IsRegular() || !p.language.source(path):
			return nil
		}
		if text, _, err := readRegular(path, maxSearched); err == nil {
			if files++; !visit(path, text) {
				return filepath.SkipAll
			}
		}
		return nil
	})
}

// pythonSymbols searches the project's files itself: the usual server for
// Python cannot.
func (p *project) pythonSymbols(ctx context.Context, query string) ([]Symbol, error) {
	found := []Symbol{}
	err := p.sources(ctx, func(path string, text []byte) bool {
		if !contains(text, query) {
			return true
		}
		uri := fileURI(path)
		for _, s := range pythonSymbols(text) {
			if matches(s.Name, query) {
				s.Location.URI = uri
				found = append(found, s)
			}
		}
		return len(found) < 10*maxSymbols
	})
	return best(found, query), err
}

// contains reports whether a text contains the query, in whichever case.
func contains(text []byte, query string) bool {
	return query == "" || bytes.Contains(bytes.ToLower(text), []byte(strings.ToLower(query)))
}

// matches is the rule by which a name is found.
func matches(name, query string) bool {
	return strings.Contains(strings.ToLower(name), strings.ToLower(query))
}

// best returns the first maxSymbols symbols: names that equal the query before
// those that begin with it before the others, else in their order.
func best(all []Symbol, query string) []Symbol {
	query = strings.ToLower(query)
	rank := func(s Symbol) int {
		name := strings.ToLower(s.Name)
		switch {
		case name == query:
			return 0
		case strings.HasPrefix(name, query):
			return 1
		}
		return 2
	}
	slices.SortStableFunc(all, func(a, b Symbol) int { return rank(a) - rank(b) })
	return all[:min(len(all), maxSymbols)]
}

// askedSymbols asks the server. TypeScript knows the files that are open and
// those of their projects, so that some files in which the query occurs are
// opened for the time of the question.
func (p *project) askedSymbols(ctx context.Context, query string) ([]Symbol, error) {
	var likely []string
	err := p.sources(ctx, func(path string, text []byte) bool {
		if len(likely) == 0 || contains(text, query) {
			likely = append(likely, path)
		}
		return len(likely) < maxLookedInto
	})
	if err != nil && !fault.Is(err, fault.NotFound) {
		return nil, err
	}
	var raw json.RawMessage
	var opened []string
	var call int64
	asked := false
	err = p.do(ctx, "getting workspace symbols", func(ctx context.Context, live *server) error {
		opened, call, asked = nil, p.docs.calls, len(p.docs.open)+len(likely) > 0
		for _, path := range likely {
			if p.docs.open[path] != nil {
				continue
			}
			if err := p.docs.ensure(ctx, live, path); err != nil {
				if _, gone := asFault(err); gone {
					continue
				}
				return err
			}
			opened = append(opened, path)
		}
		return nil
	}, func(ctx context.Context, live *server) error {
		if !asked {
			return nil // there is nothing that could have a symbol
		}
		return live.conn.call(ctx, "workspace/symbol", map[string]string{"query": query}, &raw)
	})
	if err != nil {
		return nil, err
	}
	if err := p.closeAgain(ctx, opened, call); err != nil {
		return nil, err
	}
	all, err := symbols(raw, "")
	if err != nil {
		return nil, unreadable(err, p)
	}
	return best(all, query), nil
}

// closeAgain closes documents that were opened for one question, by the call of
// that number, and not used by another since.
func (p *project) closeAgain(ctx context.Context, paths []string, call int64) error {
	if len(paths) == 0 {
		return nil
	}
	return p.do(ctx, "closing documents", func(ctx context.Context, live *server) error {
		for _, path := range paths {
			if doc := p.docs.open[path]; doc == nil || doc.used != call {
				continue
			}
			if err := p.docs.close(ctx, live, path); err != nil {
				return err
			}
		}
		return nil
	}, nil)
}
