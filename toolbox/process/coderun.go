package process

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"daytona/internal/fault"
	"daytona/toolbox/charts"
	"daytona/toolbox/launch"
	"daytona/toolbox/reaper"
	"daytona/toolbox/wire"
)

type codeRequest struct {
	Code     string            `json:"code"`
	Language string            `json:"language"`
	Argv     []string          `json:"argv,omitempty"`
	Envs     map[string]string `json:"envs,omitempty"`
	Timeout  *uint32           `json:"timeout,omitempty"` // seconds
}

type codeReply struct {
	ExitCode  int        `json:"exitCode"`
	Result    string     `json:"result"`
	Artifacts *artifacts `json:"artifacts,omitempty"`
}

type artifacts struct {
	Charts []charts.Chart `json:"charts"`
}

// CodeRun answers POST /process/code-run: it runs a program text and returns its
// exit code, what it printed, and the charts that it showed.
func (s *Service) CodeRun(w http.ResponseWriter, r *http.Request) error {
	var req codeRequest
	if err := wire.Decode(r, &req); err != nil {
		return err
	}
	if req.Code == "" {
		return fault.New(fault.Invalid, "code is required")
	}
	if err := launch.CheckVars(req.Envs); err != nil {
		return err
	}
	j := job{
		env:     s.Space.Env.With(req.Envs),
		dir:     s.Space.WorkDir,
		timeout: timeLimit(req.Timeout, wire.DialectOf(r)),
		limit:   s.MaxOutput,
	}
	argv := strings.Join(req.Argv, " ")
	var program []string
	switch req.Language {
	case "python":
		code := req.Code
		if charts.Used(code) {
			code = charts.Wrap(code)
		}
		j.input = []byte(code)
		program = []string{"python3", "-u", "-"}
		if s.Python != nil {
			j.ready = func(ctx context.Context, c reaper.Command) (*reaper.Child, bool) {
				return s.Python(ctx, c, req.Code)
			}
		}
	case "javascript":
		j.input = []byte(hideScript(req.Code))
		program = []string{"node", "-"}
	case "typescript":
		file, err := s.tempFile(hideScript(req.Code))
		if err != nil {
			return err
		}
		defer os.Remove(file)
		j.env["npm_config_loglevel"] = "error"
		program = append(typescript(j.env, j.dir), file)
	default:
		return fault.New(fault.Invalid, "language must be python, javascript or typescript, not %q", req.Language)
	}
	o, err := s.runProgram(r, j, program, argv)
	if err != nil {
		return fmt.Errorf("run code: %w", err)
	}
	return answer(w, r, o, func() error {
		printed, found := charts.Extract(o.output)
		reply := codeReply{ExitCode: o.exitCode, Result: text(printed)}
		if len(found) > 0 {
			reply.Artifacts = &artifacts{found}
		}
		return wire.JSON(w, http.StatusOK, reply)
	})
}

// runProgram runs a program with arguments that are a piece of shell text:
// unquoted, so one with spaces becomes several. A shell is started only for a
// text that means more than words.
func (s *Service) runProgram(r *http.Request, j job, program []string, argv string) (outcome, error) {
	if strings.IndexFunc(argv, special) < 0 {
		j.args = append(program, strings.Fields(argv)...)
	} else {
		shell := s.Space.Shell(j.env)
		var line strings.Builder
		for _, word := range program {
			line.WriteString(quote(word) + " ")
		}
		j.args = []string{shell, "-c", line.String() + argv}
	}
	var err error
	if j.path, err = launch.LookPath(j.args[0], j.env["PATH"], j.dir); err != nil {
		return startFailure(err), nil
	}
	return run(r.Context(), s.Space, j)
}

// special reports whether a character may mean something to a shell.
func special(c rune) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return false
	}
	return !strings.ContainsRune(" _-+.,:/=@%", c)
}

// quote makes a word that a shell takes as it is.
func quote(word string) string {
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// hideScript makes a program see only its own arguments after the interpreter.
// The statement shares the first line, so that line numbers stay right.
func hideScript(code string) string {
	const statement = "process.argv.splice(1, 1); "
	if strings.HasPrefix(code, "#!") {
		code = "//" + code
	}
	return statement + code
}

// tempFile writes a program that is removed after it has run.
func (s *Service) tempFile(code string) (string, error) {
	f, err := os.CreateTemp(s.TempDir, "dtn_*.ts")
	if err != nil {
		return "", fault.Wrap(err, fault.Unprocessable, "cannot store the program in %s: is the disk full?", s.TempDir)
	}
	_, err = f.WriteString(code)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return "", fault.Wrap(err, fault.Unprocessable, "cannot store the program in %s: is the disk full?", s.TempDir)
	}
	return f.Name(), nil
}

// typescript returns the command that runs a TypeScript file: what npx would
// find, without starting npx, which takes longer than most programs run.
func typescript(env launch.Vars, dir string) []string {
	options := []string{"-T", "--ignore-diagnostics", "5107", "-O", `{"module":"CommonJS"}`}
	found := ""
	for d := dir; found == ""; d = filepath.Dir(d) {
		local := filepath.Join(d, "node_modules", ".bin", "ts-node")
		if launch.Executable(local) == nil {
			found = local
		}
		if d == filepath.Dir(d) {
			break
		}
	}
	if found == "" {
		if global, err := launch.LookPath("ts-node", env["PATH"], dir); err == nil {
			found = global
		}
	}
	if found == "" {
		return append([]string{"npx", "ts-node"}, options...)
	}
	return append([]string{found}, options...)
}
