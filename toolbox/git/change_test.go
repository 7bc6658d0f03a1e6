package git

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fresh is a repository at r with two commits of the files a and b.
func fresh(t *testing.T) (*box, []string) {
	b := newBox(t)
	b.want(201, "POST", "/git/init", m{"path": "r", "initial_branch": "main"}, nil)
	var commits []string
	for _, content := range []string{"1\n", "2\n"} {
		b.write("r/a", content)
		b.write("r/b", content)
		commits = append(commits, b.commit("r", "content "+content))
	}
	return b, commits
}

func TestReset(t *testing.T) {
	t.Parallel()
	b, commits := fresh(t)
	head := func() string { return git(t, filepath.Join(b.home, "r"), "rev-parse", "HEAD") }
	b.write("r/a", "3\n")
	b.want(200, "POST", "/git/add", m{"path": "r", "files": []string{"a"}}, nil)
	b.want(200, "POST", "/git/reset", m{"path": "r"}, nil)
	if diff := cmp.Diff([]fileStatus{{"a", "", unmodified, modified}}, b.status("r").FileStatus); diff != "" {
		t.Errorf("after a mixed reset: %s", diff)
	}
	b.want(200, "POST", "/git/reset", m{"path": "r", "mode": "soft", "target": "HEAD~1"}, nil)
	if diff := cmp.Diff([]fileStatus{{"a", "", modified, modified}, {"b", "", modified, unmodified}}, b.status("r").FileStatus); diff != "" || head() != commits[0] {
		t.Errorf("after a soft reset: %s", diff)
	}
	b.want(200, "POST", "/git/reset", m{"path": "r", "files": []string{"b"}}, nil)
	b.want(200, "POST", "/git/reset", m{"path": "r", "files": []string{"a"}, "mode": "mixed", "target": commits[1]}, nil)
	b.want(200, "POST", "/git/reset", m{"path": "r", "mode": "hard", "target": commits[1]}, nil)
	if st := b.status("r"); len(st.FileStatus) != 0 || head() != commits[1] || b.read("r/a") != "2\n" {
		t.Errorf("after a hard reset: %+v", st)
	}
	b.write("r/a", "dirty\n")
	b.refused(409, "GIT_DIRTY_WORKTREE", "a", "POST", "/git/reset", m{"path": "r", "mode": "keep", "target": "HEAD~1"})
	b.refused(404, "NOT_FOUND", "revision not found", "POST", "/git/reset", m{"path": "r", "target": "none"})
	b.refused(400, "BAD_REQUEST", "mode", "POST", "/git/reset", m{"path": "r", "mode": "sideways"})
	b.refused(400, "BAD_REQUEST", "mode mixed", "POST", "/git/reset", m{"path": "r", "mode": "hard", "files": []string{"a"}})
	b.refused(400, "BAD_REQUEST", "'-'", "POST", "/git/reset", m{"path": "r", "target": "--hard"})
	if head() != commits[1] || b.read("r/a") != "dirty\n" {
		t.Error("a refused reset has changed something")
	}
}

func TestRestore(t *testing.T) {
	t.Parallel()
	b, commits := fresh(t)
	b.write("r/a", "3\n")
	b.write("r/b", "3\n")
	b.want(200, "POST", "/git/add", m{"path": "r", "files": []string{"a", "b"}}, nil)
	b.write("r/a", "4\n")
	b.want(200, "POST", "/git/restore", m{"path": "r", "files": []string{"a"}}, nil)
	if got := b.read("r/a"); got != "3\n" {
		t.Errorf("from the index: %q", got)
	}
	b.want(200, "POST", "/git/restore", m{"path": "r", "files": []string{"a"}, "staged": true}, nil)
	if diff := cmp.Diff([]fileStatus{{"a", "", unmodified, modified}, {"b", "", modified, unmodified}}, b.status("r").FileStatus); diff != "" {
		t.Errorf("unstaged: %s", diff)
	}
	b.want(200, "POST", "/git/restore", m{"path": "r", "files": []string{"."}, "staged": true, "worktree": true, "source": commits[0]}, nil)
	if b.read("r/a") != "1\n" || b.read("r/b") != "1\n" {
		t.Error("not restored from the commit")
	}
	b.refused(404, "FILE_NOT_FOUND", "none", "POST", "/git/restore", m{"path": "r", "files": []string{"none"}})
	b.refused(404, "NOT_FOUND", "revision not found", "POST", "/git/restore", m{"path": "r", "files": []string{"a"}, "source": "none"})
	b.refused(400, "BAD_REQUEST", "nothing to restore", "POST", "/git/restore", m{"path": "r", "files": []string{"a"}, "worktree": false})
	b.refused(400, "BAD_REQUEST", "'-'", "POST", "/git/restore", m{"path": "r", "files": []string{"a"}, "source": "-x"})
}

