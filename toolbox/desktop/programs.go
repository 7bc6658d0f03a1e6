package desktop

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"

	"daytona/internal/fault"
	"daytona/toolbox/launch"
)

// program says how one of the desktop's processes is run. The names are those
// that clients know, whatever program does the work.
type program struct {
	name     string
	priority int // the lower starts first
	path     string
	args     []string
	env      map[string]string
	// needsDisplay: it is not started before the X server answers.
	needsDisplay bool
	// It has begun to work when it prints a line that starts with line, or a
	// window manager has announced itself, or the port can be connected to.
	line    string
	manager bool
	port    int
}

// managers are the window managers that are used, the first that is there: what
// an image brings of its own comes before the smallest one.
var managers = []string{"startxfce4", "xfwm4", "openbox-session", "openbox", "icewm", "fluxbox", "jwm"}

// layout is what the environment says of the desktop.
type layout struct {
	display       int
	width, height int
	vnc, web      int // ports
}

var resolution = regexp.MustCompile(`^([1-9][0-9]{1,4})x([1-9][0-9]{1,4})(x24)?$`)

// maxSide bounds the screen: one of 7680x7680 takes 225 MB.
const maxSide = 7680

// readLayout reads VNC_RESOLUTION (default 1024x768), VNC_PORT (5901) and
// NO_VNC_PORT (6080).
func readLayout(env launch.Vars) (layout, error) {
	l := layout{width: 1024, height: 768, vnc: 5901, web: 6080}
	if text := env["VNC_RESOLUTION"]; text != "" {
		m := resolution.FindStringSubmatch(text)
		if m == nil {
			return l, fault.New(fault.Invalid, "VNC_RESOLUTION must be of the form 1024x768, not %q", text)
		}
		l.width, _ = strconv.Atoi(m[1]) // digits, as the pattern says
		l.height, _ = strconv.Atoi(m[2])
		if max(l.width, l.height) > maxSide || min(l.width, l.height) < 64 {
			return l, fault.New(fault.Invalid, "VNC_RESOLUTION must be from 64x64 to %dx%d, not %q", maxSide, maxSide, text)
		}
	}
	for name, p := range map[string]*int{"VNC_PORT": &l.vnc, "NO_VNC_PORT": &l.web} {
		text := env[name]
		if text == "" {
			continue
		}
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 65535 {
			return l, fault.New(fault.Invalid, "%s must be a port, not %q", name, text)
		}
		*p = n
	}
	return l, nil
}

// programs returns what the desktop consists of in this sandbox, and the names
// of the parts whose program is missing.
func (s *Service) programs(l layout) (all []program, missing []string) {
	display := fmt.Sprintf(":%d", l.display)
	add := func(p program, candidates ...string) {
		for _, name := range candidates {
			if path, ok := s.program(name); ok {
				p.path, p.args = path, append([]string{name}, p.args...)
				all = append(all, p)
				return
			}
		}
		missing = append(missing, p.name)
	}
	add(program{
		name: "xvfb", priority: 100, line: strconv.Itoa(l.display),
		args: []string{display, "-screen", "0", fmt.Sprintf("%dx%dx24", l.width, l.height),
			"-nolisten", "tcp", "-noreset", "-displayfd", "1"},
	}, "Xvfb")
	add(program{name: "xfce4", priority: 200, needsDisplay: true, manager: true}, managers...)
	add(program{
		name: "atspi", priority: 250, line: "unix:",
		args: []string{"--session", "--nofork", "--nopidfile", "--print-address=1", "--address=" + s.bus()},
	}, "dbus-daemon")
	add(program{
		name: "x11vnc", priority: 300, needsDisplay: true, line: "PORT=",
		args: []string{"-display", display, "-forever", "-shared", "-nopw", "-quiet", "-rfbport", strconv.Itoa(l.vnc)},
	}, "x11vnc")
	add(program{
		name: "novnc", priority: 400, port: l.web,
		args: []string{"--web", "/usr/share/novnc", strconv.Itoa(l.web), fmt.Sprintf("127.0.0.1:%d", l.vnc)},
	}, "websockify")
	return all, missing
}

// folder is where the desktop keeps its logs and its bus.
func (s *Service) folder() string {
	return filepath.Join(s.Space.Home(), ".daytona", "computeruse")
}

// bus is the address of the session's message bus, by which programs offer
// their accessibility tree.
func (s *Service) bus() string { return "unix:path=" + filepath.Join(s.folder(), "bus") }
