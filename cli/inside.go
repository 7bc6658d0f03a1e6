package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	daytona "daytona/sdk/go"
)

func (a *App) execCommand() *cobra.Command {
	var dir string
	var timeout int
	var env []string
	var terminal bool
	cmd := &cobra.Command{
		Use:   "exec [SANDBOX_ID] -- [COMMAND] [ARGS...]",
		Short: "Run a command in a sandbox",
		Long: `Run a command in a sandbox, print what it prints, and end with its exit code.

One word after the -- is a line for the sandbox's shell: 'ls | wc -l'. Several
are a program and its arguments, which come as they are. With --tty the command
has a terminal, and you are at it; without a command that is a shell.`,
		Example: `  daytona exec box -- python3 -c 'print(6 * 7)'
  daytona exec box --cwd /tmp -- 'ls -la | wc -l'
  daytona exec -t box`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			name, words := args[0], args[1:]
			if at := cmd.ArgsLenAtDash(); at >= 0 && at != 1 {
				return usage("write: daytona exec SANDBOX -- COMMAND")
			}
			vars, err := pairs(env, "environment variable")
			if err != nil {
				return err
			}
			if len(words) == 0 && !terminal {
				return usage("which command? write: daytona exec %s -- COMMAND", name)
			}
			sb, err := a.getStarted(cmd.Context(), name)
			if err != nil {
				return err
			}
			if terminal {
				return a.attach(cmd.Context(), sb, daytona.PTYOptions{Dir: dir, Env: vars}, commandLine(words))
			}
			opts := []daytona.RunOption{daytona.WithEnv(vars), daytona.InDir(dir)}
			if timeout > 0 {
				opts = append(opts, daytona.WithTimeout(time.Duration(timeout)*time.Second))
			}
			return a.execute(cmd.Context(), sb, commandLine(words), opts)
		},
	}
	cmd.Flags().StringVar(&dir, "cwd", "", "Directory in which the command runs")
	cmd.Flags().IntVar(&timeout, "timeout", 0, "Seconds after which the command is ended (0 means never)")
	cmd.Flags().StringArrayVarP(&env, "env", "e", nil, "Environment variables (format: KEY=VALUE)")
	cmd.Flags().BoolVarP(&terminal, "tty", "t", false, "Give the command a terminal")
	cmd.ValidArgsFunction = a.completeSandboxes
	return cmd
}

// commandLine is a line for a shell. One word is one already; several are
// quoted, so that each arrives as it is.
func commandLine(words []string) string {
	if len(words) == 1 {
		return words[0]
	}
	quoted := make([]string, len(words))
	for i, word := range words {
		quoted[i] = daytona.ShellQuote(word)
	}
	return strings.Join(quoted, " ")
}

func (a *App) execute(ctx context.Context, sb *daytona.Sandbox, line string, opts []daytona.RunOption) error {
	run, err := sb.Process.Run(ctx, line, opts...)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(a.Out, run.Output); err != nil {
		return err
	}
	if run.ExitCode == 0 {
		return nil
	}
	if run.Output == "" {
		fmt.Fprintf(a.Err, "Command failed with exit code %d\n", run.ExitCode)
	}
	return &ExitError{exitCode(run.ExitCode)}
}

// exitCode is a code that a process can end with.
func exitCode(code int) int {
	if code <= 0 || code > 255 {
		return 1
	}
	return code
}

func (a *App) ssh() *cobra.Command {
	var minutes int
	cmd := &cobra.Command{
		Use:   "ssh [SANDBOX_ID]",
		Short: "Open a shell in a sandbox by SSH",
		Long:  "Open a shell in a sandbox by SSH: asks the server for a token and starts this machine's ssh with it.",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			sb, err := a.getStarted(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			access, err := sb.SSHAccess(cmd.Context(), time.Duration(minutes)*time.Minute)
			if err != nil {
				return err
			}
			words := strings.Fields(access.SSHCommand)
			if len(words) < 2 {
				return errors.New("the server did not say how to connect")
			}
			trust, forget, err := a.knownHost(cmd.Context())
			if err != nil {
				return err
			}
			defer forget()
			program, err := exec.LookPath("ssh")
			if err != nil {
				return fmt.Errorf("this machine has no ssh program. Install OpenSSH, or type: daytona exec -t %s", args[0])
			}
			if !a.Interactive {
				trust = append(trust, "-T") // nobody sits there
			}
			run := exec.CommandContext(cmd.Context(), program, append(trust, words[1:]...)...)
			run.Stdin, run.Stdout, run.Stderr = os.Stdin, os.Stdout, os.Stderr
			err = run.Run()
			var failed *exec.ExitError
			if errors.As(err, &failed) {
				return &ExitError{exitCode(failed.ExitCode())}
			}
			return err
		},
	}
	cmd.Flags().IntVar(&minutes, "expires", 1440, "Minutes for which the token is valid")
	cmd.ValidArgsFunction = a.completeSandboxes
	return cmd
}

