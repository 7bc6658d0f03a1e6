package git

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestFlow is what programs do: clone, change, commit, push, pull, branches.
func TestFlow(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	h := newHost(t, false)
	url := h.repo("app.git", "one", "two")

	b.want(200, "POST", "/git/clone", m{"url": url, "path": "work/app"}, nil)
	if got := b.read("work/app/two"); got != "two\n" {
		t.Errorf("two: %q", got)
	}
	st := b.status("work/app")
	if st.CurrentBranch != "main" || !st.BranchPublished || st.Ahead != 0 || st.Behind != 0 || *st.Upstream != "origin/main" || *st.Detached {
		t.Errorf("after clone: %+v", st)
	}
	if st.FileStatus == nil || len(st.FileStatus) != 0 {
		t.Errorf("files after clone: %+v", st.FileStatus)
	}

	b.write("work/app/one", "changed\n")
	b.write("work/app/new dir/näw\nfile", "x")
	if err := os.Remove(filepath.Join(b.home, "work/app/two")); err != nil {
		t.Fatal(err)
	}
	want := []fileStatus{
		{Name: "one", Staging: unmodified, Worktree: modified},
		{Name: "two", Staging: unmodified, Worktree: deleted},
		{Name: "new dir/näw\nfile", Staging: untracked, Worktree: untracked},
	}
	if diff := cmp.Diff(want, b.status("work/app").FileStatus); diff != "" {
		t.Errorf("worktree: %s", diff)
	}
	b.want(200, "POST", "/git/add", m{"path": "work/app", "files": []string{"one", "new dir/näw\nfile"}}, nil)
	want[0].Staging, want[0].Worktree = modified, unmodified
	want[2].Staging, want[2].Worktree = added, unmodified
	got := b.status("work/app").FileStatus
	if diff := cmp.Diff(map[string]fileStatus{want[0].Name: want[0], want[1].Name: want[1], want[2].Name: want[2]}, byName(got)); diff != "" {
		t.Errorf("index: %s", diff)
	}
	hash := b.commit("work/app", "feat: a change\n\nwith a body")
	if got := git(t, filepath.Join(b.home, "work/app"), "rev-parse", "HEAD"); got != hash {
		t.Errorf("hash %s, HEAD is %s", hash, got)
	}
	if st := b.status("work/app"); st.Ahead != 1 || len(st.FileStatus) != 0 {
		t.Errorf("after commit: %+v", st)
	}
	b.want(200, "POST", "/git/push", m{"path": "work/app"}, nil)
	b.want(200, "POST", "/git/push", m{"path": "work/app"}, nil) // already up to date
	if got := git(t, filepath.Join(h.dir, "app.git"), "rev-parse", "main"); got != hash {
		t.Errorf("the remote has %s, pushed %s", got, hash)
	}
	if st := b.status("work/app"); st.Ahead != 0 {
		t.Errorf("after push: %+v", st)
	}

	theirs := h.change("app.git", "main", "three", "three\n")
	b.want(200, "POST", "/git/pull", m{"path": "work/app"}, nil)
	b.want(200, "POST", "/git/pull", m{"path": "work/app"}, nil) // already up to date
	if got := b.read("work/app/three"); got != "three\n" {
		t.Errorf("three: %q", got)
	}

	var history []commitInfo
	b.want(200, "GET", "/git/history?path=work/app", nil, &history)
	if len(history) != 4 || history[0].Hash != theirs || history[1].Hash != hash {
		t.Fatalf("history: %+v", history)
	}
	if c := history[1]; c.Author != "Ada" || c.Email != "ada@example.com" || c.Message != "feat: a change\n\nwith a body" || !strings.HasPrefix(c.Timestamp, "2") {
		t.Errorf("commit: %+v", c)
	}
}

func byName(files []fileStatus) map[string]fileStatus {
	out := map[string]fileStatus{}
	for _, f := range files {
		out[f.Name] = f
	}
	return out
}

