package daytona

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"daytona/api"
)

// Language is a programming language in which a sandbox runs code.
type Language string

// The languages.
const (
	Python     Language = "python"
	JavaScript Language = "javascript"
	TypeScript Language = "typescript"
)

// languageLabel is where a sandbox remembers its language.
const languageLabel = "code-toolbox-language"

// CreateParams says what sandbox to make. Everything may be left out.
type CreateParams struct {
	Name     string // unique in the organization; default: the sandbox's id
	Snapshot string // name or id; default: the server's
	Image    *Image // instead of Snapshot: it is built, or found already built
	Language Language
	User     string // within the sandbox
	Env      map[string]string
	Labels   map[string]string
	Public   bool   // previews need no token
	Target   string // region; default: the client's

	Resources Resources // only with Image; a snapshot has its own

	// Minutes; nil is the server's default. AutoStop 0: never. AutoArchive 0:
	// the longest. AutoDelete negative: never, 0: when it stops.
	AutoStop, AutoArchive, AutoDelete *int
	Ephemeral                         bool // deleted when it stops

	Volumes          []api.SandboxVolume
	NetworkBlockAll  bool
	NetworkAllowList string // IPv4 ranges, separated by commas
	DomainAllowList  string // names, separated by commas
	Isolation        string // gvisor or runc, of those on offer
	Class            string // small, medium or large; says nothing of resources

	// OnLog is called with each piece of the log of a build.
	OnLog func(text string)
	// NoWait returns as soon as the server has taken the order, in whatever
	// state the sandbox is.
	NoWait bool
}

// Resources are what a sandbox has. 0 is the server's default.
type Resources struct {
	CPU    int // cores
	GPU    int
	Memory int // GiB
	Disk   int // GiB
}

// Sandbox is a machine in which code runs. It is safe for concurrent use.
type Sandbox struct {
	ID string

	Process     *Process
	Interpreter *Interpreter
	Files       *Files
	Git         *Git
	Computer    *Computer

	client *Client
	mu     sync.Mutex
	info   api.Sandbox
}

func (c *Client) sandbox(info api.Sandbox) *Sandbox {
	s := &Sandbox{ID: info.ID, client: c, info: info}
	s.Process = &Process{s}
	s.Interpreter = &Interpreter{s}
	s.Files = &Files{s}
	s.Git = &Git{s}
	s.Computer = &Computer{s}
	return s
}

// Create makes a sandbox and waits until it has started. When that fails after
// the sandbox came to be, both it and the error are returned.
func (c *Client) Create(ctx context.Context, p CreateParams) (*Sandbox, error) {
	body, err := c.createBody(ctx, p)
	if err != nil {
		return nil, err
	}
	var info api.Sandbox
	err = c.call(ctx, request{method: http.MethodPost, url: c.path("sandbox"), in: body, out: &info, again: true, key: newKey()})
	if err != nil {
		return nil, err
	}
	s := c.sandbox(info)
	if p.NoWait || info.State == api.SandboxStarted {
		return s, nil
	}
	if p.OnLog != nil && (info.BuildInfo != nil || info.State == api.SandboxPendingBuild || info.State == api.SandboxBuildingSnapshot) {
		following, stop := context.WithCancel(ctx)
		defer stop()
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = s.followBuild(following, p.OnLog) // the build's end says what matters
		}()
		err = s.awaitBuilt(ctx)
		select {
		case <-done:
		case <-time.After(time.Second): // for what the log's end may still bring
			stop()
			<-done
		}
		return s, err
	}
	if info.BuildInfo != nil {
		return s, s.awaitBuilt(ctx)
	}
	return s, s.AwaitStarted(ctx)
}

