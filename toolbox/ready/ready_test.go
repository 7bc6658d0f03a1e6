package ready

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"daytona/toolbox/launch"
	"daytona/toolbox/reaper"
)

// The orphans of a template must come to this process, which must then be alone
// with its children, so the tests run this program again in a role.
const roleVariable = "READY_TEST_ROLE"

var roles = map[string]func(*world) error{
	"alike": probesAreAlike, "unlike": probesNeedAFreshProcess, "apart": copiesAreApart, "ends": endsAndFailures,
}

func TestMain(m *testing.M) {
	if role, ok := roles[os.Getenv(roleVariable)]; ok {
		w, err := newWorld()
		if err == nil {
			err = errors.Join(role(w), w.close())
		}
		if err != nil {
			fmt.Println("FAIL:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// python is an interpreter that is no script.
const python = "/usr/bin/python3"

func inRole(t *testing.T, role string, env ...string) {
	t.Helper()
	if exec.CommandContext(t.Context(), python, "-c", "import ctypes, gc; gc.freeze()").Run() != nil {
		t.Skip(python + " is not installed")
	}
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	makeLibrary(t, dir)
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
	cmd.Dir = dir
	cmd.Env = append([]string{roleVariable + "=" + role, "PATH=/usr/bin:/bin", "LANG=C.UTF-8", "HOME=" + dir, "B=2", "A=1"}, env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v: %s", err, out)
	} else if len(out) > 0 {
		t.Log(string(out))
	}
}

// makeLibrary makes a library whose last words are due at the end of a process:
// those that it prints and those that it still holds. Python loads it before it
// finds that it is no module.
func makeLibrary(t *testing.T, dir string) {
	t.Helper()
	if _, err := exec.LookPath("gcc"); err != nil {
		return
	}
	code := `#include <stdio.h>
		#include <unistd.h>
		__attribute__((constructor)) static void begin(void) { fputs("held back, ", fdopen(dup(1), "w")); }
		__attribute__((destructor)) static void end(void) { (void)!write(1, "farewell, ", 10); }`
	source := filepath.Join(dir, "farewell.c")
	if err := os.WriteFile(source, []byte(code), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "gcc", "-shared", "-fPIC", "-o", filepath.Join(dir, "farewell.so"), source).CombinedOutput()
	if err != nil {
		t.Fatalf("gcc: %v: %s", err, out)
	}
}

func TestAlike(t *testing.T)           { inRole(t, "alike") }
func TestAlikeInNoLocale(t *testing.T) { inRole(t, "alike", "LANG=", "ONLY=environment") }
func TestUnlike(t *testing.T)          { inRole(t, "unlike") }
func TestCopiesAreApart(t *testing.T)  { inRole(t, "apart") }
func TestEndsAndFailures(t *testing.T) { inRole(t, "ends") }

// world is a toolbox's surroundings.
type world struct {
	dir   string
	space *launch.Space
	ready *Interpreter
	short atomic.Bool // of memory
}

// modules are imported beforehand: those that come with Python, and what else
// there may be.
var modules = []string{
	"numpy", "numpy.random", "ctypes", "json", "logging", "random", "uuid", "tempfile", "decimal", "asyncio", "concurrent.futures", "multiprocessing",
	"xml.etree.ElementTree", "urllib.request", "email.message", "sqlite3",
	"no_such_module",
}

func newWorld() (*world, error) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, err
	}
	dir, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	env := launch.NewEnviron(os.Environ(), roleVariable, "ONLY")
	env.Set(map[string]string{"TOOLBOX_PID": fmt.Sprint(os.Getpid())})
	w := &world{dir: dir, space: &launch.Space{Table: reaper.Adopt(), Env: env, WorkDir: dir}}
	w.ready = New(Config{
		Space: w.space, Modules: modules, Enough: func() bool { return !w.short.Load() }, Look: 5 * time.Millisecond,
		Log: slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{Level: slog.LevelInfo})),
	})
	return w, w.warm()
}

// warm waits until a copy waits for orders.
func (w *world) warm() error {
	w.ready.prepare()
	return within(time.Minute, "ready", func() bool { return w.spare() != nil })
}

func (w *world) spare() *spare {
	w.ready.mu.Lock()
	t := w.ready.template
	w.ready.mu.Unlock()
	if t == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.spare
}