// knownHost gives ssh the host keys that the server has told by its API, so that
// nobody has to believe a fingerprint. A server that tells none is for ssh to
// judge.
func (a *App) knownHost(ctx context.Context) (options []string, forget func(), err error) {
	client, err := a.client()
	if err != nil {
		return nil, nil, err
	}
	about, err := client.Config(ctx)
	if err != nil {
		return nil, nil, err
	}
	if len(about.SSHGatewayHostKeys) == 0 {
		return nil, func() {}, nil
	}
	file, err := os.CreateTemp("", "daytona-known-hosts-*")
	if err != nil {
		return nil, nil, err
	}
	forget = func() { _ = os.Remove(file.Name()) }
	_, err = file.WriteString(knownHosts(about.SSHGatewayHost, about.SSHGatewayPort, about.SSHGatewayHostKeys))
	if err = errors.Join(err, file.Close()); err != nil {
		forget()
		return nil, nil, err
	}
	return []string{"-o", `UserKnownHostsFile="` + filepath.ToSlash(file.Name()) + `"`, "-o", "StrictHostKeyChecking=yes", "-o", "UpdateHostKeys=no"}, forget, nil
}

// knownHosts is a file of host keys as OpenSSH reads it.
func knownHosts(host string, port int, keys []string) string {
	if port != 0 && port != 22 {
		host = fmt.Sprintf("[%s]:%d", host, port)
	}
	var b strings.Builder
	for _, key := range keys {
		fmt.Fprintf(&b, "%s %s\n", host, key)
	}
	return b.String()
}

func (a *App) previewURL() *cobra.Command {
	var port, expires int
	cmd := &cobra.Command{
		Use:     "preview-url [SANDBOX_ID]",
		Short:   "Print a link to a port of a sandbox",
		Long:    "Print a link to a port of a sandbox, which opens for whoever has it until it expires.",
		Example: "  curl \"$(daytona preview-url box --port 3000)\"",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			sb, err := a.get(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			link, err := sb.SignedPreviewURL(cmd.Context(), port, time.Duration(expires)*time.Second)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(a.Out, link.URL)
			return err
		},
	}
	cmd.Flags().IntVarP(&port, "port", "p", 0, "Port on which something in the sandbox listens")
	cmd.Flags().IntVar(&expires, "expires", 3600, "Seconds for which the link is valid")
	_ = cmd.MarkFlagRequired("port")
	cmd.ValidArgsFunction = a.completeSandboxes
	return cmd
}

func (a *App) logs() *cobra.Command {
	var follow, build bool
	var session, command string
	cmd := &cobra.Command{
		Use:   "logs [SANDBOX_ID]",
		Short: "Print what runs in a sandbox has printed",
		Long: `Print what the image's own program has printed, or with --session and --command
what a command of a session has. --build prints the log of the build of the
sandbox's image.`,
		Example: `  daytona logs box --follow
  daytona logs box --session server --command 3f2a…`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			if (session == "") != (command == "") {
				return usage("--session and --command belong together")
			}
			sb, err := a.get(ctx, args[0])
			if err != nil {
				return err
			}
			if build {
				return sb.FollowBuild(ctx, a.Out)
			}
			switch {
			case follow && session != "":
				return sb.Process.Session(session).CopyLogs(ctx, command, a.Out, a.Err)
			case follow:
				for chunk, err := range sb.Process.FollowEntrypoint(ctx) {
					if err != nil {
						return err
					}
					if _, err := a.Out.Write(chunk.Text); err != nil {
						return err
					}
				}
				return nil
			}
			var logs *daytona.Logs
			if session != "" {
				logs, err = sb.Process.Session(session).Logs(ctx, command)
			} else {
				logs, err = sb.Process.EntrypointLogs(ctx)
			}
			if err != nil {
				return err
			}
			if logs.Output == "" && session == "" && a.Terminal {
				fmt.Fprintf(a.Err, "%s\n", "Nothing has been printed. This shows the image's own program; what `daytona exec` ran was shown there, and commands of sessions are named by --session and --command.")
			}
			_, err = io.WriteString(a.Out, logs.Output)
			return err
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "Go on until the program ends")
	cmd.Flags().BoolVar(&build, "build", false, "The log of the build of the sandbox's image")
	cmd.Flags().StringVar(&session, "session", "", "Session of a command")
	cmd.Flags().StringVar(&command, "command", "", "Command of a session")
	cmd.MarkFlagsMutuallyExclusive("build", "session")
	cmd.ValidArgsFunction = a.completeSandboxes
	return cmd
}