func (c *Client) createBody(ctx context.Context, p CreateParams) (api.CreateSandbox, error) {
	labels := maps.Clone(p.Labels)
	if p.Language != "" {
		if labels == nil {
			labels = map[string]string{}
		}
		labels[languageLabel] = string(p.Language)
	}
	body := api.CreateSandbox{
		Name: optional(p.Name), Snapshot: optional(p.Snapshot), User: optional(p.User), Env: p.Env, Labels: labels,
		Target: optional(p.Target), Class: optional(p.Class), Isolation: optional(p.Isolation),
		NetworkAllowList: optional(p.NetworkAllowList), DomainAllowList: optional(p.DomainAllowList),
		AutoStopInterval: p.AutoStop, AutoArchiveInterval: p.AutoArchive, AutoDeleteInterval: p.AutoDelete,
		CPU: optional(p.Resources.CPU), GPU: optional(p.Resources.GPU), Memory: optional(p.Resources.Memory), Disk: optional(p.Resources.Disk),
		Volumes: p.Volumes, Public: optional(p.Public), NetworkBlockAll: optional(p.NetworkBlockAll),
	}
	if body.Target == nil {
		body.Target = optional(c.target)
	}
	if p.Ephemeral {
		if p.AutoDelete != nil && *p.AutoDelete != 0 {
			return body, errors.New("daytona: an ephemeral sandbox is deleted when it stops; leave AutoDelete out")
		}
		body.AutoDeleteInterval = new(0)
	}
	if p.Image != nil {
		if p.Snapshot != "" {
			return body, errors.New("daytona: give a snapshot or an image, not both")
		}
		build, err := c.upload(ctx, p.Image)
		if err != nil {
			return body, err
		}
		body.BuildInfo = build
	}
	return body, nil
}

// optional leaves out what is zero.
func optional[T comparable](value T) *T {
	var zero T
	if value == zero {
		return nil
	}
	return &value
}

// Get returns a sandbox by its id or name.
func (c *Client) Get(ctx context.Context, idOrName string) (*Sandbox, error) {
	if idOrName == "" {
		return nil, errors.New("daytona: the sandbox's id or name is empty")
	}
	var info api.Sandbox
	if err := c.get(ctx, c.path("sandbox", idOrName), nil, &info); err != nil {
		return nil, err
	}
	return c.sandbox(info), nil
}

// Info returns what was last heard of the sandbox.
func (s *Sandbox) Info() api.Sandbox {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.info
}

// Name returns the sandbox's name.
func (s *Sandbox) Name() string { return s.Info().Name }

// State returns the state that was last heard of.
func (s *Sandbox) State() api.SandboxState { return s.Info().State }

// Refresh asks the server how the sandbox is, and returns that.
func (s *Sandbox) Refresh(ctx context.Context) (api.Sandbox, error) {
	var info api.Sandbox
	if err := s.client.get(ctx, s.path(), nil, &info); err != nil {
		return s.Info(), err
	}
	s.set(info)
	return info, nil
}

