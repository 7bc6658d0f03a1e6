package desktop

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"daytona/internal/fault"
	"daytona/toolbox/wire"
)

// names are the processes that clients may ask for, in their order.
var names = []string{"xvfb", "xfce4", "atspi", "x11vnc", "novnc"}

// Status is what clients are told about a process. Clients of two eras read it
// by different names.
type Status struct {
	Running      bool   `json:"Running"`
	Priority     int    `json:"Priority"`
	AutoRestart  bool   `json:"AutoRestart"`
	PID          int    `json:"Pid"`
	RunningNew   bool   `json:"running"`
	PriorityNew  int    `json:"priority"`
	RestartNew   bool   `json:"autoRestart"`
	PIDNew       int    `json:"pid,omitempty"`
	ErrorMessage string `json:"error,omitempty"`
}

// Start starts what does not run yet, and returns when all of it works.
func (s *Service) Start(w http.ResponseWriter, r *http.Request) error {
	release, err := hold(r.Context(), s.changing)
	if err != nil {
		return err
	}
	defer release()
	// What was begun is finished when the client goes away: half a desktop
	// helps nobody.
	missing, err := s.start(context.WithoutCancel(r.Context()))
	if err != nil {
		if fault.Is(err, fault.Invalid) {
			return err
		}
		return explained{fault.Wrap(err, fault.Unavailable, "Failed to start computer use: %s", err), err.Error(), ""}
	}
	message := "Computer use processes started successfully"
	if len(missing) > 0 {
		message += "; not installed in this image: " + strings.Join(missing, ", ")
	}
	return wire.JSON(w, http.StatusOK, map[string]any{"message": message, "status": s.statuses()})
}

func (s *Service) start(ctx context.Context) (missing []string, err error) {
	l, err := readLayout(s.Space.Env.With(nil))
	if err != nil {
		return nil, err
	}
	l.display = s.display()
	all, missing := s.programs(l)
	// Programs started from now on find the screen and the bus.
	vars := map[string]string{"DISPLAY": ":" + decimal(l.display)}
	if !slices.Contains(missing, "atspi") {
		vars["DBUS_SESSION_BUS_ADDRESS"] = s.bus()
	}
	s.Space.Env.Set(vars)
	for _, p := range all {
		proc := s.process(p.name)
		if proc == nil {
			if p.name == "atspi" { // a socket that an earlier bus left cannot be listened on
				if err := os.Remove(filepath.Join(s.folder(), "bus")); err != nil && !os.IsNotExist(err) {
					return nil, err
				}
			}
			if proc, err = s.run(p, l); err != nil {
				return nil, err
			}
			s.mu.Lock()
			s.processes = append(s.processes, proc)
			if p.name == "xvfb" {
				s.lent = &lent{} // a new keyboard
			}
			s.mu.Unlock()
		}
		if err := proc.await(ctx); err != nil {
			return nil, err
		}
	}
	return missing, nil
}

// Stop ends what runs, the last that was started first.
func (s *Service) Stop(w http.ResponseWriter, r *http.Request) error {
	release, err := hold(r.Context(), s.changing)
	if err != nil {
		return err
	}
	defer release()
	s.stopRecordings()
	s.mu.Lock()
	all := s.processes
	s.processes = nil
	s.mu.Unlock()
	for _, p := range slices.Backward(all) {
		p.stop()
	}
	return wire.JSON(w, http.StatusOK, map[string]any{
		"message": "Computer use processes stopped successfully", "status": s.statuses(),
	})
}

// Status answers one word: active when every process works, partial when some
// do, inactive when none was started, error when none works that should.
func (s *Service) Status(w http.ResponseWriter, _ *http.Request) error {
	return wire.JSON(w, http.StatusOK, map[string]any{"status": s.summary()})
}

