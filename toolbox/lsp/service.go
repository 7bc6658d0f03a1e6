// Package lsp answers questions about code by the language servers that the
// sandbox's image has: one server for each language and project, started when
// it is needed and ended when it is not.
package lsp

import (
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"daytona/internal/fault"
	"daytona/toolbox/launch"
	"daytona/toolbox/wire"
)

const codeNotInitialized = "LSP_SERVER_NOT_INITIALIZED"

// Config is what a Service needs.
type Config struct {
	Space *launch.Space
	Log   *slog.Logger
	// MaxServers is how many servers run at a time. For one more, the one that
	// was used longest ago is ended. Defaults to what the sandbox's memory
	// allows.
	MaxServers int
	// Idle is after what time without a call a server is ended. Defaults to
	// ten minutes.
	Idle time.Duration
	// StartLimit bounds the start of a server, AskLimit one question to it.
	// Each defaults to one minute.
	StartLimit, AskLimit time.Duration
}

// Service answers the routes below /lsp.
type Service struct {
	Config

	mu       sync.Mutex // guards what follows, and the project's fields that say so
	projects map[key]*project
	running  int // servers that run or are being started
}

// key is what there is one server for.
type key struct{ language, dir string }

// maxProjects bounds the projects that have been started and not stopped. What
// each costs without a server is its list of open documents.
const maxProjects = 1000

// New returns a service.
func New(c Config) *Service {
	if c.Idle == 0 {
		c.Idle = 10 * time.Minute
	}
	if c.StartLimit == 0 {
		c.StartLimit = time.Minute
	}
	if c.AskLimit == 0 {
		c.AskLimit = time.Minute
	}
	return &Service{Config: c, projects: map[key]*project{}}
}

// Routes are the routes that the service answers.
func (s *Service) Routes() []wire.Route {
	return []wire.Route{
		{Pattern: "POST /lsp/start", Handler: s.Start},
		{Pattern: "POST /lsp/stop", Handler: s.Stop},
		{Pattern: "POST /lsp/did-open", Handler: s.DidOpen},
		{Pattern: "POST /lsp/did-close", Handler: s.DidClose},
		{Pattern: "POST /lsp/completions", Handler: s.Completions},
		{Pattern: "GET /lsp/document-symbols", Handler: s.DocumentSymbols},
		// The first era's clients, and the newer ones.
		{Pattern: "GET /lsp/workspace-symbols", Handler: s.WorkspaceSymbols},
		{Pattern: "GET /lsp/workspacesymbols", Handler: s.WorkspaceSymbols},
		// Past what the published clients know.
		{Pattern: "POST /lsp/hover", Handler: s.Hover},
		{Pattern: "GET /lsp/diagnostics", Handler: s.Diagnostics},
	}
}

// Close ends every server.
func (s *Service) Close() {
	s.mu.Lock()
	var all []*server
	for k, p := range s.projects {
		delete(s.projects, k)
		p.removed = true
		if live := s.dropLocked(p); live != nil {
			all = append(all, live)
		}
	}
	s.mu.Unlock()
	for _, live := range all {
		live.kill(errStopped)
		<-live.done
	}
}

// identify returns the language and the directory that a client names.
func (s *Service) identify(languageID, pathToProject string) (*language, string, error) {
	switch {
	case languageID == "":
		return nil, "", fault.New(fault.Invalid, "languageId is required")
	case pathToProject == "":
		return nil, "", fault.New(fault.Invalid, "pathToProject is required")
	}
	l, err := languageOf(languageID)
	if err != nil {
		return nil, "", err
	}
	if err := checkPath(pathToProject); err != nil {
		return nil, "", err
	}
	return l, filepath.Clean(s.Space.Dir(pathToProject)), nil
}

// find returns a project that has been started.
func (s *Service) find(languageID, pathToProject string) (*project, error) {
	l, dir, err := s.identify(languageID, pathToProject)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.projects[key{l.id, dir}]
	if p == nil {
		return nil, errRemoved
	}
	return p, nil
}

// add returns the project of a language and directory, and whether it is new.
func (s *Service) add(l *language, dir string) (*project, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := key{l.id, dir}
	if p := s.projects[k]; p != nil {
		return p, false, nil
	}
	if len(s.projects) >= maxProjects {
		return nil, false, fault.New(fault.TooMany, "language servers have been started for %d projects; stop some first", maxProjects)
	}
	p := &project{
		service: s, language: l, dir: dir, turn: make(chan struct{}, 1),
		docs: documents{language: l, open: map[string]*document{}},
	}
	s.projects[k] = p
	return p, true, nil
}

// remove forgets a project and ends its server.
func (s *Service) remove(p *project) {
	s.mu.Lock()
	if !p.removed {
		delete(s.projects, key{p.language.id, p.dir})
		p.removed = true
	}
	live := s.dropLocked(p)
	s.mu.Unlock()
	if live != nil {
		live.kill(errStopped)
		<-live.done
	}
}

// dropLocked takes the server away from a project.
func (s *Service) dropLocked(p *project) *server {
	live := p.server
	if live == nil {
		return nil
	}
	p.server = nil
	s.running--
	p.idle.Stop()
	return live
}

// begin counts a call, unless the project was removed.
func (s *Service) begin(p *project) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.removed {
		return false
	}
	p.calls++
	return true
}

// finish is the end of a call: from now on the server may be idle.
func (s *Service) finish(p *project) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p.calls--
	p.used = time.Now()
	if p.calls == 0 && p.server != nil {
		p.idle.Reset(s.Idle)
	}
}

// expire ends a server that has been idle for long enough.
func (s *Service) expire(p *project) {
	s.mu.Lock()
	var live *server
	if p.calls == 0 && time.Since(p.used) >= s.Idle {
		live = s.dropLocked(p)
	}
	s.mu.Unlock()
	if live != nil {
		live.kill(errIdle)
	}
}

func (s *Service) current(p *project) *server {
	s.mu.Lock()
	defer s.mu.Unlock()
	return p.server
}

// attach gives a project its server, unless the project was removed meanwhile.
func (s *Service) attach(p *project, live *server) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.removed {
		s.running--
		return false
	}
	p.server = live
	if p.idle == nil {
		p.idle = time.AfterFunc(s.Idle, func() { s.expire(p) })
	}
	return true
}

// detach takes a server that has ended away from a project. It reports whether
// the project still had it.
func (s *Service) detach(p *project, live *server) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.server != live {
		return false
	}
	s.dropLocked(p)
	return true
}

// makeRoom counts one more server for a project. When there are too many it
// ends the one that was used longest ago and that nobody waits for.
func (s *Service) makeRoom(p *project) error {
	limit := s.MaxServers
	if limit == 0 {
		limit = serversFor(memory())
	}
	s.mu.Lock()
	if p.removed {
		s.mu.Unlock()
		return errRemoved
	}
	var victim *server
	if s.running >= limit {
		var oldest *project
		for _, other := range s.projects {
			if other.server != nil && other.calls == 0 && (oldest == nil || other.used.Before(oldest.used)) {
				oldest = other
			}
		}
		if oldest == nil {
			s.mu.Unlock()
			return fault.New(fault.TooMany, "%d language servers are busy, as many as this sandbox's memory allows; try again when one has answered", limit)
		}
		victim = s.dropLocked(oldest)
	}
	s.running++
	s.mu.Unlock()
	if victim != nil {
		victim.kill(errIdle)
		<-victim.done // its memory is needed
	}
	return nil
}

// giveRoom counts one server less.
func (s *Service) giveRoom() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running--
}