func TestBranches(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	h := newHost(t, false)
	url := h.repo("app.git", "one", "two")
	first := git(t, filepath.Join(h.dir, "app.git"), "rev-parse", "main~1")
	b.want(200, "POST", "/git/clone", m{"url": url, "path": "app"}, nil)

	b.want(201, "POST", "/git/branches", m{"path": "app", "name": "feature/new"}, nil)
	var list branchesReply
	b.want(200, "GET", "/git/branches?path=app", nil, &list)
	if diff := cmp.Diff([]string{"feature/new", "main"}, list.Branches); diff != "" || *list.Current != "feature/new" {
		t.Errorf("branches %+v: %s", list, diff)
	}
	b.refused(409, "GIT_BRANCH_EXISTS", "already exists", "POST", "/git/branches", m{"path": "app", "name": "main"})
	for _, name := range []string{"-d", "a b", "a..b", "a.lock", "@{-1}", "a\nb"} {
		b.refused(400, "BAD_REQUEST", "", "POST", "/git/branches", m{"path": "app", "name": name})
	}

	// A pushed branch counts as published without an upstream.
	if st := b.status("app"); st.BranchPublished || st.Ahead != 0 {
		t.Errorf("new branch: %+v", st)
	}
	b.write("app/f", "f")
	b.commit("app", "f")
	b.want(200, "POST", "/git/push", m{"path": "app"}, nil)
	b.write("app/f", "g")
	b.commit("app", "g")
	if st := b.status("app"); !st.BranchPublished || st.Ahead != 1 || st.Behind != 0 || *st.Upstream != "" {
		t.Errorf("pushed branch: %+v", st)
	}
	b.want(200, "POST", "/git/push", m{"path": "app", "set_upstream": true}, nil)
	if st := b.status("app"); *st.Upstream != "origin/feature/new" || !st.BranchPublished || st.Ahead != 0 {
		t.Errorf("with an upstream: %+v", st)
	}

	b.want(200, "POST", "/git/checkout", m{"path": "app", "branch": "main"}, nil)
	b.want(200, "POST", "/git/push", m{"path": "app", "branch": "feature/new"}, nil)
	b.want(200, "POST", "/git/checkout", m{"path": "app", "branch": first}, nil)
	if st := b.status("app"); st.CurrentBranch != "HEAD" || !*st.Detached || st.BranchPublished {
		t.Errorf("detached: %+v", st)
	}
	b.want(200, "GET", "/git/branches?path=app", nil, &list)
	if *list.Current != "" {
		t.Errorf("current when detached: %q", *list.Current)
	}
	b.refused(409, "CONFLICT", "detached", "POST", "/git/push", m{"path": "app"})
	b.refused(409, "CONFLICT", "detached", "POST", "/git/pull", m{"path": "app"})
	b.want(200, "POST", "/git/checkout", m{"path": "app", "branch": first[:8]}, nil)

	b.want(200, "POST", "/git/checkout", m{"path": "app", "branch": "main"}, nil)
	b.refused(404, "GIT_BRANCH_NOT_FOUND", "", "POST", "/git/checkout", m{"path": "app", "branch": "none"})
	b.refused(404, "GIT_BRANCH_NOT_FOUND", "", "POST", "/git/checkout", m{"path": "app", "branch": strings.Repeat("ab", 20)})
	b.refused(400, "BAD_REQUEST", "'-'", "POST", "/git/checkout", m{"path": "app", "branch": "-f"})
	b.refused(404, "GIT_BRANCH_NOT_FOUND", "", "DELETE", "/git/branches", m{"path": "app", "name": "none"})
	b.refused(409, "CONFLICT", "checked out", "DELETE", "/git/branches", m{"path": "app", "name": "main"})
	b.want(204, "DELETE", "/git/branches", m{"path": "app", "name": "feature/new"}, nil)

	// A change that the other branch would lose.
	b.want(201, "POST", "/git/branches", m{"path": "app", "name": "other"}, nil)
	b.write("app/one", "other")
	b.commit("app", "other")
	b.want(200, "POST", "/git/checkout", m{"path": "app", "branch": "main"}, nil)
	b.write("app/one", "dirty")
	b.refused(409, "GIT_DIRTY_WORKTREE", "one", "POST", "/git/checkout", m{"path": "app", "branch": "other"})
	if got := b.read("app/one"); got != "dirty" {
		t.Errorf("one: %q", got)
	}
}

func TestUnborn(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	b.want(201, "POST", "/git/init", m{"path": "fresh/repo", "initial_branch": "trunk"}, nil)
	b.want(201, "POST", "/git/init", m{"path": "fresh/repo"}, nil)
	if st := b.status("fresh/repo"); st.CurrentBranch != "trunk" || st.BranchPublished || len(st.FileStatus) != 0 || *st.Detached {
		t.Errorf("status: %+v", st)
	}
	var list branchesReply
	b.want(200, "GET", "/git/branches?path=fresh/repo", nil, &list)
	if list.Branches == nil || len(list.Branches) != 0 || *list.Current != "trunk" {
		t.Errorf("branches: %+v", list)
	}
	history := []commitInfo{}
	b.want(200, "GET", "/git/history?path=fresh/repo", nil, &history)
	if history == nil || len(history) != 0 {
		t.Errorf("history: %+v", history)
	}
	b.refused(409, "CONFLICT", "no commit", "POST", "/git/push", m{"path": "fresh/repo"})
	b.refused(409, "CONFLICT", "cannot create empty commit", "POST", "/git/commit",
		m{"path": "fresh/repo", "message": "x", "author": "A", "email": "a@b"})
	var reply commitReply
	b.want(200, "POST", "/git/commit", m{"path": "fresh/repo", "message": "# first", "author": "A", "email": "a@b", "allow_empty": true}, &reply)
	b.want(200, "GET", "/git/history?path=fresh/repo", nil, &history)
	if len(history) != 1 || history[0].Message != "# first" || history[0].Hash != reply.Hash {
		t.Errorf("history: %+v", history)
	}
	b.refused(404, "GIT_REPO_NOT_FOUND", "no remote", "POST", "/git/push", m{"path": "fresh/repo"})
	b.refused(404, "GIT_REPO_NOT_FOUND", "no remote", "POST", "/git/pull", m{"path": "fresh/repo"})
	b.want(201, "POST", "/git/init", m{"path": "bare.git", "bare": true}, nil)
	b.want(200, "GET", "/git/branches?path=bare.git", nil, &list)
	b.refused(400, "BAD_REQUEST", "branch", "POST", "/git/init", m{"path": "x", "initial_branch": "a b"})
}