// ended reports whether there is no template that could make a copy.
func (i *Interpreter) ended() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.template == nil
}

func (w *world) close() error {
	w.ready.Close()
	return within(10*time.Second, "no process left", func() bool { return w.space.Table.Running() == 0 })
}

func within(d time.Duration, what string, done func() bool) error {
	for deadline := time.Now().Add(d); !done(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: not within %v", what, d)
		}
	}
	return nil
}

// probe is a program and what it is run with.
type probe struct {
	name, code string
	args       []string
	env        map[string]string
}

var errNotReady = errors.New("the ready interpreter was not used")

// run runs a probe and tells how it went: its output and how it ended.
func (w *world) run(p probe, ready bool) (string, error) {
	stdin, err := launch.MemoryFile("stdin", []byte(p.code))
	if err != nil {
		return "", err
	}
	defer stdin.Close()
	reader, writer, err := os.Pipe()
	if err != nil {
		return "", err
	}
	defer reader.Close()
	c := reaper.Command{
		Path: python, Args: append([]string{"python3", "-u", "-"}, p.args...), Env: w.space.Env.With(p.env).Pairs(), Dir: w.dir,
		Stdin: stdin, Stdout: writer, Stderr: writer,
	}
	var child *reaper.Child
	if ready {
		if !worth(p.code) { // it takes a copy that waits, or none
			_ = within(2*time.Second, "spare", func() bool { return w.ready.ended() || w.spare() != nil })
		}
		var ok bool
		if child, ok = w.ready.Start(context.Background(), c, p.code); !ok {
			writer.Close()
			return "", errNotReady
		}
	} else if child, err = w.space.Table.Start(c); err != nil {
		writer.Close()
		return "", err
	}
	writer.Close()
	var out bytes.Buffer
	copied := make(chan error, 1)
	go func() {
		_, err := out.ReadFrom(reader)
		copied <- err
	}()
	select {
	case <-child.Done():
	case <-time.After(time.Minute):
		child.KillTree()
		return "", errors.New("does not end")
	}
	if err := <-copied; err != nil {
		return "", err
	}
	text := addresses.ReplaceAllString(out.String(), "0x")
	return fmt.Sprintf("%s[status %x]", text, uint32(child.Status())), nil
}

// probesAreAlike runs programs both ways and compares what they print and how
// they end.
func probesAreAlike(w *world) error {
	only := os.Getenv("ONLY")
	var failures []error
	for name, content := range map[string]string{"helper.py": "import json\nvalue = json.dumps([1])\ndef fail():\n    raise KeyError('helper')\n"} {
		if err := os.WriteFile(filepath.Join(w.dir, name), []byte(content), 0o600); err != nil {
			return err
		}
	}
	all := probes()
	last := probe{name: "a library at the end", code: "try:\n    import farewell\nexcept ImportError: print('loaded')"}
	if _, err := os.Stat("farewell.so"); err == nil {
		if got, err := w.run(last, false); err != nil || got != "loaded\nfarewell, held back, [status 0]" {
			return fmt.Errorf("%s: %q, %w", last.name, got, err)
		}
		all = append(all, last)
	}
	for _, p := range all {
		if only != "" && !strings.Contains(p.name, only) {
			continue
		}
		want, err := w.run(p, false)
		if err != nil {
			return fmt.Errorf("%s, fresh: %w", p.name, err)
		}
		got, err := w.run(p, true)
		if err != nil {
			failures = append(failures, fmt.Errorf("%s: %w", p.name, err))
		} else if got != want {
			failures = append(failures, fmt.Errorf("%s:\n%s", p.name, difference(want, got)))
		}
	}
	return errors.Join(failures...)
}

// difference shows where two texts begin to differ.
func difference(want, got string) string {
	at := 0
	for at < len(want) && at < len(got) && want[at] == got[at] {
		at++
	}
	part := func(s string) string { return s[max(0, at-100):min(len(s), at+300)] }
	return fmt.Sprintf("--- fresh, …\n%s\n--- ready, …\n%s", part(want), part(got))
}

// addresses differ from one process to the next.
var addresses = regexp.MustCompile(`0x[0-9a-f]+`)

