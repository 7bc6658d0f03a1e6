package mcp

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/jsonschema-go/jsonschema"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	daytona "daytona/sdk/go"
)

type commandInput struct {
	ID      string  `json:"id,omitempty" jsonschema:"ID of the sandbox (default: the one that is kept for this conversation)"`
	Command string  `json:"command" jsonschema:"Command to execute, by the sandbox's shell"`
	Timeout float64 `json:"timeout,omitempty" jsonschema:"Seconds after which the command is ended (default: never)"`
}

type commandOutput struct {
	Stdout    string `json:"stdout"`
	Stderr    string `json:"stderr"`
	ExitCode  int    `json:"exitCode"`
	ErrorType string `json:"errorType,omitempty"`
}

type codeInput struct {
	ID       string   `json:"id,omitempty" jsonschema:"ID of the sandbox (default: the one that is kept for this conversation)"`
	Code     string   `json:"code" jsonschema:"Program to run"`
	Language string   `json:"language,omitempty" jsonschema:"python, javascript or typescript"`
	Args     []string `json:"args,omitempty" jsonschema:"Arguments of the program"`
	Timeout  float64  `json:"timeout,omitempty" jsonschema:"Seconds after which the program is ended (default: never)"`
}

type codeOutput struct {
	Output   string        `json:"output"`
	ExitCode int           `json:"exitCode"`
	Charts   []chartOutput `json:"charts,omitempty"`
}

type chartOutput struct {
	Type  string `json:"type"`
	Title string `json:"title"`
}

type startInput struct {
	ID      string `json:"id,omitempty" jsonschema:"ID of the sandbox (default: the one that is kept for this conversation)"`
	Session string `json:"session,omitempty" jsonschema:"Session in which to run: directory and variables last within one (default: a new one)"`
	Command string `json:"command" jsonschema:"Command that goes on after this call, such as a server"`
}

type startOutput struct {
	Session   string `json:"session"`
	CommandID string `json:"commandId"`
}

type logsInput struct {
	ID        string `json:"id,omitempty" jsonschema:"ID of the sandbox (default: the one that is kept for this conversation)"`
	Session   string `json:"session" jsonschema:"Session of the command"`
	CommandID string `json:"commandId" jsonschema:"The command"`
}

type logsOutput struct {
	Output   string `json:"output"`
	Running  bool   `json:"running"`
	ExitCode *int   `json:"exitCode,omitempty"`
}

type sessionInput struct {
	ID      string `json:"id,omitempty" jsonschema:"ID of the sandbox (default: the one that is kept for this conversation)"`
	Session string `json:"session" jsonschema:"Session to end, with everything that runs in it"`
}

type sessionsOutput struct {
	Sessions []daytona.SessionInfo `json:"sessions"`
}

type cloneInput struct {
	ID       string `json:"id,omitempty" jsonschema:"ID of the sandbox (default: the one that is kept for this conversation)"`
	URL      string `json:"url" jsonschema:"URL of the repository to clone"`
	Path     string `json:"path,omitempty" jsonschema:"Directory to clone the repository into (default: the work directory)"`
	Branch   string `json:"branch,omitempty" jsonschema:"Branch to clone"`
	CommitID string `json:"commitId,omitempty" jsonschema:"Commit to check out"`
	Username string `json:"username,omitempty" jsonschema:"Username for the repository"`
	Password string `json:"password,omitempty" jsonschema:"Password or token for the repository"`
}

func (k *keeper) commandTools(s *sdk.Server) {
	tool(s, "execute_command", "Execute Command", "Execute a shell command in the sandbox, wait for its end, and return what it printed and its exit code", destroys, nil, k.execute)
	tool(s, "run_code", "Run Code", "Run a program in the sandbox. Charts drawn with matplotlib come back as pictures: call plt.show()", destroys,
		func(s *jsonschema.Schema) {
			s.Properties["language"].Enum = []any{"python", "javascript", "typescript"}
			s.Properties["language"].Default = []byte(`"python"`)
		}, k.runCode)
	tool(s, "start_command", "Start Command", "Start a command that goes on after the call, such as a server. Look at it with command_logs, end it with stop_session", destroys, nil, k.start)
	tool(s, "command_logs", "Command Logs", "Return what a command that was started has printed so far, and whether it still runs", reads, nil, k.logs)
	tool(s, "stop_session", "Stop Session", "End a session and everything that runs in it", repeating, nil,
		func(ctx context.Context, req *sdk.CallToolRequest, in sessionInput) (*sdk.CallToolResult, any, error) {
			sb, err := k.at(ctx, req, in.ID, in.Session, "session parameter is required")
			if err == nil {
				err = sb.Process.Session(in.Session).Delete(ctx)
			}
			return text("Stopped session %s", in.Session), nil, err
		})
	tool(s, "list_sessions", "List Sessions", "List the sessions of a sandbox, and the commands that ran or run in them", reads, nil,
		func(ctx context.Context, req *sdk.CallToolRequest, in only) (*sdk.CallToolResult, sessionsOutput, error) {
			out := sessionsOutput{Sessions: []daytona.SessionInfo{}}
			sb, err := k.sandbox(ctx, req, in.ID)
			if err != nil {
				return nil, out, err
			}
			all, err := sb.Process.Sessions(ctx)
			out.Sessions = append(out.Sessions, all...)
			return asJSON(out.Sessions), out, err
		})
	tool(s, "git_clone", "Git Clone", "Clone a Git repository into the sandbox", adds,
		func(s *jsonschema.Schema) { s.Properties["path"].Default = []byte(`"."`) },
		func(ctx context.Context, req *sdk.CallToolRequest, in cloneInput) (*sdk.CallToolResult, any, error) {
			sb, err := k.at(ctx, req, in.ID, in.URL, "url parameter is required")
			if err == nil {
				defer progress(ctx, req, "cloning "+in.URL)()
				err = sb.Git.Clone(ctx, in.URL, orDot(in.Path), daytona.CloneOptions{
					Branch: in.Branch, Commit: in.CommitID, Credentials: daytona.Credentials{Username: in.Username, Password: in.Password}})
			}
			return text("Cloned repository: %s to %s", in.URL, orDot(in.Path)), nil, err
		})
}