func TestNoRepository(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	b.want(201, "POST", "/git/init", m{"path": "."}, nil) // the home itself is one
	b.write("file", "")
	b.write("below/x", "")
	for _, path := range []string{"none", "file", "below", "file/x", "below/../none"} {
		for _, route := range []string{"status", "branches", "history", "remotes", "config?scope=local&key=a.b"} {
			mark := "?"
			if strings.Contains(route, "?") {
				mark = "&"
			}
			b.refused(404, "GIT_REPO_NOT_FOUND", "repository does not exist", "GET", "/git/"+route+mark+"path="+path, nil)
		}
		for route, body := range map[string]m{
			"add": {"files": []string{"."}}, "commit": {"message": "m", "author": "a", "email": "e"}, "checkout": {"branch": "main"},
			"branches": {"name": "x"}, "pull": {}, "push": {}, "reset": {}, "restore": {"files": []string{"x"}},
			"remotes": {"name": "x", "url": "/x"}, "config": {"key": "a.b", "value": "c", "scope": "local"},
		} {
			body["path"] = path
			b.refused(404, "GIT_REPO_NOT_FOUND", "repository does not exist", "POST", "/git/"+route, body)
		}
	}
}

func TestRequired(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	for route, bodies := range map[string][]string{
		"POST /git/clone":       {"url", "path"},
		"POST /git/add":         {"path", "files"},
		"POST /git/commit":      {"path", "message", "author", "email"},
		"POST /git/branches":    {"path", "name"},
		"DELETE /git/branches":  {"path", "name"},
		"POST /git/checkout":    {"path", "branch"},
		"POST /git/pull":        {"path"},
		"POST /git/push":        {"path"},
		"POST /git/init":        {"path"},
		"POST /git/reset":       {"path"},
		"POST /git/restore":     {"path", "files"},
		"POST /git/remotes":     {"path", "name", "url"},
		"POST /git/config":      {"key"},
		"POST /git/config/user": {"name", "email"},
		"POST /git/credentials": {"username", "password"},
	} {
		method, path, _ := strings.Cut(route, " ")
		for _, missing := range bodies {
			body := m{}
			for _, name := range bodies {
				switch name {
				case missing:
				case "files":
					body[name] = []string{"x"}
				default:
					body[name] = "x"
				}
			}
			b.refused(400, "BAD_REQUEST", missing+" is required", method, path, body)
			if missing != "files" {
				body[missing] = "a\x00b"
				if _, text := b.call(method, path, body); !strings.Contains(string(text), `"statusCode":400`) {
					t.Errorf("%s with a NUL byte in %s: %s", route, missing, text)
				}
			}
		}
		b.refused(400, "INVALID_REQUEST_BODY", "", method, path, "text")
	}
	for _, path := range []string{"status", "branches", "history", "remotes"} {
		b.refused(400, "BAD_REQUEST", "path is required", "GET", "/git/"+path, nil)
	}
	b.refused(400, "BAD_REQUEST", "key is required", "GET", "/git/config", nil)
}

func TestNotInstalled(t *testing.T) {
	t.Parallel()
	b := newBox(t, "PATH=/nonexistent")
	b.refused(422, "GIT_NOT_INSTALLED", "install it", "GET", "/git/status?path=.", nil)
	b.refused(422, "GIT_NOT_INSTALLED", "install it", "POST", "/git/clone", m{"url": "http://127.0.0.1:1/x", "path": "x"})
	b.nothing("x")
}

func TestStrictClient(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	b.want(201, "POST", "/git/init", m{"path": "r"}, nil)
	for path, want := range map[string]string{
		"/git/status?path=r":   `{"currentBranch":"master","branchPublished":false,"ahead":0,"behind":0,"fileStatus":[]}`,
		"/git/branches?path=r": `{"branches":[]}`,
	} {
		status, got := b.call("GET", path, nil, "User-Agent", "OpenAPI-Generator/1.0.0/go")
		if status != http.StatusOK || strings.TrimSpace(string(got)) != want {
			t.Errorf("%s: %d %s, want %s", path, status, got, want)
		}
	}
}