func probes() []probe {
	all := []probe{
		{name: "nothing", code: "# nothing"},
		{name: "modules at the start", code: "import sys; print(list(sys.modules))"},
		{name: "the module", code: "print({k: str(v) for k, v in globals().items()})"},
		{name: "built-in names", code: "import builtins; print(sorted(dir(builtins)), type(__builtins__))"},
		{name: "arguments", code: "import sys; print(sys.argv, sys.orig_argv)", args: []string{"one", "two words", "-x", "☃"}},
		{name: "no arguments", code: "import sys; print(sys.argv, sys.orig_argv)"},
		{name: "settings", code: "import sys; print(sys.flags, sys.path, sys.executable, sys.prefix, sys.warnoptions, sys._xoptions, sys.getrecursionlimit(), sys.dont_write_bytecode, sys.platform, sys.getfilesystemencoding(), sys.gettrace(), sys.getprofile(), hasattr(sys, 'last_type'), sys.exc_info(), sys.displayhook, sys.excepthook)"},
		{name: "environment", code: "import os; print([(k, v) for k, v in os.environ.items()], flush=True); os.system('env | grep -v ^_='); import subprocess; print(subprocess.run(['env'], capture_output=True).stdout)", env: map[string]string{"C": "3", "A": "other"}},
		{name: "environment as it was", code: "import os; print(dict(os.environ)); import locale, sys; print(locale.setlocale(locale.LC_ALL), sys.stdout.encoding, sys.stdin.encoding, locale.getpreferredencoding())"},
		{name: "process", code: "import os; print(os.getppid() == int(os.environ['TOOLBOX_PID']), os.getpgrp() == os.getpid(), os.getsid(0) == os.getsid(os.getppid()), os.getuid(), os.getgroups(), os.getcwd(), os.umask(0), os.nice(0), os.times().children_user, os.cpu_count(), os.sched_getaffinity(0))"},
		{name: "limits", code: "import os; os.system('ulimit -a; ulimit -Ha')"},
		{name: "descriptors", code: "import os\nfor fd in range(100):\n    try: print(fd, os.get_inheritable(fd), oct(os.fstat(fd).st_mode))\n    except OSError: pass"},
		{name: "signals", code: "import signal; print([(s, signal.getsignal(s)) for s in sorted(signal.valid_signals()) if s not in (9, 19)], signal.pthread_sigmask(signal.SIG_BLOCK, []), signal.getitimer(signal.ITIMER_REAL), signal.set_wakeup_fd(-1))"},
		{name: "threads", code: "import threading, os, _thread; m = threading.main_thread(); print(threading.current_thread() is m, threading.active_count(), m.native_id == os.getpid(), m.ident == _thread.get_ident(), m.name, threading.enumerate() == [m])"},
		{name: "frames", code: "import sys, inspect, traceback; print(sys._getframe().f_back, len(inspect.stack())); traceback.print_stack()"},
		{name: "streams", code: "import sys\nfor s in sys.stdin, sys.stdout, sys.stderr: print(s, s.line_buffering, s.write_through, s.errors, s.newlines, s.isatty(), s.fileno(), type(s.buffer), s.buffer.raw if hasattr(s.buffer, 'raw') else '')\nprint(sys.stdin.seekable(), sys.stdin is sys.__stdin__)"},
		{name: "input is at its end", code: "import sys, os; print(repr(sys.stdin.read()), os.read(0, 10)); input()"},
		{name: "order of output", code: "import os, sys; print('a', end=''); os.write(1, b'b'); sys.stderr.write('c'); os.system('printf d'); print('e')"},
		{name: "warnings", code: "import warnings\nwarnings.warn('here')\nwarnings.warn('outer', stacklevel=2)\nwarnings.warn('old', DeprecationWarning)\nprint(warnings.filters)\ndef f(): warnings.warn('in f', stacklevel=2)\nf()"},
		{name: "invalid escape", code: "print('\\d')"},
		{name: "time", code: "import time; print(time.tzname, time.timezone, time.process_time() < 5)"},
		{name: "decimal", code: "import decimal; print(decimal.getcontext())"},
		{name: "random is seeded alike", code: "import random; random.seed(7); print(random.random())"},
		{name: "packages have only what was imported", code: "import xml, importlib, concurrent, os, email, urllib, asyncio\nprint([(m.__name__, sorted(k for k in vars(m) if not k.startswith('__'))) for m in (xml, concurrent, email, urllib)])\nxml.etree"},
		{name: "attributes appear with the import", code: "import xml\nprint(hasattr(xml, 'etree'))\nimport xml.etree.ElementTree\nprint(sorted(vars(xml)), xml.etree.ElementTree.fromstring('<a/>').tag)"},
		{name: "a module of one's own", code: "import helper, sys; print(helper.value, helper.__file__, helper.__spec__, 'json' in sys.modules); helper.fail()"},
		{name: "path changed", code: "import sys, os\nos.mkdir('sub_' + str(os.getpid()))\nos.chdir('sub_' + str(os.getpid()))\nopen('json.py', 'w').write('mine = 1')\nimport json\nprint(json.mine)"},
		{name: "reload", code: "import json, importlib; m = importlib.reload(json); print(m is json, json.__spec__, json.loads('[1]'))"},
		{name: "find", code: "import importlib.util as u; print(u.find_spec('json'), u.find_spec('nothing_like_that'), u.find_spec('xml.etree'))"},
		{name: "missing module", code: "try:\n    import no_such_module\nexcept ImportError as e:\n    print(e.name, e.__traceback__.tb_next)\nimport json.nothing"},
		{name: "log of a module that is imported later", code: "import logging\nlogging.getLogger('asyncio').setLevel(logging.ERROR)\nimport asyncio\nprint(logging.getLogger('asyncio').level, logging.root.handlers, logging.getLevelName(30))\nlogging.warning('to stderr')"},
		{name: "a class can be pickled", code: "import pickle\nclass A: pass\nprint(pickle.loads(pickle.dumps(A())).__class__, A.__module__)"},
		{name: "asyncio", code: "import asyncio\nasync def main():\n    p = await asyncio.create_subprocess_exec('echo', 'x', stdout=-1)\n    print((await p.communicate())[0], await asyncio.to_thread(lambda: 5))\nasyncio.run(main())"},
		{name: "pools", code: "import multiprocessing, concurrent.futures\ndef f(x): return x * x\nwith multiprocessing.Pool(2) as p: print(p.map(f, range(5)))\nwith concurrent.futures.ThreadPoolExecutor() as p: print(list(p.map(f, range(5))))\nwith concurrent.futures.ProcessPoolExecutor(2) as p: print(list(p.map(f, range(5))))"},
		{name: "a fork", code: "import os\npid = os.fork()\nif pid == 0:\n    print('child', flush=True); os._exit(3)\nprint(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))"},
		{name: "database", code: "import sqlite3; c = sqlite3.connect(':memory:'); print(c.execute('select 1+1').fetchall())"},
		// How programs end.
		{name: "exit with a number", code: "import sys; sys.exit(3)"},
		{name: "exit with a text", code: "import sys; sys.exit('text')"},
		{name: "exit without reason", code: "raise SystemExit"},
		{name: "quit", code: "quit(9)"},
		{name: "exit at once", code: "import os; print('x'); os._exit(4)"},
		{name: "exit in a thread", code: "import threading, sys; threading.Thread(target=sys.exit, args=(5,)).start(); print('x')"},
		{name: "exception", code: "def f(x):\n    return 1 / x\n\nprint('before')\nf(0)"},
		{name: "chained exceptions", code: "try:\n    {}['a']\nexcept KeyError as e:\n    raise ValueError('☃') from e"},
		{name: "exception in an imported module", code: "import json; json.loads('{')"},
		{name: "exception of an import", code: "import helper\nfrom helper import missing"},
		{name: "exception group", code: "raise ExceptionGroup('g', [ValueError(1), TypeError(2)])"},
		{name: "exception with a hook", code: "import sys\nsys.excepthook = lambda *a: print('hook', a[0])\n1/0"},
		{name: "exception in a thread", code: "import threading; t = threading.Thread(target=lambda: 1/0, name='t'); t.start(); t.join()"},
		{name: "no end of recursion", code: "def f(): f()\nf()"},
		{name: "depth of recursion", code: "n = 0\ndef f():\n    global n\n    n += 1\n    f()\ntry: f()\nexcept RecursionError: print(n)"},
		{name: "syntax error", code: "print(1)\nx = = 2"},
		{name: "indentation error", code: "if True:\nprint(1)"},
		{name: "bad bytes", code: "x = '\xff'"},
		{name: "encoding comment", code: "# -*- coding: latin-1 -*-\nprint(ascii('\xe4'))"},
		{name: "interrupt", code: "raise KeyboardInterrupt"},
		{name: "interrupted", code: "import os, signal, time; os.kill(os.getpid(), signal.SIGINT); time.sleep(10)"},
		{name: "ended by a signal", code: "import os; os.kill(os.getpid(), 15)"},
		{name: "killed", code: "import os; print('x'); os.kill(os.getpid(), 9)"},
		{name: "aborted", code: "import os; os.abort()"},
		{name: "broken pipe", code: "import os; r, w = os.pipe(); os.close(r); os.write(w, b'x')"},
		{name: "at exit", code: "import atexit, logging\natexit.register(print, 'first')\natexit.register(print, 'second')\nimport concurrent.futures.thread\natexit.register(lambda: 1/0)"},
		{name: "finalisers", code: "import weakref\nclass A:\n    def __del__(self): print('gone', __name__)\na = A()\nclass B: pass\nb = B(); weakref.finalize(b, print, 'finalised')\nx = [A()]; x.append(x)\ndef g():\n    try: yield\n    finally: print('generator')\nh = g(); next(h)"},
		{name: "a file that was not closed", code: "import os; f = open('unclosed', 'w'); f.write('x' * 10); os.system('wc -c < unclosed'); import atexit; atexit.register(os.system, 'wc -c < unclosed')"},
		{name: "threads at the end", code: "import threading, time\ndef f(): time.sleep(0.05); print('thread ends')\nthreading.Thread(target=f).start(); threading.Thread(target=time.sleep, args=(100,), daemon=True).start(); print('main ends')"},
		{name: "standard output closed", code: "import sys; sys.stdout.close()"},
	}
	for _, m := range append(modules, "xml.dom.minidom", "collections.abc", "http.server", "csv") {
		if m != "no_such_module" && m != "ctypes" { // that one needs a fresh process
			all = append(all, probe{name: "import " + m, code: fmt.Sprintf(
				"import sys, warnings\ntry:\n    import %s\nexcept ImportError as e: print(e)\nelse:\n    print(sys.modules[%q].__spec__)\nprint(sorted(sys.modules), warnings.filters)\ndef tree(m):\n    return sorted(k for k, v in vars(m).items() if isinstance(v, type(sys)))\nprint({n: tree(m) for n, m in sorted(sys.modules.items()) if isinstance(m, type(sys))})", m, m)})
		}
	}
	all = append(all,
		probe{name: "order of modules", code: "import sys, json, logging, asyncio\nprint(list(sys.modules))"},
		probe{name: "numpy calculates", code: "try:\n    import numpy\nexcept ImportError: raise SystemExit('none')\na = numpy.arange(250000.).reshape(500, 500)\nprint((a @ a).sum(), numpy.linalg.norm(a), numpy.random.RandomState(1).rand())\nfrom multiprocessing.pool import ThreadPool\nprint(ThreadPool(4).map(lambda i: (a @ a)[i, i], range(4)))"},
		probe{name: "numpy in a child", code: "try:\n    import numpy\nexcept ImportError: raise SystemExit('none')\nimport os\na = numpy.ones((300, 300)); b = a @ a\npid = os.fork()\nif pid == 0: print((a @ b).sum(), flush=True); os._exit(0)\nos.waitpid(pid, 0)"},
	)
	return all
}