func TestRemotes(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	h := newHost(t, false)
	url := h.repo("app.git", "one")
	b.want(201, "POST", "/git/init", m{"path": "r"}, nil)
	remotes := func() []remoteInfo {
		t.Helper()
		var reply remotesReply
		b.want(200, "GET", "/git/remotes?path=r", nil, &reply)
		if reply.Remotes == nil {
			t.Error("remotes is null")
		}
		return reply.Remotes
	}
	if got := remotes(); len(got) != 0 {
		t.Errorf("remotes: %v", got)
	}
	b.refused(404, "GIT_REPO_NOT_FOUND", "", "POST", "/git/remotes", m{"path": "r", "name": "origin", "url": h.url + "/none.git", "fetch": true})
	if got := remotes(); len(got) != 0 {
		t.Errorf("a remote that cannot be reached was added: %v", got)
	}
	b.want(201, "POST", "/git/remotes", m{"path": "r", "name": "origin", "url": url, "fetch": true}, nil)
	git(t, filepath.Join(b.home, "r"), "rev-parse", "--verify", "refs/remotes/origin/main")
	b.want(200, "POST", "/git/checkout", m{"path": "r", "branch": "main"}, nil)
	if st := b.status("r"); *st.Upstream != "origin/main" {
		t.Errorf("status: %+v", st)
	}
	b.refused(409, "CONFLICT", "already exists", "POST", "/git/remotes", m{"path": "r", "name": "origin", "url": "/x"})
	git(t, filepath.Join(b.home, "r"), "config", "remote.origin.pushurl", "/elsewhere")
	b.want(201, "POST", "/git/remotes", m{"path": "r", "name": "origin", "url": "https://user:secret@example.com/x", "overwrite": true}, nil)
	b.want(201, "POST", "/git/remotes", m{"path": "r", "name": "up/stream", "url": "git@example.com:a/b", "overwrite": true}, nil)
	if diff := cmp.Diff([]remoteInfo{{"origin", "https://example.com/x"}, {"up/stream", "git@example.com:a/b"}}, remotes()); diff != "" {
		t.Error(diff)
	}
	if config := b.read("r/.git/config"); strings.Contains(config, "secret") || strings.Contains(config, "elsewhere") {
		t.Errorf("configuration:\n%s", config)
	}
	for _, name := range []string{"-x", "a b", "../x", "a=b", "a.lock", "x\ny"} {
		b.refused(400, "BAD_REQUEST", "remote", "POST", "/git/remotes", m{"path": "r", "name": name, "url": "/x"})
	}
	b.refused(400, "BAD_REQUEST", "'-'", "POST", "/git/remotes", m{"path": "r", "name": "x", "url": "--x"})
	b.refused(404, "GIT_REPO_NOT_FOUND", "none", "POST", "/git/pull", m{"path": "r", "remote": "none"})
	b.want(201, "POST", "/git/remotes", m{"path": "r", "name": "origin", "url": url, "overwrite": true}, nil)
	b.want(200, "POST", "/git/pull", m{"path": "r", "remote": "origin", "branch": "main"}, nil)
	b.refused(404, "GIT_BRANCH_NOT_FOUND", "", "POST", "/git/pull", m{"path": "r", "branch": "none"})
	b.refused(404, "GIT_BRANCH_NOT_FOUND", "", "POST", "/git/push", m{"path": "r", "branch": "none"})
	b.refused(400, "BAD_REQUEST", "branch", "POST", "/git/push", m{"path": "r", "branch": "main:evil"})
}