func limit(seconds float64) []daytona.RunOption {
	if seconds <= 0 {
		return nil
	}
	return []daytona.RunOption{daytona.WithTimeout(time.Duration(seconds * float64(time.Second)))}
}

func (k *keeper) execute(ctx context.Context, req *sdk.CallToolRequest, in commandInput) (*sdk.CallToolResult, commandOutput, error) {
	out := commandOutput{ExitCode: -1}
	fail := func(kind string, err error) (*sdk.CallToolResult, commandOutput, error) {
		out.Stderr, out.ErrorType = explain(err).Error(), kind
		res := asJSON(out)
		res.IsError = true
		return res, out, nil
	}
	command := strings.TrimSpace(in.Command)
	if command == "" {
		return fail("ValueError", errors.New("command parameter is required"))
	}
	sb, err := k.sandbox(ctx, req, in.ID)
	if err != nil {
		return fail("SandboxError", err)
	}
	defer progress(ctx, req, "running")()
	run, err := sb.Process.Run(ctx, command, append(limit(in.Timeout), daytona.SplitOutput())...)
	switch {
	case errors.Is(err, daytona.ErrUnavailable):
		return fail("NetworkError", err)
	case err != nil:
		return fail("CommandExecutionError", err)
	}
	out = commandOutput{Stdout: strings.TrimSpace(run.Stdout), Stderr: strings.TrimSpace(run.Stderr), ExitCode: run.ExitCode}
	return asJSON(out), out, nil
}

func (k *keeper) runCode(ctx context.Context, req *sdk.CallToolRequest, in codeInput) (*sdk.CallToolResult, codeOutput, error) {
	sb, err := k.at(ctx, req, in.ID, in.Code, "code parameter is required")
	if err != nil {
		return nil, codeOutput{}, err
	}
	defer progress(ctx, req, "running")()
	run, err := sb.Process.RunCode(ctx, in.Code, append(limit(in.Timeout), daytona.InLanguage(daytona.Language(in.Language)), daytona.WithArgs(in.Args...))...)
	if err != nil {
		return nil, codeOutput{}, err
	}
	out := codeOutput{Output: run.Output, ExitCode: run.ExitCode}
	shown := run.Output
	if run.ExitCode != 0 {
		shown += fmt.Sprintf("\n(exit code %d)", run.ExitCode)
	}
	res := text("%s", shown)
	for _, chart := range run.Charts {
		out.Charts = append(out.Charts, chartOutput{chart.Type, chart.Title})
		if len(chart.PNG) > 0 {
			res.Content = append(res.Content, &sdk.ImageContent{Data: chart.PNG, MIMEType: "image/png"})
		}
	}
	return res, out, nil
}

func (k *keeper) start(ctx context.Context, req *sdk.CallToolRequest, in startInput) (*sdk.CallToolResult, startOutput, error) {
	var out startOutput
	sb, err := k.at(ctx, req, in.ID, in.Command, "command parameter is required")
	if err != nil {
		return nil, out, err
	}
	if in.Session == "" {
		in.Session = "mcp-" + strings.ToLower(rand.Text()[:8])
	}
	if _, err := sb.Process.CreateSession(ctx, in.Session); err != nil && !errors.Is(err, daytona.ErrConflict) {
		return nil, out, err
	}
	id, err := sb.Process.Session(in.Session).Start(ctx, in.Command)
	if err != nil {
		return nil, out, err
	}
	out = startOutput{in.Session, id}
	return text("Started command %s in session %s", id, in.Session), out, nil
}

func (k *keeper) logs(ctx context.Context, req *sdk.CallToolRequest, in logsInput) (*sdk.CallToolResult, logsOutput, error) {
	var out logsOutput
	sb, err := k.at(ctx, req, in.ID, in.Session, "session parameter is required")
	if err != nil {
		return nil, out, err
	}
	if err := required(in.CommandID, "commandId parameter is required"); err != nil {
		return nil, out, err
	}
	session := sb.Process.Session(in.Session)
	command, err := session.Command(ctx, in.CommandID)
	if err != nil {
		return nil, out, err
	}
	logs, err := session.Logs(ctx, in.CommandID)
	if err != nil {
		return nil, out, err
	}
	out = logsOutput{Output: logs.Output, Running: command.ExitCode == nil, ExitCode: command.ExitCode}
	state := "it still runs"
	if command.ExitCode != nil {
		state = fmt.Sprintf("exit code %d", *command.ExitCode)
	}
	return text("%s\n(%s)", logs.Output, state), out, nil
}
