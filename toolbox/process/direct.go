package process

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"daytona/toolbox/launch"
)

// The start of a shell is most of what a short command costs, and under gVisor
// it costs several times more than on a bare machine. So a command that a shell
// would only look up and run is run without one, where nothing but the time can
// tell the difference. Anything in doubt goes to the shell.

// plainWords splits a command of one line that consists of plain words: no
// character in it means anything to a shell but the spaces between them.
func plainWords(command string) ([]string, bool) {
	for _, c := range []byte(command) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case strings.IndexByte(" _-+.,:/=@%", c) >= 0:
		default:
			return nil, false
		}
	}
	words := strings.Fields(command)
	if len(words) == 0 || strings.Contains(words[0], "=") || shellWords[words[0]] {
		return nil, false
	}
	return words, true
}

// shellWords are what bash does itself, without a program: its reserved words
// and builtins. Not among them are true and false, whose programs do the same.
var shellWords = func() map[string]bool {
	words := map[string]bool{}
	for word := range strings.FieldsSeq(`
		if then elif else fi time for in until while do done case esac coproc select function
		. : alias bg bind break builtin caller cd command compgen complete compopt continue
		declare dirs disown echo enable eval exec exit export fc fg getopts hash help history
		jobs kill let local logout mapfile popd printf pushd pwd read readarray readonly return
		set shift shopt source suspend test times trap type typeset ulimit umask unalias unset
		wait`) {
		words[word] = true
	}
	return words
}()

// direct returns the job that runs a command as the given shell would, but
// without it. ok is false when only the shell can tell what the command means.
func direct(j job, shell, command string) (out job, ok bool) {
	if filepath.Base(shell) != "bash" {
		return job{}, false // others read files of the user's before they begin
	}
	words, ok := plainWords(command)
	if !ok {
		return job{}, false
	}
	for name := range j.env {
		// Functions, files and options that a shell takes from its environment.
		if strings.HasPrefix(name, "BASH") || name == "SHELLOPTS" || name == "POSIXLY_CORRECT" {
			return job{}, false
		}
	}
	path, err := launch.LookPath(words[0], j.env["PATH"], j.dir)
	if err != nil || !filepath.IsAbs(j.dir) {
		return job{}, false // let the shell say what is wrong
	}
	dir, err := filepath.EvalSymlinks(j.dir)
	if err != nil || dir != filepath.Clean(j.dir) || strings.Contains(words[0], "/") && !filepath.IsAbs(words[0]) {
		return job{}, false
	}
	j.path, j.args, j.input = path, words, nil
	// What a shell sets for its children.
	env := launch.Vars{}
	for name, value := range j.env {
		env[name] = value
	}
	level, _ := strconv.Atoi(env["SHLVL"])
	env["SHLVL"] = strconv.Itoa(level + 1)
	env["PWD"] = dir
	env["_"] = path
	j.env = env
	return j, true
}

// epitaph is what bash says when a signal has ended a command.
func epitaph(shell string, pid int, status syscall.WaitStatus, command string) string {
	sig := status.Signal()
	text, known := signalTexts[sig]
	switch {
	case !status.Signaled() || sig == syscall.SIGINT || sig == syscall.SIGPIPE:
		return ""
	case sig == syscall.SIGTERM:
		return "Terminated\n"
	case sig == 32 || sig == 33:
		text = fmt.Sprintf("Unknown signal %d", sig)
	case !known:
		text = fmt.Sprintf("Real-time signal %d", sig-34)
	}
	dumped := ""
	if status.CoreDump() {
		dumped = "(core dumped) "
	}
	return fmt.Sprintf("%s: line 1: %5d %-24s%s%s\n", shell, pid, text, dumped, command)
}

// signalTexts are the signals that bash reports, in its words.
var signalTexts = map[syscall.Signal]string{
	syscall.SIGHUP:    "Hangup",
	syscall.SIGQUIT:   "Quit",
	syscall.SIGILL:    "Illegal instruction",
	syscall.SIGTRAP:   "Trace/breakpoint trap",
	syscall.SIGABRT:   "Aborted",
	syscall.SIGBUS:    "Bus error",
	syscall.SIGFPE:    "Floating point exception",
	syscall.SIGKILL:   "Killed",
	syscall.SIGUSR1:   "User defined signal 1",
	syscall.SIGSEGV:   "Segmentation fault",
	syscall.SIGUSR2:   "User defined signal 2",
	syscall.SIGALRM:   "Alarm clock",
	syscall.SIGSTKFLT: "Stack fault",
	syscall.SIGXCPU:   "CPU time limit exceeded",
	syscall.SIGXFSZ:   "File size limit exceeded",
	syscall.SIGVTALRM: "Virtual timer expired",
	syscall.SIGPROF:   "Profiling timer expired",
	syscall.SIGIO:     "I/O possible",
	syscall.SIGPWR:    "Power failure",
	syscall.SIGSYS:    "Bad system call",
}
