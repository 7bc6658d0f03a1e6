package daytona

import (
	"context"
	"net/http"
	"net/url"
)

// Git works on repositories in a sandbox. Credentials count for one request and
// are kept nowhere.
type Git struct{ sandbox *Sandbox }

// Credentials open a remote repository. For a token the name may be anything.
type Credentials struct{ Username, Password string }

// CloneOptions say what to clone. Everything may be left out.
type CloneOptions struct {
	Branch      string
	Commit      string // checked out after cloning
	Credentials Credentials
	Depth       int // commits; 0 is all
	// InsecureSkipTLS does not check the remote's certificate.
	InsecureSkipTLS bool
}

func (g *Git) post(ctx context.Context, in any, names ...string) error {
	return g.sandbox.toolboxPost(ctx, in, append([]string{"git"}, names...)...)
}

// Clone clones a repository into a directory.
func (g *Git) Clone(ctx context.Context, remote, path string, o CloneOptions) error {
	return g.post(ctx, struct {
		URL      string `json:"url"`
		Path     string `json:"path"`
		Username string `json:"username,omitempty"`
		Password string `json:"password,omitempty"`
		Branch   string `json:"branch,omitempty"`
		Commit   string `json:"commit_id,omitempty"`
		Insecure bool   `json:"insecure_skip_tls,omitempty"`
		Depth    int    `json:"depth,omitempty"`
	}{remote, path, o.Credentials.Username, o.Credentials.Password, o.Branch, o.Commit, o.InsecureSkipTLS, o.Depth}, "clone")
}

// Init makes a repository. An empty branch is git's default.
func (g *Git) Init(ctx context.Context, path, branch string, bare bool) error {
	return g.post(ctx, struct {
		Path   string `json:"path"`
		Bare   bool   `json:"bare,omitempty"`
		Branch string `json:"initial_branch,omitempty"`
	}{path, bare, branch}, "init")
}

// Status is how a working tree stands.
type Status struct {
	Branch    string       `json:"currentBranch"` // "HEAD" when detached
	Files     []FileStatus `json:"fileStatus"`
	Published bool         `json:"branchPublished"`
	Ahead     int          `json:"ahead"`
	Behind    int          `json:"behind"`
	Upstream  string       `json:"upstream"`
	Detached  bool         `json:"detached"`
}

// FileStatus is how a file stands: Unmodified, Untracked, Modified, Added,
// Deleted, Renamed, Copied, or "Updated but unmerged".
type FileStatus struct {
	Name     string `json:"name"`
	Extra    string `json:"extra"` // the old name of what was renamed
	Staging  string `json:"staging"`
	Worktree string `json:"worktree"`
}

func (g *Git) url(names ...string) string {
	return g.sandbox.toolbox(append([]string{"git"}, names...)...)
}

// Status returns how the working tree stands.
func (g *Git) Status(ctx context.Context, path string) (Status, error) {
	return getAs[Status](ctx, g.sandbox.client, g.url("status"), url.Values{"path": {path}})
}

// Commit is a commit of the history.
type Commit struct {
	Hash      string `json:"hash"`
	Author    string `json:"author"`
	Email     string `json:"email"`
	Message   string `json:"message"`
	Timestamp string `json:"timestamp"` // RFC 3339
}

// History returns the commits that led to the present one, newest first.
func (g *Git) History(ctx context.Context, path string) ([]Commit, error) {
	return getAs[[]Commit](ctx, g.sandbox.client, g.url("history"), url.Values{"path": {path}})
}

// Branches returns the names of the local branches.
func (g *Git) Branches(ctx context.Context, path string) ([]string, error) {
	out, err := getAs[struct {
		Branches []string `json:"branches"`
	}](ctx, g.sandbox.client, g.url("branches"), url.Values{"path": {path}})
	return out.Branches, err
}

// CreateBranch makes a branch and checks it out.
func (g *Git) CreateBranch(ctx context.Context, path, name string) error {
	return g.post(ctx, map[string]string{"path": path, "name": name}, "branches")
}

// DeleteBranch removes a branch.
func (g *Git) DeleteBranch(ctx context.Context, path, name string) error {
	return g.sandbox.client.call(ctx, request{method: http.MethodDelete, url: g.url("branches"), in: map[string]string{"path": path, "name": name}})
}

// Checkout checks out a branch or a commit.
func (g *Git) Checkout(ctx context.Context, path, branch string) error {
	return g.post(ctx, map[string]string{"path": path, "branch": branch}, "checkout")
}

// Add stages files; "." is all.
func (g *Git) Add(ctx context.Context, path string, files ...string) error {
	return g.post(ctx, map[string]any{"path": path, "files": files}, "add")
}

// NewCommit says what to commit as whom.
type NewCommit struct {
	Message, Author, Email string
	AllowEmpty             bool
}

