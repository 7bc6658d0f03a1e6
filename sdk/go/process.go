package daytona

import (
	"context"
	"encoding/json"
	"net/http"
	"time"
)

// Process runs commands and code in a sandbox.
type Process struct{ sandbox *Sandbox }

// RunOption changes how a command or code runs.
type RunOption func(*run)

type run struct {
	dir      string
	env      map[string]string
	timeout  *int
	args     []string
	language Language
	split    bool
}

// InDir sets the directory of a command.
func InDir(path string) RunOption { return func(r *run) { r.dir = path } }

// WithEnv adds variables to those of the sandbox.
func WithEnv(env map[string]string) RunOption { return func(r *run) { r.env = env } }

// WithTimeout ends what runs, with everything that it started, after a time.
// The call's error is then an ErrTimeout. Seconds count; a part of one is one.
func WithTimeout(limit time.Duration) RunOption {
	return func(r *run) { r.timeout = new(seconds(limit)) }
}

// WithArgs gives code its arguments.
func WithArgs(args ...string) RunOption { return func(r *run) { r.args = args } }

// InLanguage sets the language of code; default: that of the sandbox, else
// Python.
func InLanguage(language Language) RunOption { return func(r *run) { r.language = language } }

// SplitOutput keeps a command's two streams apart, in Stdout and Stderr.
func SplitOutput() RunOption { return func(r *run) { r.split = true } }

func options(list []RunOption) run {
	var r run
	for _, option := range list {
		option(&r)
	}
	return r
}

// Result is what a command or a program came to. That it failed is no error of
// the call.
type Result struct {
	ExitCode int
	Output   string // standard output and error as they came
	Stdout   string // with SplitOutput
	Stderr   string
	Cause    string // why it ended: exit, signal, out_of_memory and so on
	Signal   string // the name of the signal that ended it, if one did
	Charts   []Chart
}

// Run runs a command by the sandbox's shell and returns what it printed.
func (p *Process) Run(ctx context.Context, command string, opts ...RunOption) (*Result, error) {
	o := options(opts)
	in := struct {
		Command string            `json:"command"`
		Cwd     string            `json:"cwd,omitempty"`
		Timeout *int              `json:"timeout,omitempty"`
		Envs    map[string]string `json:"envs,omitempty"`
		Split   bool              `json:"splitOutput,omitempty"`
	}{command, o.dir, o.timeout, o.env, o.split}
	out, err := postAs[struct {
		ExitCode int    `json:"exitCode"`
		Result   string `json:"result"`
		Stdout   string `json:"stdout"`
		Stderr   string `json:"stderr"`
		Cause    string `json:"cause"`
		Signal   string `json:"signal"`
	}](ctx, p.sandbox.client, p.sandbox.toolbox("process", "execute"), in)
	if err != nil {
		return nil, err
	}
	return &Result{ExitCode: out.ExitCode, Output: out.Result, Stdout: out.Stdout, Stderr: out.Stderr, Cause: out.Cause, Signal: out.Signal}, nil
}

// RunCode runs a program and returns what it printed, and the charts that it
// drew with matplotlib.
func (p *Process) RunCode(ctx context.Context, code string, opts ...RunOption) (*Result, error) {
	o := options(opts)
	if o.language == "" {
		o.language = Language(p.sandbox.Info().Labels[languageLabel])
	}
	if o.language == "" {
		o.language = Python
	}
	in := struct {
		Code     string            `json:"code"`
		Language Language          `json:"language"`
		Argv     []string          `json:"argv,omitempty"`
		Envs     map[string]string `json:"envs,omitempty"`
		Timeout  *int              `json:"timeout,omitempty"`
	}{code, o.language, o.args, o.env, o.timeout}
	out, err := postAs[struct {
		ExitCode  int    `json:"exitCode"`
		Result    string `json:"result"`
		Artifacts struct {
			Charts []Chart `json:"charts"`
		} `json:"artifacts"`
	}](ctx, p.sandbox.client, p.sandbox.toolbox("process", "code-run"), in)
	if err != nil {
		return nil, err
	}
	return &Result{ExitCode: out.ExitCode, Output: out.Result, Charts: out.Artifacts.Charts}, nil
}

// Chart is a figure that code drew.
type Chart struct {
	Type     string  `json:"type"` // line, scatter, bar, pie, box_and_whisker, composite_chart, unknown
	Title    string  `json:"title"`
	PNG      []byte  `json:"png"` // the picture; absent in parts of a composite chart
	XLabel   string  `json:"x_label"`
	YLabel   string  `json:"y_label"`
	XScale   string  `json:"x_scale"`
	YScale   string  `json:"y_scale"`
	Elements []Chart `json:"-"` // the parts of a composite chart
	// Raw is everything that is known of the chart, the data of its elements
	// among it, as the server sent it.
	Raw json.RawMessage `json:"-"`
}

// UnmarshalJSON reads a chart and keeps the whole of it in Raw.
func (c *Chart) UnmarshalJSON(data []byte) error {
	type plain Chart
	if err := json.Unmarshal(data, (*plain)(c)); err != nil {
		return err
	}
	c.Raw = append(json.RawMessage(nil), data...)
	if c.Type != "composite_chart" {
		return nil
	}
	var parts struct {
		Elements []Chart `json:"elements"`
	}
	if err := json.Unmarshal(data, &parts); err != nil {
		return err
	}
	c.Elements = parts.Elements
	return nil
}

// Ports returns the TCP ports on which something in the sandbox listens.
func (s *Sandbox) Ports(ctx context.Context) ([]int, error) {
	out, err := getAs[struct {
		Ports []int `json:"ports"`
	}](ctx, s.client, s.toolbox("port"), nil)
	return out.Ports, err
}

// Metrics are what a sandbox uses at a moment.
type Metrics struct {
	CPUCount   float64 `json:"cpuCount"`
	CPUUsedPct float64 `json:"cpuUsedPct"`
	MemTotal   int64   `json:"memTotal"` // bytes, as all below
	MemUsed    int64   `json:"memUsed"`
	MemCache   int64   `json:"memCache"`
	DiskTotal  int64   `json:"diskTotal"`
	DiskUsed   int64   `json:"diskUsed"`
	DiskFree   int64   `json:"diskFree"`
}

// Metrics returns what the sandbox uses now.
func (s *Sandbox) Metrics(ctx context.Context) (Metrics, error) {
	return getAs[Metrics](ctx, s.client, s.toolbox("system", "metrics"), nil)
}

// toolboxPost and toolboxDelete are for routes whose answer does not matter.
func (s *Sandbox) toolboxPost(ctx context.Context, in any, names ...string) error {
	return s.client.post(ctx, s.toolbox(names...), in, nil)
}

func (s *Sandbox) toolboxDelete(ctx context.Context, names ...string) error {
	return s.client.call(ctx, request{method: http.MethodDelete, url: s.toolbox(names...)})
}
