// Command toolbox is the first process of a sandbox. See package toolbox.
//
//	toolbox [-- PROGRAM [ARGUMENT]...]
//
// PROGRAM is the image's own entrypoint and command. It is started, once, after
// the sandbox has been given its identity.
//
// Settings come from the environment:
//
//	DAYTONA_TOOLBOX_TOKEN       secret that every request must carry; required, or:
//	DAYTONA_TOOLBOX_TOKEN_FILE  file that holds it
//	DAYTONA_TOOLBOX_LISTEN      address, ":2280" unless set, or "unix:/path"
//	DAYTONA_TOOLBOX_HOME        home directory; $HOME unless set
//	DAYTONA_TOOLBOX_WORKDIR     where commands start; the current directory unless set
//	DAYTONA_TOOLBOX_LOG         least level that is logged: debug, info (default), warn, error
package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"daytona/toolbox"
	"daytona/toolbox/pty"
	"daytona/toolbox/reaper"
)

// version is set by the linker.
var version = "dev"

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "toolbox:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 1 && args[0] == pty.SFTPArgument {
		return serveFiles()
	}
	// Every sandbox pays for this process: it trades time for memory.
	runtime.GOMAXPROCS(min(2, runtime.NumCPU()))
	debug.SetGCPercent(50)
	debug.SetMemoryLimit(64 << 20)

	asked := reaper.Termination()
	token, err := readToken()
	if err != nil {
		return err
	}
	environ := os.Environ()
	if err := hide(); err != nil {
		return err
	}
	var level slog.Level
	if text := os.Getenv("DAYTONA_TOOLBOX_LOG"); text != "" {
		if err := level.UnmarshalText([]byte(text)); err != nil {
			return fmt.Errorf("DAYTONA_TOOLBOX_LOG: %w", err)
		}
	}
	log := slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: level}))

	table := reaper.Adopt()
	server, err := toolbox.New(toolbox.Config{
		Token:   token,
		Home:    os.Getenv("DAYTONA_TOOLBOX_HOME"),
		WorkDir: os.Getenv("DAYTONA_TOOLBOX_WORKDIR"),
		Environ: environ,
		Table:   table,
		Ready:   true,
		Version: version,
		Log:     log,
	})
	if err != nil {
		return err
	}
	listener, err := listen(os.Getenv("DAYTONA_TOOLBOX_LISTEN"))
	if err != nil {
		return err
	}
	go warmUp(server, asked)
	go startEntrypoint(server, args, asked, log)
	return serve(server, listener, table, asked)
}

// serve answers requests until the program is asked to end, then ends all other
// processes of the sandbox.
func serve(handler *toolbox.Server, listener net.Listener, table *reaper.Table, asked <-chan struct{}) error {
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 30 * time.Second,
		IdleTimeout:       5 * time.Minute,
		MaxHeaderBytes:    1 << 20,
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve: %w", err)
	case <-asked:
	}
	handler.Stopping()
	const grace = 5 * time.Second
	handler.HangUp()
	table.StopAll(grace)
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		return errors.Join(server.Close(), nil)
	}
	return nil
}

// warmUp makes the sandbox ready for its first use, if it has to wait for that:
// one that is started for its owner gets its identity at once, and memory is
// taken only when it is used. Where sandboxes are claimed soon after they were
// booted it does not begin: the processors are wanted for their owners then.
func warmUp(server *toolbox.Server, asked <-chan struct{}) {
	select {
	case <-server.Ready():
	case <-asked:
	case <-time.After(5 * time.Second):
		server.WarmUp()
	}
}

// startEntrypoint starts the image's own program when the sandbox has its
// identity. It is not started again when it ends.
func startEntrypoint(server *toolbox.Server, args []string, asked <-chan struct{}, log *slog.Logger) {
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 {
		return
	}
	select {
	case <-server.Ready():
	case <-asked:
		return
	}
	child, err := server.StartEntrypoint(args)
	if err != nil {
		log.Error("image's program not started", "program", args[0], "err", err)
		return
	}
	<-child.Done()
	log.Info("image's program ended", "program", args[0], "exit", child.ExitCode())
}

func readToken() (string, error) {
	if token := os.Getenv("DAYTONA_TOOLBOX_TOKEN"); token != "" {
		return token, nil
	}
	file := os.Getenv("DAYTONA_TOOLBOX_TOKEN_FILE")
	if file == "" {
		return "", errors.New("DAYTONA_TOOLBOX_TOKEN or DAYTONA_TOOLBOX_TOKEN_FILE must be set")
	}
	content, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("DAYTONA_TOOLBOX_TOKEN_FILE: %w", err)
	}
	token := strings.TrimSpace(string(content))
	if token == "" {
		return "", fmt.Errorf("DAYTONA_TOOLBOX_TOKEN_FILE: %s is empty", file)
	}
	return token, nil
}

// listen opens the address to serve at; "" means the default.
func listen(address string) (net.Listener, error) {
	if address == "" {
		address = ":2280"
	}
	network := "tcp"
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, address = "unix", path
		// A socket that an earlier run left cannot be listened on again.
		if info, err := os.Lstat(path); err == nil && info.Mode()&fs.ModeSocket != 0 {
			if err := os.Remove(path); err != nil {
				return nil, fmt.Errorf("listen: %w", err)
			}
		}
	}
	l, err := new(net.ListenConfig).Listen(context.Background(), network, address)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	return l, nil
}