func TestConfig(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	b.want(201, "POST", "/git/init", m{"path": "r"}, nil)
	get := func(query string) string {
		t.Helper()
		status, body := b.call("GET", "/git/config?"+query, nil)
		return fmt.Sprintf("%d %s", status, strings.TrimSpace(string(body)))
	}
	if got := get("key=user.name"); got != "200 {}" {
		t.Errorf("unset: %s", got)
	}
	b.want(200, "POST", "/git/config", m{"key": "a.b", "value": "-x \"y\"\nz"}, nil)
	b.want(200, "POST", "/git/config", m{"key": "a.Sub.Section with = [x].b", "value": "", "scope": "global"}, nil)
	b.want(200, "POST", "/git/config", m{"key": "a.b", "value": "local", "scope": "local", "path": "r"}, nil)
	for query, want := range map[string]string{
		"key=a.b":                               `200 {"value":"-x \"y\"\nz"}`,
		"key=a.b&scope=global&path=none":        `200 {"value":"-x \"y\"\nz"}`,
		"key=a.b&scope=local&path=r":            `200 {"value":"local"}`,
		"key=A.B&scope=local&path=r":            `200 {"value":"local"}`,
		"key=a.c&scope=local&path=r":            `200 {}`,
		"key=a.Sub.Section+with+=+[x].b":        `200 {"value":""}`,
		"key=zz.zz&scope=system":                `200 {}`,
		"key=a.b.c.d.e":                         `200 {}`,
		"key=core.hooksPath":                    `200 {}`, // not what our own runs are given
		"key=core.hooksPath&scope=local&path=r": `200 {}`,
	} {
		if got := get(query); got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
	git(t, b.home, "config", "--file", ".gitconfig", "--add", "many.x", "1")
	git(t, b.home, "config", "--file", ".gitconfig", "--add", "many.x", "2")
	b.want(200, "POST", "/git/config", m{"key": "many.x", "value": "3"}, nil)
	if got := git(t, b.home, "config", "--file", ".gitconfig", "--get-all", "many.x"); got != "3" {
		t.Errorf("many: %s", got)
	}
	b.want(200, "POST", "/git/config/user", m{"name": "Ada L", "email": "ada@example.com"}, nil)
	b.want(200, "POST", "/git/config/user", m{"name": "Bob", "email": "bob@example.com", "scope": "local", "path": "r"}, nil)
	if got := get("key=user.name") + get("key=user.email&scope=local&path=r"); got != `200 {"value":"Ada L"}200 {"value":"bob@example.com"}` {
		t.Error(got)
	}
	for _, body := range []m{{"key": "x"}, {"key": "-a.b"}, {"key": "a.b", "scope": "worktree"}, {"key": "a.b", "scope": "local"}, {"key": "a.9b"}, {"key": "a.b\n"}, {"key": ".b"}} {
		body["value"] = "v"
		b.refused(400, "BAD_REQUEST", "", "POST", "/git/config", body)
	}
	b.write(".gitconfig.lock", "")
	b.refused(409, "CONFLICT", ".gitconfig", "POST", "/git/config", m{"key": "a.b", "value": "x"})
}

// TestOddNames is about files and branches whose names are meant to be mistaken
// for something else, and repositories that are not laid out as usual.
func TestOddNames(t *testing.T) {
	t.Parallel()
	b, _ := fresh(t)
	names := []string{"-f", "--all", ":(top)x", "*", "a b", "new\nline", "tab\tx", `quo"te`, "ünï", "x/.gitkeep", "?? x", "1 M. x", "$(id)"}
	for _, name := range names {
		b.write("r/"+name, "x")
	}
	b.want(200, "POST", "/git/add", m{"path": "r", "files": []string{"*"}}, nil)
	if got := git(t, filepath.Join(b.home, "r"), "diff", "--cached", "--name-only"); got != "*" {
		t.Errorf("a star has staged %q", got)
	}
	b.want(200, "POST", "/git/add", m{"path": "r", "files": names}, nil)
	got := byName(b.status("r").FileStatus)
	for _, name := range names {
		if got[name].Staging != added {
			t.Errorf("%q: %+v", name, got[name])
		}
	}
	b.want(200, "POST", "/git/reset", m{"path": "r", "files": names}, nil)
	b.want(200, "POST", "/git/add", m{"path": "r", "files": []string{filepath.Join(b.home, "r/tab\tx")}}, nil)
	b.refused(400, "BAD_REQUEST", "outside", "POST", "/git/add", m{"path": "r", "files": []string{"../x"}})
	b.refused(404, "FILE_NOT_FOUND", "none", "POST", "/git/add", m{"path": "r", "files": []string{"none"}})
	b.write("r/.gitignore", "ignored\n")
	b.write("r/ignored", "")
	b.refused(400, "BAD_REQUEST", "ignored", "POST", "/git/add", m{"path": "r", "files": []string{"ignored"}})
	b.want(200, "POST", "/git/add", m{"path": "r", "files": []string{"."}}, nil)

	// A branch that no command of git's would make.
	git(t, filepath.Join(b.home, "r"), "update-ref", "refs/heads/-d", "HEAD")
	var list branchesReply
	b.want(200, "GET", "/git/branches?path=r", nil, &list)
	if diff := cmp.Diff([]string{"-d", "main"}, list.Branches); diff != "" {
		t.Error(diff)
	}
	for name, body := range map[string]m{"author": {"author": "<>"}, "lines": {"author": "a\nb", "email": "c\nd"}} {
		body["path"], body["message"] = "r", "m"
		if body["email"] == nil {
			body["email"] = "<>"
			b.refused(400, "BAD_REQUEST", "author", "POST", "/git/commit", body)
			continue
		}
		var reply commitReply
		b.want(200, "POST", "/git/commit", body, &reply)
		if got := git(t, filepath.Join(b.home, "r"), "log", "-1", "--format=%an|%ae"); got != "ab|cd" {
			t.Errorf("%s: %q", name, got)
		}
	}

	// .git elsewhere: by a link, and by a file.
	for path, setUp := range map[string]func(git string) error{
		"linked": func(git string) error { return os.Symlink("../r/.git", git) },
		"file":   func(git string) error { return os.WriteFile(git, []byte("gitdir: ../r/.git\n"), 0o600) },
	} {
		if err := os.Mkdir(filepath.Join(b.home, path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := setUp(filepath.Join(b.home, path, ".git")); err != nil {
			t.Fatal(err)
		}
		if st := b.status(path); st.CurrentBranch != "main" {
			t.Errorf("%s: %+v", path, st)
		}
	}
	// Settings in the sandbox's environment that would lead elsewhere.
	b.svc.Space.Env.Set(map[string]string{"GIT_DIR": "/nonexistent", "GIT_WORK_TREE": "/", "GIT_TRACE": "1", "GIT_CEILING_DIRECTORIES": "/", "LANGUAGE": "de"})
	if st := b.status("r"); st.CurrentBranch != "main" || len(st.FileStatus) != 0 {
		t.Errorf("status: %+v", st)
	}
	// Somebody else's, as far as git can tell.
	b.svc.Space.Env.Set(map[string]string{"GIT_TEST_ASSUME_DIFFERENT_OWNER": "1"})
	b.status("r")
	// A daemon that keeps git's output open after its end.
	b.svc.Space.Env.Set(map[string]string{"GIT_EXTERNAL_DIFF": "", "GIT_TEST_ASSUME_DIFFERENT_OWNER": "0"})
	git(t, filepath.Join(b.home, "r"), "config", "filter.slow.clean", "sleep 5 >/dev/null & cat")
	b.write("r/.gitattributes", "*.slow filter=slow\n")
	b.write("r/x.slow", "x")
	b.want(200, "POST", "/git/add", m{"path": "r", "files": []string{"."}}, nil)
}

// TestLarge sends a repository of many files through every route that lists.
func TestLarge(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	h := newHost(t, false)
	url := h.repo("large.git", "one")
	const files, commits = 3000, 300
	var stream strings.Builder
	for i := range commits {
		message := fmt.Sprintf("commit %d\n%s", i, strings.Repeat("x", 1000))
		fmt.Fprintf(&stream, "commit refs/heads/large\ncommitter C <c@d> %d +0000\ndata %d\n%s\n", 1_700_000_000+i, len(message), message)
		for j := range files / commits {
			fmt.Fprintf(&stream, "M 100644 inline dir%d/file%d\ndata 2\n%d\n\n", i%7, i*files/commits+j, j%10)
		}
	}
	file := filepath.Join(t.TempDir(), "stream")
	if err := os.WriteFile(file, []byte(stream.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	git(t, filepath.Join(h.dir, "large.git"), "-c", "alias.import=!git fast-import --quiet < "+file, "import")
	b.want(200, "POST", "/git/clone", m{"url": url, "path": "l", "branch": "large"}, nil)
	var history []commitInfo
	b.want(200, "GET", "/git/history?path=l", nil, &history)
	if len(history) != commits || history[0].Message != fmt.Sprintf("commit %d\n%s", commits-1, strings.Repeat("x", 1000)) {
		t.Errorf("%d commits", len(history))
	}
	for i := range 7 {
		if err := os.RemoveAll(filepath.Join(b.home, fmt.Sprintf("l/dir%d", i))); err != nil {
			t.Fatal(err)
		}
	}
	if st := b.status("l"); len(st.FileStatus) != files {
		t.Errorf("%d files", len(st.FileStatus))
	}
	b.commit("l", "all gone")
	b.want(200, "POST", "/git/push", m{"path": "l"}, nil)
}