// probesNeedAFreshProcess are refused, and what comes after them is not.
func probesNeedAFreshProcess(w *world) error {
	for _, p := range []probe{
		{name: "locale", env: map[string]string{"LC_ALL": "C"}},
		{name: "time zone", env: map[string]string{"TZ": "Asia/Tokyo"}},
		{name: "options of Python", env: map[string]string{"PYTHONHASHSEED": "1"}},
		{name: "another home", env: map[string]string{"HOME": "/"}},
		{name: "libraries", env: map[string]string{"LD_PRELOAD": ""}},
		{name: "threads of libraries", env: map[string]string{"OMP_NUM_THREADS": "1"}},
		{name: "threads set by itself", code: "import os; os.environ['OMP_NUM_THREADS'] = '1'"},
		{name: "memory", code: "import gc; print(gc.get_count())"},
		{name: "hashes", code: "print(hash('a'))"},
		{name: "process", code: "print(open('/proc/self/status').read())"},
		{name: "calls into C", code: "import ctypes; ctypes.CDLL(None).atexit"},
	} {
		if _, err := w.run(p, true); !errors.Is(err, errNotReady) {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	if _, err := w.run(probe{code: "1"}, true); err != nil {
		return err
	}
	// A module of the user's own in the place of one that was imported.
	own := filepath.Join(w.dir, "json.py")
	if err := os.WriteFile(own, []byte("mine = 1\n"), 0o600); err != nil {
		return err
	}
	if err := w.warm(); err != nil {
		return err
	}
	if _, err := w.run(probe{code: "import json; print(json.mine)"}, true); !errors.Is(err, errNotReady) {
		return fmt.Errorf("own module: %w", err)
	}
	if err := os.Remove(own); err != nil {
		return err
	}
	if err := w.warm(); err != nil {
		return err
	}
	// A directory of modules changes: the next one is made anew.
	old := w.ready.template
	place := filepath.Join(w.dir, "place")
	old.places[place] = stamp{}
	if err := os.Mkdir(place, 0o700); err != nil {
		return err
	}
	if _, err := w.run(probe{code: "1"}, true); !errors.Is(err, errNotReady) {
		return fmt.Errorf("changed: %w", err)
	}
	if err := w.warm(); err != nil {
		return err
	}
	if w.ready.template == old {
		return errors.New("the old one is still there")
	}
	// So does the environment of the sandbox.
	w.space.Env.Set(map[string]string{"LANG": "C"})
	if _, err := w.run(probe{code: "1"}, true); !errors.Is(err, errNotReady) {
		return fmt.Errorf("environment: %w", err)
	}
	if err := w.warm(); err != nil {
		return err
	}
	got, err := w.run(probe{code: "import os; os.system('echo $LANG')"}, true)
	if err != nil || got != "C\n[status 0]" {
		return fmt.Errorf("with the new environment: %q %w", got, err)
	}
	return nil
}

// copiesAreApart have nothing in common that should be each one's own.
func copiesAreApart(w *world) error {
	p := probe{code: "import random, uuid, secrets, tempfile, os, multiprocessing, threading\nprint(random.random(), random.SystemRandom().random(), uuid.uuid4(), uuid.uuid1(), secrets.token_hex(), os.urandom(8), os.path.basename(tempfile.mkdtemp()), bytes(multiprocessing.current_process().authkey), sep='\\n')\ntry:\n    import numpy\n    print(numpy.random.rand(), numpy.random.default_rng().random(), sep='\\n')\nexcept ImportError: pass"}
	seen := map[string]bool{}
	for range 3 {
		got, err := w.run(p, true)
		if err != nil {
			return err
		}
		lines := strings.Split(got, "\n")
		if len(lines) < 8 {
			return fmt.Errorf("printed %q", got)
		}
		for _, line := range lines {
			if seen[line] && !strings.HasPrefix(line, "[status 0]") {
				return fmt.Errorf("twice: %s", line)
			}
			seen[line] = true
		}
	}
	// Many at once, of which each is a process of its own.
	const many = 8
	results := make(chan error, many)
	for i := range many {
		go func() {
			got, err := w.run(probe{code: "import os, sys, sqlite3; x = globals().get('x', 0) + 1; print(x, sys.argv[1], os.getpgrp() == os.getpid())", args: []string{fmt.Sprint(i)}}, true)
			if want := fmt.Sprintf("1 %d True\n[status 0]", i); err == nil && got != want {
				err = fmt.Errorf("got %q, want %q", got, want)
			}
			results <- err
		}()
	}
	var failures []error
	for range many {
		failures = append(failures, <-results)
	}
	return errors.Join(failures...)
}

// TestWorth: a program waits for a copy only if what it imports takes longer.
func TestWorth(t *testing.T) {
	for code, want := range map[string]bool{
		"print(1)":                                  false,
		"import os, sys\nfrom json import loads":    false,
		"import os.path as p\nprint('from here')":   false,
		"x = 1; import pandas as pd":                true,
		"import os, numpy.linalg":                   true,
		"if True:\n\tfrom matplotlib import pyplot": true,
		"import mine":                               true,
		"from . import x":                           true,
	} {
		if got := worth(code); got != want {
			t.Errorf("%q: %v", code, got)
		}
	}
}

// endsAndFailures: whatever happens to the template, nothing hangs, nothing is
// left behind, and what was not run is said not to have been.
func endsAndFailures(w *world) error {
	one := probe{code: "print(1)"}
	again := func(what string) error {
		w.ready.mu.Lock()
		w.ready.notUntil = time.Time{}
		w.ready.mu.Unlock()
		if err := w.warm(); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		got, err := w.run(one, true)
		if err == nil && got != "1\n[status 0]" {
			err = fmt.Errorf("got %q", got)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		return w.warm()
	}
	if err := again("first"); err != nil {
		return err
	}
	// None waits: a program that imports nothing does not wait for one.
	w.ready.template.take().discard()
	fresh, err := launch.MemoryFile("stdin", nil)
	if err != nil {
		return err
	}
	defer fresh.Close()
	none := reaper.Command{Path: python, Args: []string{"python3", "-u", "-"}, Env: w.space.Env.With(nil).Pairs(), Dir: w.dir, Stdin: fresh}
	if _, ok := w.ready.Start(context.Background(), none, one.code); ok {
		return errors.New("a copy was made for a program that is faster without")
	}
	if err := w.ready.template.refill(); err != nil {
		return err
	}
	// The copy that waits is killed.
	s := w.spare()
	if err := syscall.Kill(s.child.PID(), syscall.SIGKILL); err != nil {
		return err
	}
	<-s.child.Done()
	if _, err := w.run(one, true); !errors.Is(err, errNotReady) {
		return fmt.Errorf("copy was killed: %w", err)
	}
	if err := again("after the copy was killed"); err != nil {
		return err
	}
	// The template is killed; the copy that waits still serves or is gone.
	t := w.ready.template
	if err := syscall.Kill(t.child.PID(), syscall.SIGKILL); err != nil {
		return err
	}
	if err := within(10*time.Second, "noticed", func() bool {
		w.ready.mu.Lock()
		defer w.ready.mu.Unlock()
		return w.ready.template == nil
	}); err != nil {
		return err
	}
	if _, err := w.run(one, true); !errors.Is(err, errNotReady) {
		return fmt.Errorf("template was killed: %w", err)
	}
	w.ready.mu.Lock()
	pausing := time.Until(w.ready.notUntil) > rest/2
	w.ready.mu.Unlock()
	if !pausing {
		return errors.New("no pause after a kill")
	}
	if err := again("after the template was killed"); err != nil {
		return err
	}
	// Stopped by somebody, it answers nothing.
	t = w.ready.template
	if err := syscall.Kill(t.child.PID(), syscall.SIGSTOP); err != nil {
		return err
	}
	if got, err := w.run(one, true); err != nil || got != "1\n[status 0]" {
		return fmt.Errorf("with the copy that was made before: %q %w", got, err)
	}
	if _, err := w.run(one, true); !errors.Is(err, errNotReady) {
		return fmt.Errorf("template was stopped: %w", err)
	}
	if err := within(2*answering, "given up", w.ready.ended); err != nil {
		return err
	}
	if err := again("after the template was stopped"); err != nil {
		return err
	}
	// A program that is ended together with all that it has started.
	stdin, err := launch.MemoryFile("stdin", []byte("import os; os.system('setsid sleep 1000 & sleep 1001')"))
	if err != nil {
		return err
	}
	defer stdin.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	child, ok := w.ready.Start(context.Background(), reaper.Command{
		Path: python, Args: command, Env: w.space.Env.With(nil).Pairs(), Dir: w.dir, Stdin: stdin, Stdout: null, Stderr: null,
	}, "")
	if !ok {
		return errNotReady
	}
	child.KillTree()
	select {
	case <-child.Done():
	case <-time.After(10 * time.Second):
		return errors.New("it does not end")
	}
	// Memory gets short while nobody asks for anything.
	if err := again("before memory is short"); err != nil {
		return err
	}
	w.short.Store(true)
	if err := within(10*time.Second, "memory given back", func() bool { return w.space.Table.Running() == 0 }); err != nil {
		return err
	}
	if _, err := w.run(one, true); !errors.Is(err, errNotReady) {
		return fmt.Errorf("memory is short: %w", err)
	}
	w.short.Store(false)
	// Idleness.
	if err := again("before idleness"); err != nil {
		return err
	}
	w.ready.mu.Lock()
	w.ready.used = time.Now().Add(-time.Hour)
	w.ready.mu.Unlock()
	w.ready.expire()
	if w.spare() != nil {
		return errors.New("kept when idle")
	}
	return within(10*time.Second, "no process is left", func() bool { return w.space.Table.Running() == 0 })
}
