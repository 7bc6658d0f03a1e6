// Package cli is the documented command line: the commands that work on a
// server through its API, on any operating system.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"daytona/internal/version"
	daytona "daytona/sdk/go"
)

// App is what the commands share: where they read and write, and what they know
// of the machine that they run on.
type App struct {
	In       io.Reader
	Out, Err io.Writer
	// Terminal and ErrTerminal say whether a person looks at Out and Err, and
	// Interactive whether one can answer at In.
	Terminal, ErrTerminal, Interactive bool
	Env                                func(name string) (string, bool)
	Now                                func() time.Time
	Open                               func(url string) error // in a browser
}

// New returns the App of this process.
func New() (*App, error) {
	env, err := daytona.Environment(".")
	if err != nil {
		return nil, err
	}
	out, errs := term.IsTerminal(int(os.Stdout.Fd())), term.IsTerminal(int(os.Stderr.Fd()))
	return &App{
		In: os.Stdin, Out: os.Stdout, Err: os.Stderr,
		Terminal: out, ErrTerminal: errs, Interactive: out && term.IsTerminal(int(os.Stdin.Fd())),
		Env: env, Now: time.Now, Open: openBrowser,
	}, nil
}

// getenv returns a variable, "" when it is not set.
func (a *App) getenv(name string) string {
	value, _ := a.Env(name)
	return value
}

// The groups of commands in help.
const (
	groupUser    = "user"
	groupSandbox = "sandbox"
	// GroupServer is for commands that run or look after a server.
	GroupServer = "server"
)

// Root returns the command tree. more are the commands of whoever assembles the
// program.
func (a *App) Root(more ...*cobra.Command) *cobra.Command {
	root := &cobra.Command{
		Use:   "daytona",
		Short: "Daytona CLI",
		Long:  "Command line interface for Daytona sandboxes, in which code runs",
		Example: `  daytona sandbox create --name box
  daytona exec box -- python3 -c 'print(1)'
  daytona cp notes.txt box:notes.txt
  daytona sandbox delete box`,
		SilenceUsage:               true,
		SilenceErrors:              true,
		DisableAutoGenTag:          true,
		SuggestionsMinimumDistance: 2,
		Args:                       cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if show, _ := cmd.Flags().GetBool("version"); show {
				fmt.Fprintf(a.Out, "Daytona CLI version %s\n", version.Version)
				return nil
			}
			return cmd.Help()
		},
	}
	root.Flags().BoolP("version", "v", false, "Display the version of Daytona")
	root.CompletionOptions.HiddenDefaultCmd = true
	root.PersistentPreRun = interruptible
	root.SetIn(a.In)
	root.SetOut(a.Out)
	root.SetErr(a.Err)
	root.AddGroup(&cobra.Group{ID: groupUser, Title: "User"}, &cobra.Group{ID: groupSandbox, Title: "Sandbox"}, &cobra.Group{ID: GroupServer, Title: "Server"})
	root.SetHelpCommandGroupID(groupUser)
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add(groupUser, a.login(), a.logout(), a.organization(), a.mcp(), a.autocomplete(), a.docs())
	add(groupSandbox, a.sandbox(), a.snapshot(), a.volume(), a.execCommand(), a.copyCommand(), a.ssh(), a.previewURL(), a.logs())
	// Each command on sandboxes stands at the top as well.
	for _, c := range []*cobra.Command{a.create(), a.list(true), a.info(), a.start(), a.stop(), a.delete(), a.archive(), a.resize(), a.fork(), a.recover(), a.capture()} {
		c.Hidden = true
		add(groupSandbox, c)
	}
	root.AddCommand(a.generateDocs(), a.completionHelper())
	for _, c := range more {
		if c.GroupID == "" && !c.Hidden {
			c.GroupID = GroupServer
		}
		root.AddCommand(c)
	}
	return root
}

// interruptible lets Ctrl-C end a command's work. What runs a server has rules
// of its own for that.
func interruptible(cmd *cobra.Command, _ []string) {
	top := cmd
	for top.HasParent() && top.Parent().HasParent() {
		top = top.Parent()
	}
	if top.GroupID == GroupServer || top.GroupID == "" && top.Hidden {
		return
	}
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the second one ends the process
	cmd.SetContext(ctx)
}

// ExitError ends the program with a code and without a word: everything has
// been said.
type ExitError struct{ Code int }

// Error names the code.
func (e *ExitError) Error() string { return fmt.Sprintf("exit code %d", e.Code) }

// ErrCanceled is what a person stopped by Ctrl-C.
var ErrCanceled = errors.New("Operation cancelled") //nolint:revive // printed as it stands

// Run runs the command tree and returns the exit code of the process.
func (a *App) Run(ctx context.Context, root *cobra.Command) int {
	err := root.ExecuteContext(ctx)
	var exit *ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.Code
	case errors.Is(err, ErrCanceled), errors.Is(err, context.Canceled):
		fmt.Fprintln(a.Err, ErrCanceled)
		return 1
	}
	fmt.Fprintln(a.Err, "daytona:", a.explain(err))
	return 1
}

// explain adds to an error what a person can do about it.
func (a *App) explain(err error) string {
	text := strings.TrimPrefix(err.Error(), "daytona: ") // an error of the Go client begins as ours do
	switch {
	case errors.Is(err, daytona.ErrUnauthorized):
		text += " - run 'daytona login' to reauthenticate"
	case errors.Is(err, daytona.ErrForbidden):
		text += " - check that your API key has sufficient permissions for this action"
	}
	if errors.Is(err, daytona.ErrUnsupported) {
		text += ": it is of another version than this command line, or was built without that. `daytona version` says which this one is"
	}
	var lost *daytona.ConnectionError
	if errors.As(err, &lost) {
		text += "; is the server running, and its URL right? 'daytona doctor' looks"
	}
	return text
}

// usage marks an error about how a command was called.
func usage(format string, args ...any) error { return fmt.Errorf(format, args...) }

// atMostOne prints help when there is no argument, as a command does that can
// work without one.
func helpWithout(cmd *cobra.Command, args []string) bool {
	if len(args) > 0 {
		return false
	}
	_ = cmd.Help()
	return true
}

func openBrowser(url string) error {
	var cmd *exec.Cmd
	switch runtime.GOOS {
	case "darwin":
		cmd = exec.Command("open", url) //nolint:noctx // it outlives us
	case "windows":
		cmd = exec.Command("rundll32", "url.dll,FileProtocolHandler", url) //nolint:noctx // the same
	default:
		cmd = exec.Command("xdg-open", url) //nolint:noctx // the same
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	return cmd.Process.Release()
}