// ProcessStatuses answers the old clients with every process, and the new ones,
// which ask here for the summary, with one word.
func (s *Service) ProcessStatuses(w http.ResponseWriter, r *http.Request) error {
	if wire.DialectOf(r).Old() {
		return wire.JSON(w, http.StatusOK, map[string]any{"status": s.statuses()})
	}
	return wire.JSON(w, http.StatusOK, map[string]any{"status": s.summary(), "processes": s.statuses()})
}

// ProcessStatus says whether a process runs.
func (s *Service) ProcessStatus(w http.ResponseWriter, r *http.Request) error {
	name, err := known(r)
	if err != nil {
		return err
	}
	return wire.JSON(w, http.StatusOK, map[string]any{"processName": name, "running": s.statuses()[name].Running})
}

// Restart ends a process and starts it again.
func (s *Service) Restart(w http.ResponseWriter, r *http.Request) error {
	name, err := known(r)
	if err != nil {
		return err
	}
	release, err := hold(r.Context(), s.changing)
	if err != nil {
		return err
	}
	defer release()
	p := s.process(name)
	if p == nil {
		return fault.New(fault.Invalid, "process %s is not running: call /computeruse/start first", name).WithCode(codeNotStarted)
	}
	if name == "xvfb" {
		s.mu.Lock()
		s.lent = &lent{}
		s.mu.Unlock()
	}
	p.restart()
	if err := p.await(context.WithoutCancel(r.Context())); err != nil {
		return explained{fault.Wrap(err, fault.Unavailable, "process %s could not be restarted: %s", name, err), err.Error(), ""}
	}
	return wire.JSON(w, http.StatusOK, map[string]any{"message": "Process " + name + " restarted successfully", "processName": name})
}

// Logs answers what a process has printed since the desktop was started.
func (s *Service) Logs(w http.ResponseWriter, r *http.Request) error {
	return s.showLog(w, r, ".log", "logs")
}

// Errors answers what a process has printed on its standard error.
func (s *Service) Errors(w http.ResponseWriter, r *http.Request) error {
	return s.showLog(w, r, ".err", "errors")
}

func (s *Service) showLog(w http.ResponseWriter, r *http.Request, ending, member string) error {
	name, err := known(r)
	if err != nil {
		return err
	}
	text, err := readLog(filepath.Join(s.folder(), name+ending))
	if err != nil {
		return err
	}
	return wire.JSON(w, http.StatusOK, map[string]any{"processName": name, member: text})
}

// known returns the name of the process that a request is about.
func known(r *http.Request) (string, error) {
	name := r.PathValue("name")
	if !slices.Contains(names, name) {
		return "", fault.New(fault.NotFound, "process %q not found: there are %s", name, strings.Join(names, ", "))
	}
	return name, nil
}

// process returns a process that has been started, or nil.
func (s *Service) process(name string) *process {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.processes {
		if p.name == name {
			return p
		}
	}
	return nil
}

// statuses describes every process, also those that have not been started.
func (s *Service) statuses() map[string]Status {
	priority := map[string]int{"xvfb": 100, "xfce4": 200, "atspi": 250, "x11vnc": 300, "novnc": 400}
	all := map[string]Status{}
	for _, name := range names {
		st := Status{Priority: priority[name], PriorityNew: priority[name], AutoRestart: true, RestartNew: true}
		if p := s.process(name); p != nil {
			p.mu.Lock()
			st.Running, st.RunningNew, st.PID, st.PIDNew = p.ready, p.ready, p.pid, p.pid
			if p.last != nil && !p.ready {
				st.ErrorMessage = p.last.Error()
			}
			p.mu.Unlock()
		}
		all[name] = st
	}
	return all
}

func (s *Service) summary() string {
	s.mu.Lock()
	all := slices.Clone(s.processes)
	s.mu.Unlock()
	running := 0
	for _, p := range all {
		p.mu.Lock()
		if p.ready {
			running++
		}
		p.mu.Unlock()
	}
	switch {
	case len(all) == 0:
		return "inactive"
	case running == 0:
		return "error"
	case running < len(all):
		return "partial"
	}
	return "active"
}
