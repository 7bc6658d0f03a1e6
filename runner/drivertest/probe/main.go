// Command probe is the first process of the containers in which drivertest
// looks around. It serves HTTP on the port in PROBE_PORT: each path does one
// thing that a sandbox might, or tells what the container looks like from
// inside. It ends with status 0 on SIGTERM, unless PROBE_IGNORE_TERM is set.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) > 1 {
		if err := child(os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	go func() {
		for range term {
			if os.Getenv("PROBE_IGNORE_TERM") == "" {
				os.Exit(0)
			}
		}
	}()
	mux := http.NewServeMux()
	mux.HandleFunc("/ping", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "pong") })
	mux.HandleFunc("/facts", facts)
	mux.HandleFunc("/exit", func(_ http.ResponseWriter, r *http.Request) { os.Exit(number(r, "code")) })
	mux.HandleFunc("/eat", func(_ http.ResponseWriter, r *http.Request) { eat(number(r, "mb")) })
	mux.HandleFunc("/fork", fork)
	mux.HandleFunc("/read", func(w http.ResponseWriter, r *http.Request) {
		b, err := os.ReadFile(r.FormValue("path"))
		answer(w, string(b), err)
	})
	mux.HandleFunc("/write", func(w http.ResponseWriter, r *http.Request) {
		answer(w, "", os.WriteFile(r.FormValue("path"), []byte(r.FormValue("text")), 0o644))
	})
	mux.HandleFunc("/remove", func(w http.ResponseWriter, r *http.Request) {
		answer(w, "", os.Remove(r.FormValue("path")))
	})
	mux.HandleFunc("/list", func(w http.ResponseWriter, r *http.Request) {
		entries, err := os.ReadDir(r.FormValue("path"))
		var names []string
		for _, e := range entries {
			names = append(names, e.Name())
		}
		answer(w, strings.Join(names, "\n"), err)
	})
	mux.HandleFunc("/syscall", call)
	mux.HandleFunc("/run", run)
	mux.HandleFunc("/spin", func(w http.ResponseWriter, r *http.Request) {
		spin(time.Duration(number(r, "ms")) * time.Millisecond)
		fmt.Fprint(w, "ok")
	})
	srv := &http.Server{Addr: ":" + os.Getenv("PROBE_PORT"), Handler: mux, ReadHeaderTimeout: time.Minute}
	fmt.Fprintln(os.Stderr, srv.ListenAndServe())
	os.Exit(99)
}

// child is what a process started by the probe does.
func child(args []string) error {
	switch args[0] {
	case "sleep": // until it is killed
		for {
			time.Sleep(time.Hour)
		}
	case "eat":
		mb, err := strconv.Atoi(args[1])
		if err != nil {
			return err
		}
		eat(mb)
	case "ids": // prints the effective and real user; run set-user-id by the suite
		fmt.Printf("%d %d", os.Geteuid(), os.Getuid())
	case "killall": // every process that it may kill
		return syscall.Kill(-1, syscall.SIGKILL)
	default:
		return fmt.Errorf("probe: unknown %q", args[0])
	}
	return nil
}

// Answer is what most paths return.
type Answer struct {
	Text  string
	Error string // "" when it worked
	Errno int
}

func answer(w http.ResponseWriter, text string, err error) {
	a := Answer{Text: text}
	if err != nil {
		a.Error = err.Error()
		if errno, ok := errors.AsType[syscall.Errno](err); ok {
			a.Errno = int(errno)
		}
	}
	_ = json.NewEncoder(w).Encode(a)
}

func number(r *http.Request, name string) int {
	n, _ := strconv.Atoi(r.FormValue(name))
	return n
}

// Facts is what a container looks like from inside.
type Facts struct {
	PID, UID, GID int
	Groups        []int
	Cwd, Hostname string
	Env, Args     []string
	Status        map[string]string // of /proc/self/status
	Mountinfo     string
	Limits        string // of /proc/self/limits
	CPUs          int
}

func facts(w http.ResponseWriter, _ *http.Request) {
	f := Facts{
		PID: os.Getpid(), UID: os.Getuid(), GID: os.Getgid(), Env: os.Environ(), Args: os.Args,
		Status: map[string]string{}, CPUs: runtime.NumCPU(),
	}
	f.Groups, _ = os.Getgroups()
	f.Cwd, _ = os.Getwd()
	f.Hostname, _ = os.Hostname()
	b, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(b)) {
		k, v, _ := strings.Cut(line, ":")
		f.Status[k] = strings.TrimSpace(v)
	}
	b, _ = os.ReadFile("/proc/self/mountinfo")
	f.Mountinfo = string(b)
	b, _ = os.ReadFile("/proc/self/limits")
	f.Limits = string(b)
	_ = json.NewEncoder(w).Encode(f)
}

// kept holds on to memory until the process ends.
var kept [][]byte

func eat(mb int) {
	for range mb {
		b := make([]byte, 1<<20)
		for i := 0; i < len(b); i += 512 {
			b[i] = byte(i)
		}
		kept = append(kept, b)
	}
}

func spin(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); {
		continue
	}
}

// fork starts n children that sleep, and tells how many came to be.
func fork(w http.ResponseWriter, r *http.Request) {
	n, started := number(r, "n"), 0
	var failed error
	for range n {
		cmd := exec.Command("/proc/self/exe", "sleep") //nolint:noctx // it is to stay
		if failed = cmd.Start(); failed != nil {
			break
		}
		started++
		go func() { _ = cmd.Wait() }()
	}
	answer(w, strconv.Itoa(started), failed)
}

// run runs a program with arguments and answers with its output.
func run(w http.ResponseWriter, r *http.Request) {
	argv := r.URL.Query()["arg"]
	cmd := exec.CommandContext(r.Context(), argv[0], argv[1:]...)
	if uid := number(r, "uid"); uid != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid), NoSetGroups: true}}
	}
	out, err := cmd.CombinedOutput()
	answer(w, string(out), err)
}

// call makes a system call with up to three numbers and answers with its error.
func call(w http.ResponseWriter, r *http.Request) {
	runtime.LockOSThread() // and never unlock: the call may have changed the thread
	n, _, errno := syscall.RawSyscall(uintptr(number(r, "nr")), uintptr(number(r, "a")), uintptr(number(r, "b")), uintptr(number(r, "c")))
	if errno != 0 {
		answer(w, "", errno)
		return
	}
	answer(w, strconv.Itoa(int(n)), nil)
}