// Commit commits what is staged and returns the commit's hash.
func (g *Git) Commit(ctx context.Context, path string, c NewCommit) (string, error) {
	out, err := postAs[struct {
		Hash string `json:"hash"`
	}](ctx, g.sandbox.client, g.url("commit"), struct {
		Path    string `json:"path"`
		Message string `json:"message"`
		Author  string `json:"author"`
		Email   string `json:"email"`
		Empty   bool   `json:"allow_empty,omitempty"`
	}{path, c.Message, c.Author, c.Email, c.AllowEmpty})
	return out.Hash, err
}

type syncBody struct {
	Path        string `json:"path"`
	Username    string `json:"username,omitempty"`
	Password    string `json:"password,omitempty"`
	Branch      string `json:"branch,omitempty"`
	Remote      string `json:"remote,omitempty"`
	SetUpstream bool   `json:"set_upstream,omitempty"`
}

// SyncOptions say with which branch of which remote. Everything may be left
// out.
type SyncOptions struct {
	Credentials    Credentials
	Remote, Branch string
	SetUpstream    bool // of a push: keep it as the branch's upstream
}

// Push sends commits to the remote.
func (g *Git) Push(ctx context.Context, path string, o SyncOptions) error {
	return g.post(ctx, syncBody{path, o.Credentials.Username, o.Credentials.Password, o.Branch, o.Remote, o.SetUpstream}, "push")
}

// Pull brings commits of the remote.
func (g *Git) Pull(ctx context.Context, path string, o SyncOptions) error {
	return g.post(ctx, syncBody{path, o.Credentials.Username, o.Credentials.Password, o.Branch, o.Remote, false}, "pull")
}

// Reset moves the branch to a commit: soft, mixed, hard, merge or keep. With
// files only these are taken out of what is staged.
func (g *Git) Reset(ctx context.Context, path, mode, target string, files ...string) error {
	return g.post(ctx, struct {
		Path   string   `json:"path"`
		Mode   string   `json:"mode,omitempty"`
		Target string   `json:"target,omitempty"`
		Files  []string `json:"files,omitempty"`
	}{path, mode, target, files}, "reset")
}

// Restore brings files back to how they were committed, or as they are in
// another commit.
func (g *Git) Restore(ctx context.Context, path, source string, staged bool, files ...string) error {
	return g.post(ctx, struct {
		Path   string   `json:"path"`
		Files  []string `json:"files"`
		Staged bool     `json:"staged,omitempty"`
		Source string   `json:"source,omitempty"`
	}{path, files, staged, source}, "restore")
}

// Remote is another repository by its short name.
type Remote struct {
	Name string `json:"name"`
	URL  string `json:"url"`
}

// Remotes lists the remotes.
func (g *Git) Remotes(ctx context.Context, path string) ([]Remote, error) {
	out, err := getAs[struct {
		Remotes []Remote `json:"remotes"`
	}](ctx, g.sandbox.client, g.url("remotes"), url.Values{"path": {path}})
	return out.Remotes, err
}

// AddRemote adds a remote.
func (g *Git) AddRemote(ctx context.Context, path string, r Remote) error {
	return g.post(ctx, map[string]string{"path": path, "name": r.Name, "url": r.URL}, "remotes")
}

// Config returns a setting, "" when it is not set. Scope is global, local or
// system.
func (g *Git) Config(ctx context.Context, path, key, scope string) (string, error) {
	query := url.Values{"key": {key}}
	if path != "" {
		query.Set("path", path)
	}
	if scope != "" {
		query.Set("scope", scope)
	}
	out, err := getAs[struct {
		Value string `json:"value"`
	}](ctx, g.sandbox.client, g.url("config"), query)
	return out.Value, err
}

// SetConfig changes a setting.
func (g *Git) SetConfig(ctx context.Context, path, key, value, scope string) error {
	return g.post(ctx, struct {
		Key   string `json:"key"`
		Value string `json:"value"`
		Path  string `json:"path,omitempty"`
		Scope string `json:"scope,omitempty"`
	}{key, value, path, scope}, "config")
}

// SetUser sets the author of commits that name none. With path "" it is for every
// repository of the sandbox's user.
func (g *Git) SetUser(ctx context.Context, path, name, email string) error {
	scope := ""
	if path == "" {
		scope = "global"
	}
	return g.post(ctx, struct {
		Name  string `json:"name"`
		Email string `json:"email"`
		Path  string `json:"path,omitempty"`
		Scope string `json:"scope,omitempty"`
	}{name, email, path, scope}, "config", "user")
}

// StoreCredentials has git use credentials for a host from now on. They lie in
// the sandbox in plain text, where whatever runs in it can read them; Clone, Pull
// and Push take credentials that are kept nowhere. A host "" is github.com.
func (g *Git) StoreCredentials(ctx context.Context, host, username, password string) error {
	return g.post(ctx, struct {
		Username string `json:"username"`
		Password string `json:"password"`
		Host     string `json:"host,omitempty"`
	}{username, password, host}, "credentials")
}