func (s *Sandbox) set(info api.Sandbox) {
	if info.ID != s.ID {
		return // an empty answer
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.info = info
}

func (s *Sandbox) path(names ...string) string {
	return s.client.path(slices.Concat([]string{"sandbox", s.ID}, names)...)
}

// act posts to a route of the sandbox that answers with it, or with nothing.
func (s *Sandbox) act(ctx context.Context, r request) error {
	res, err := s.client.send(ctx, r)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	var info api.Sandbox
	if json.NewDecoder(res.Body).Decode(&info) == nil {
		s.set(info)
	}
	return nil
}

// Start starts a sandbox and waits until it runs.
func (s *Sandbox) Start(ctx context.Context) error {
	if err := s.act(ctx, request{method: http.MethodPost, url: s.path("start")}); err != nil {
		return err
	}
	return s.AwaitStarted(ctx)
}

// Stop ends everything in a sandbox and waits until it has stopped. Its files
// stay. With force programs are not asked to end first.
func (s *Sandbox) Stop(ctx context.Context, force bool) error {
	query := url.Values{}
	if force {
		query.Set("force", "true")
	}
	if err := s.act(ctx, request{method: http.MethodPost, url: s.path("stop"), query: query}); err != nil {
		return err
	}
	return s.AwaitStopped(ctx)
}

// Delete removes a sandbox with everything in it. It may be repeated.
func (s *Sandbox) Delete(ctx context.Context) error {
	return s.act(ctx, request{method: http.MethodDelete, url: s.path(), again: true})
}

// Archive moves a stopped sandbox's files to cheaper storage.
func (s *Sandbox) Archive(ctx context.Context) error {
	return s.act(ctx, request{method: http.MethodPost, url: s.path("archive")})
}

// AwaitStarted waits until the sandbox runs.
func (s *Sandbox) AwaitStarted(ctx context.Context) error {
	return s.await(ctx, "started", api.SandboxStarted)
}

// AwaitStopped waits until nothing runs in the sandbox any more. One that was
// deleted or archived meanwhile has stopped as well.
func (s *Sandbox) AwaitStopped(ctx context.Context) error {
	return s.await(ctx, "stopped", api.SandboxStopped, api.SandboxDestroyed, api.SandboxArchived)
}

// AwaitDeleted waits until nothing is left of the sandbox.
func (s *Sandbox) AwaitDeleted(ctx context.Context) error {
	err := s.await(ctx, "deleted", api.SandboxDestroyed)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// await waits for one of the states. One from which none leads there is an
// error.
func (s *Sandbox) await(ctx context.Context, what string, states ...api.SandboxState) error {
	if slices.Contains(states, s.State()) {
		return nil
	}
	return s.client.poll(ctx, "the sandbox was not "+what, func(ctx context.Context) (bool, error) {
		info, err := s.Refresh(ctx)
		switch {
		case err != nil:
			return false, err
		case slices.Contains(states, info.State):
			return true, nil
		case info.State == api.SandboxError, info.State == api.SandboxBuildFailed:
			return false, sandboxFailed(info)
		case info.State == api.SandboxDestroyed, info.State == api.SandboxDestroying && !slices.Contains(states, api.SandboxDestroyed):
			return false, sandboxFailed(info)
		}
		return false, nil
	})
}

// awaitBuilt waits for a sandbox whose image is built first, for which the
// client's limit is too short: only the context bounds it.
func (s *Sandbox) awaitBuilt(ctx context.Context) error {
	patient := *s.client
	patient.wait = 0
	copied := &Sandbox{ID: s.ID, client: &patient, info: s.Info()}
	err := copied.await(ctx, "started", api.SandboxStarted)
	s.set(copied.Info())
	return err
}

// SetNetwork changes what the sandbox may reach; it is in force, for open
// connections too, when it returns. What is nil stays as it is.
func (s *Sandbox) SetNetwork(ctx context.Context, n api.UpdateSandboxNetworkSettings) error {
	var out api.Sandbox
	if err := s.client.call(ctx, request{method: http.MethodPost, url: s.path("network-settings"), in: n, out: &out, again: true}); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.info = out
	return nil
}

// SetLabels replaces all labels.
func (s *Sandbox) SetLabels(ctx context.Context, labels map[string]string) error {
	if labels == nil {
		labels = map[string]string{}
	}
	var out api.SandboxLabels
	err := s.client.call(ctx, request{method: http.MethodPut, url: s.path("labels"), in: api.SandboxLabels{Labels: labels}, out: &out, again: true})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.info.Labels = out.Labels
	return nil
}

// SetPublic says whether previews can be seen without a token.
func (s *Sandbox) SetPublic(ctx context.Context, public bool) error {
	return s.act(ctx, request{method: http.MethodPost, url: s.path("public", strconv.FormatBool(public)), again: true})
}

// SetAutoStop sets after how many idle minutes the sandbox stops; 0: never.
func (s *Sandbox) SetAutoStop(ctx context.Context, minutes int) error {
	return s.act(ctx, request{method: http.MethodPost, url: s.path("autostop", strconv.Itoa(minutes)), again: true})
}

// SetAutoArchive sets after how many minutes stopped it is archived; 0: the
// longest time.
func (s *Sandbox) SetAutoArchive(ctx context.Context, minutes int) error {
	return s.act(ctx, request{method: http.MethodPost, url: s.path("autoarchive", strconv.Itoa(minutes)), again: true})
}

// SetAutoDelete sets after how many minutes stopped it is deleted; 0: at once,
// negative: never.
func (s *Sandbox) SetAutoDelete(ctx context.Context, minutes int) error {
	return s.act(ctx, request{method: http.MethodPost, url: s.path("autodelete", strconv.Itoa(minutes)), again: true})
}

// KeepAlive counts as use: the time until the sandbox stops begins anew.
func (s *Sandbox) KeepAlive(ctx context.Context) error {
	return s.client.call(ctx, request{method: http.MethodPost, url: s.path("last-activity"), in: struct{}{}, again: true})
}

// seconds rounds up, so that a limit that was set never becomes none.
func seconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }

// toolbox returns a URL of the program that serves inside the sandbox.
func (s *Sandbox) toolbox(names ...string) string {
	return join(strings.TrimRight(s.Info().ToolboxProxyURL, "/"), append([]string{s.ID}, names...)...)
}

// HomeDir returns the home directory of the sandbox's user.
func (s *Sandbox) HomeDir(ctx context.Context) (string, error) { return s.dir(ctx, "user-home-dir") }

// WorkDir returns the directory from which relative paths count.
func (s *Sandbox) WorkDir(ctx context.Context) (string, error) { return s.dir(ctx, "work-dir") }

func (s *Sandbox) dir(ctx context.Context, route string) (string, error) {
	out, err := getAs[struct {
		Dir string `json:"dir"`
	}](ctx, s.client, s.toolbox(route), nil)
	return out.Dir, err
}
