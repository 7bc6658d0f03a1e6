package git

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"daytona/internal/fault"
)

func (h *host) requests() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]string(nil), h.seen...)
}

func TestCredentials(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	const user, pass = `us er`, `p@ss/w:ord "'$(id) %41\`
	h := newHost(t, false).protect(user, pass)
	url := h.repo("app.git", "one")
	given := m{"url": url, "path": "app", "username": user, "password": pass}
	without := m{"url": url, "path": "app"}

	// Somebody who keeps what git hears of.
	b.write(".gitconfig", "[credential]\n\thelper = store\n[credential \""+h.url+"\"]\n\thelper = store\n")
	b.refused(401, "GIT_AUTH_FAILED", "authentication required", "POST", "/git/clone", without)
	b.nothing("app")
	b.refused(401, "GIT_AUTH_FAILED", "authentication failed", "POST", "/git/clone", m{"url": url, "path": "app", "username": user, "password": "x"})
	b.nothing("app")
	b.want(200, "POST", "/git/clone", given, nil)

	// In the address, encoded; whether with or without a password.
	host := strings.TrimPrefix(h.url, "http://")
	b.want(200, "POST", "/git/clone", m{"url": "http://us%20er:p%40ss%2Fw%3Aord%20%22%27%24(id)%20%2541%5C@" + host + "/app.git", "path": "two"}, nil)
	h.protect("a-token", "")
	b.want(200, "POST", "/git/clone", m{"url": "http://a-token@" + host + "/app.git", "path": "three"}, nil)
	h.protect("git", "a-token")
	b.want(200, "POST", "/git/clone", m{"url": url, "path": "four", "password": "a-token"}, nil)
	h.protect(user, pass)

	b.write("app/x", "x")
	b.commit("app", "x")
	b.refused(401, "GIT_AUTH_FAILED", "", "POST", "/git/push", m{"path": "app"})
	b.refused(401, "GIT_AUTH_FAILED", "", "POST", "/git/pull", m{"path": "app"})
	b.want(200, "POST", "/git/push", m{"path": "app", "username": user, "password": pass}, nil)
	b.want(200, "POST", "/git/pull", m{"path": "app", "username": user, "password": pass}, nil)
	b.want(201, "POST", "/git/remotes", m{"path": "app", "name": "other", "fetch": true,
		"url": "http://us%20er:p%40ss%2Fw%3Aord%20%22%27%24(id)%20%2541%5C@" + host + "/app.git"}, nil)

	// None of it is on the disk.
	err := filepath.WalkDir(b.home, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if text := string(content); strings.Contains(text, "p@ss") || strings.Contains(text, "p%40ss") || strings.Contains(text, "a-token") || strings.Contains(text, "us%20er") {
			t.Errorf("%s has the credentials: %s", path, text)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a\nb", "a\x00b", strings.Repeat("x", maxCredential+1)} {
		b.refused(400, "BAD_REQUEST", "password", "POST", "/git/clone", m{"url": url, "path": "five", "username": "u", "password": name})
	}
	long := strings.Repeat("x", maxCredential)
	h.protect(long, long)
	b.refused(401, "GIT_AUTH_FAILED", "authentication failed", "POST", "/git/clone", m{"url": url, "path": "five", "username": long[1:], "password": long})
}

// TestCredentialsStayHidden looks at all processes while git waits for a remote
// that has been given the credentials.
func TestCredentialsStayHidden(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	h := newHost(t, false).protect("user", "very-secret-token")
	url := h.repo("app.git", "one")
	looked := make(chan error, 1)
	h.before = func(w http.ResponseWriter, r *http.Request) bool {
		if _, pass, ok := r.BasicAuth(); !ok || pass != "very-secret-token" {
			return false
		}
		select {
		case looked <- findInProcesses("very-secret-token"):
		default:
		}
		return false
	}
	b.want(200, "POST", "/git/clone", m{"url": url, "path": "app", "username": "user", "password": "very-secret-token"}, nil)
	select {
	case err := <-looked:
		if err != nil {
			t.Error(err)
		}
	default:
		t.Error("the credentials were never used")
	}
}

// findInProcesses returns an error when a text is in the arguments or the
// environment of some process.
func findInProcesses(text string) error {
	for _, file := range []string{"cmdline", "environ"} {
		found, err := filepath.Glob("/proc/[0-9]*/" + file)
		if err != nil {
			return err
		}
		for _, path := range found {
			if content, err := os.ReadFile(path); err == nil && strings.Contains(string(content), text) {
				return errors.New("the text is in " + path + ": " + string(content))
			}
		}
	}
	return nil
}

// TestCredentialsStayWithTheirHost sends git to another host in the ways in
// which a remote or a repository can.
func TestCredentialsStayWithTheirHost(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	ours, theirs := newHost(t, false).protect("user", "secret"), newHost(t, false).protect("user", "secret")
	url := ours.repo("app.git", "one")
	theirs.repo("evil.git", "one")
	ours.before = func(w http.ResponseWriter, r *http.Request) bool {
		if path, moved := strings.CutPrefix(r.URL.Path, "/moved.git"); moved {
			http.Redirect(w, r, theirs.url+"/evil.git"+path+"?"+r.URL.RawQuery, http.StatusFound)
			return true
		}
		return false
	}
	with := func(more m) m {
		more["username"], more["password"] = "user", "secret"
		return more
	}
	b.refused(401, "GIT_AUTH_FAILED", "", "POST", "/git/clone", with(m{"url": ours.url + "/moved.git", "path": "moved"}))
	b.nothing("moved")

	b.want(200, "POST", "/git/clone", with(m{"url": url, "path": "app"}), nil)
	marker := filepath.Join(b.home, "hook-ran")
	for _, hook := range []string{"pre-push", "post-merge", "post-checkout", "pre-commit", "commit-msg", "post-commit", "reference-transaction", "pre-auto-gc", "fsmonitor-watchman"} {
		b.write("app/.git/hooks/"+hook, "#!/bin/sh\necho "+hook+" >> "+marker+"\ncat <&3 >> "+marker+"\n")
		if err := os.Chmod(filepath.Join(b.home, "app/.git/hooks", hook), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	app := filepath.Join(b.home, "app")
	git(t, app, "config", "core.fsmonitor", ".git/hooks/fsmonitor-watchman")
	git(t, app, "config", "core.hooksPath", ".git/hooks")
	git(t, app, "config", "fetch.recurseSubmodules", "true")
	git(t, app, "config", "submodule.recurse", "true")
	git(t, app, "config", "submodule.sub.url", theirs.url+"/evil.git")
	git(t, app, "config", "credential.helper", "!cat >> "+marker+" #")
	git(t, app, "config", "credential."+ours.url+".helper", "!cat >> "+marker+" #")
	b.write("app/.gitmodules", "[submodule \"sub\"]\n\tpath = sub\n\turl = "+theirs.url+"/evil.git\n")
	b.commit("app", "a submodule")
	b.want(200, "POST", "/git/push", with(m{"path": "app"}), nil)
	ours.change("app.git", "main", "two", "two\n")
	b.want(200, "POST", "/git/pull", with(m{"path": "app"}), nil)
	b.status("app")
	if got, err := os.ReadFile(marker); err == nil {
		t.Errorf("programs of the repository have run: %s", got)
	}
	for _, seen := range theirs.requests() {
		if strings.Contains(seen, "secret") {
			t.Errorf("the other host was given the credentials: %s", seen)
		}
	}
	used := false
	for _, seen := range ours.requests() {
		used = used || strings.Contains(seen, "user:secret")
	}
	if !used {
		t.Error("the credentials were never used")
	}
	// A remote that is a command, by way of a setting.
	git(t, app, "config", "remote.origin.url", "ext::sh -c touch% "+marker)
	b.refused(400, "BAD_REQUEST", "not allowed", "POST", "/git/pull", with(m{"path": "app"}))
	git(t, app, "config", "remote.origin.url", "x:y")
	git(t, app, "config", "url.ext::sh -c touch% "+marker+" .insteadOf", "x:y")
	b.refused(400, "BAD_REQUEST", "not allowed", "POST", "/git/pull", with(m{"path": "app"}))
	if _, err := os.Stat(marker); err == nil {
		t.Error("a command has run")
	}
}

// TestOtherAddress is about a user who has set that one host stands for another.
func TestOtherAddress(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	h := newHost(t, false).protect("user", "secret")
	h.repo("app.git", "one")
	b.write(".gitconfig", "[url \""+h.url+"/\"]\n\tinsteadOf = https://code.example/\n[url \"ext::x \"]\n\tinsteadOf = https://bad.example/\n")
	with := m{"url": "https://code.example/app.git", "path": "app", "username": "user", "password": "secret"}
	b.want(200, "POST", "/git/clone", with, nil)
	b.want(200, "POST", "/git/pull", m{"path": "app", "username": "user", "password": "secret"}, nil)
	b.want(201, "POST", "/git/remotes", m{"path": "app", "name": "x", "url": "https://user:secret@code.example/app.git", "fetch": true}, nil)
	if got := git(t, filepath.Join(b.home, "app"), "config", "remote.origin.url"); got != "https://code.example/app.git" {
		t.Errorf("saved: %s", got)
	}
	for _, more := range []m{{}, {"username": "u"}} {
		more["url"], more["path"] = "https://bad.example/x", "bad"
		b.refused(400, "BAD_REQUEST", "not allowed", "POST", "/git/clone", more)
	}
	b.nothing("bad")
}

func TestStoreCredentials(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	h := newHost(t, false).protect("user", "stored pass")
	url := h.repo("app.git", "one")
	b.write(".git-credentials", "https://a:b@example.com\n")
	b.want(200, "POST", "/git/credentials", m{"username": "user", "password": "stored pass", "host": strings.TrimPrefix(h.url, "http://"), "protocol": "http"}, nil)
	b.want(200, "POST", "/git/credentials", m{"username": "me", "password": "token"}, nil)
	b.want(200, "POST", "/git/credentials", m{"username": "me", "password": "newer"}, nil)
	b.want(200, "POST", "/git/clone", m{"url": url, "path": "app"}, nil)
	info, err := os.Stat(filepath.Join(b.home, ".git-credentials"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode: %v, %v", info.Mode(), err)
	}
	stored := b.read(".git-credentials")
	for text, n := range map[string]int{"https://me:newer@github.com\n": 1, "me:token": 0, "https://a:b@example.com\n": 1, "user:stored%20pass@127": 1} {
		if got := strings.Count(stored, text); got != n {
			t.Errorf("%q is there %d times in\n%s", text, got, stored)
		}
	}
	if config := b.read(".gitconfig"); strings.Count(config, "helper = store") != 2 || strings.Contains(config, "newer") {
		t.Errorf("configuration:\n%s", config)
	}
	for _, body := range []m{{"host": "a/b"}, {"host": "a\nhost=b"}, {"protocol": "ssh"}, {"username": "a\nb"}, {"host": "-x y"}} {
		if body["username"] == nil {
			body["username"] = "u"
		}
		body["password"] = "p"
		b.refused(400, "BAD_REQUEST", "", "POST", "/git/credentials", body)
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	h := newHost(t, true).protect("user", "secret")
	url := h.repo("app.git", "one")
	with := m{"url": url, "path": "app", "username": "user", "password": "secret"}
	b.refused(502, "GIT_TRANSPORT_FAILED", "certificate could not be verified", "POST", "/git/clone", with)
	b.nothing("app")
	if seen := h.requests(); len(seen) > 0 {
		t.Errorf("requests to a server that was not verified: %v", seen)
	}
	with["insecure_skip_tls"] = true
	b.want(200, "POST", "/git/clone", with, nil)
	if config := b.read("app/.git/config"); strings.Contains(config, "sslVerify") {
		t.Errorf("the exception was saved:\n%s", config)
	}
	b.refused(502, "GIT_TRANSPORT_FAILED", "certificate", "POST", "/git/pull", m{"path": "app", "username": "user", "password": "secret"})
}

func TestRemoteErrors(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	h := newHost(t, false)
	url := h.repo("app.git", "one")
	h.repo("empty.git")
	answers := map[string]int{"/forbidden": 403, "/broken": 500, "/limit": 429, "/nowhere": 404, "/login": 401}
	h.before = func(w http.ResponseWriter, r *http.Request) bool {
		for path, status := range answers {
			if strings.HasPrefix(r.URL.Path, path) {
				w.WriteHeader(status)
				return true
			}
		}
		if strings.HasPrefix(r.URL.Path, "/page") {
			_, _ = w.Write([]byte("<!doctype html>\n<html>\n<p>hello</p>\n</html>\n"))
			return true
		}
		return false
	}
	for _, test := range []struct {
		body   m
		status int
		code   string
		text   string
	}{
		{m{"url": h.url + "/none.git"}, 404, "GIT_REPO_NOT_FOUND", "not found"},
		{m{"url": h.url + "/nowhere.git"}, 404, "GIT_REPO_NOT_FOUND", "not found"},
		{m{"url": h.url + "/page.git"}, 404, "GIT_REPO_NOT_FOUND", ""},
		{m{"url": h.url + "/forbidden.git", "username": "u", "password": "p"}, 403, "FORBIDDEN", "refused access"},
		{m{"url": h.url + "/broken.git"}, 502, "GIT_TRANSPORT_FAILED", "500"},
		{m{"url": h.url + "/limit.git"}, 502, "GIT_TRANSPORT_FAILED", "429"},
		{m{"url": "http://127.0.0.1:1/x.git"}, 502, "GIT_TRANSPORT_FAILED", "could not be reached"},
		{m{"url": "http://no-such-host.invalid/x.git"}, 502, "GIT_TRANSPORT_FAILED", "could not be reached"},
		{m{"url": h.url + "/empty.git"}, 422, "UNPROCESSABLE_ENTITY", "remote repository is empty"},
		{m{"url": url, "branch": "none"}, 404, "GIT_BRANCH_NOT_FOUND", "none"},
		{m{"url": url, "branch": "-x"}, 400, "BAD_REQUEST", "'-'"},
		{m{"url": url, "commit_id": strings.Repeat("ab", 20)}, 404, "NOT_FOUND", "commit not found"},
		{m{"url": url, "commit_id": "abcdef"}, 404, "NOT_FOUND", "commit not found"},
		{m{"url": url, "commit_id": "main"}, 400, "BAD_REQUEST", "commit_id"},
		{m{"url": url, "depth": -1}, 400, "BAD_REQUEST", "depth"},
		{m{"url": "--upload-pack=touch x"}, 400, "BAD_REQUEST", "'-'"},
		{m{"url": "ext::sh -c touch% x"}, 400, "BAD_REQUEST", "not allowed"},
		{m{"url": "ftp://example.com/x"}, 400, "BAD_REQUEST", "not allowed"},
		{m{"url": b.home + "/none"}, 404, "GIT_REPO_NOT_FOUND", ""},
		{m{"url": "file://" + b.home + "/none"}, 404, "GIT_REPO_NOT_FOUND", ""},
	} {
		test.body["path"] = "deep/er/app"
		b.refused(test.status, test.code, test.text, "POST", "/git/clone", test.body)
		if _, err := os.Stat(filepath.Join(b.home, "deep")); err == nil {
			t.Errorf("%v left something behind", test.body)
		}
	}
}

func TestDiverged(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	h := newHost(t, false)
	url := h.repo("app.git", "one")
	b.want(200, "POST", "/git/clone", m{"url": url, "path": "app"}, nil)
	h.change("app.git", "main", "theirs", "theirs\n")
	b.write("app/ours", "ours\n")
	b.commit("app", "ours")
	b.refused(409, "GIT_PUSH_REJECTED", "pull first", "POST", "/git/push", m{"path": "app"})
	b.refused(409, "CONFLICT", "non-fast-forward", "POST", "/git/pull", m{"path": "app"})
	if st := b.status("app"); st.Ahead != 1 || st.Behind != 1 {
		t.Errorf("status: %+v", st)
	}
	b.want(200, "POST", "/git/config", m{"path": "app", "scope": "local", "key": "pull.rebase", "value": "true"}, nil)
	b.refused(422, "UNPROCESSABLE_ENTITY", "config/user", "POST", "/git/pull", m{"path": "app"})
	git(t, filepath.Join(b.home, "app"), "rebase", "--abort")
	b.want(200, "POST", "/git/config/user", m{"name": "Ada", "email": "ada@example.com"}, nil)
	b.want(200, "POST", "/git/pull", m{"path": "app"}, nil)
	if st := b.status("app"); st.Ahead != 1 || st.Behind != 0 {
		t.Errorf("after a rebase: %+v", st)
	}
	b.want(200, "POST", "/git/push", m{"path": "app"}, nil)

	// Both change one file.
	h.change("app.git", "main", "one", "theirs\n")
	b.write("app/one", "ours\n")
	b.commit("app", "ours again")
	b.want(200, "POST", "/git/config", m{"path": "app", "scope": "local", "key": "pull.rebase", "value": "false"}, nil)
	b.refused(409, "GIT_MERGE_CONFLICT", "one", "POST", "/git/pull", m{"path": "app"})
	if diff := cmp.Diff([]fileStatus{{Name: "one", Staging: unmerged, Worktree: unmerged}}, b.status("app").FileStatus); diff != "" {
		t.Errorf("status: %s", diff)
	}
	b.refused(409, "GIT_MERGE_CONFLICT", "", "POST", "/git/commit", m{"path": "app", "message": "m", "author": "A", "email": "a@b"})
	b.refused(409, "GIT_MERGE_CONFLICT", "", "POST", "/git/checkout", m{"path": "app", "branch": "main~1"})
	b.write("app/one", "both\n")
	b.commit("app", "merged")
	b.want(200, "POST", "/git/push", m{"path": "app"}, nil)

	// Somebody forbids it.
	hook := filepath.Join(h.dir, "app.git/hooks/pre-receive")
	if err := os.WriteFile(hook, []byte("#!/bin/sh\necho not on a Friday >&2\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	b.write("app/one", "more\n")
	b.commit("app", "more")
	b.refused(422, "GIT_REMOTE_REJECTED", "not on a Friday", "POST", "/git/push", m{"path": "app"})

	// What the pull would overwrite.
	if err := os.Remove(hook); err != nil {
		t.Fatal(err)
	}
	b.want(200, "POST", "/git/push", m{"path": "app"}, nil)
	h.change("app.git", "main", "ours", "theirs\n")
	b.write("app/ours", "not committed\n")
	b.refused(409, "GIT_DIRTY_WORKTREE", "ours", "POST", "/git/pull", m{"path": "app"})
}

func TestClonesOfParts(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	h := newHost(t, false)
	url := h.repo("app.git", "one", "two", "three")
	bare := filepath.Join(h.dir, "app.git")
	second := git(t, bare, "rev-parse", "main~1")
	aside := h.change("app.git", "aside", "aside", "aside\n")
	git(t, bare, "tag", "v1", second)
	if err := os.MkdirAll(filepath.Join(b.home, "parts/empty directory"), 0o750); err != nil {
		t.Fatal(err)
	}
	empty, err := os.Stat(filepath.Join(b.home, "parts/empty directory"))
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		body  m
		head  string // what is checked out
		count string // commits
		on    string // branch
	}{
		"branch":          {m{"branch": "aside"}, aside, "4", "aside"},
		"tag":             {m{"branch": "v1"}, second, "2", "HEAD"},
		"commit":          {m{"commit_id": second}, second, "2", "HEAD"},
		"short commit":    {m{"commit_id": second[:7]}, second, "2", "HEAD"},
		"upper case":      {m{"commit_id": strings.ToUpper(second)}, second, "2", "HEAD"},
		"aside":           {m{"commit_id": aside}, aside, "4", "HEAD"},
		"short aside":     {m{"commit_id": aside[:7]}, aside, "4", "HEAD"},
		"depth":           {m{"depth": 1}, "", "1", "main"},
		"depth, commit":   {m{"depth": 1, "commit_id": second}, second, "1", "HEAD"},
		"depth, aside":    {m{"depth": 2, "commit_id": aside}, aside, "2", "HEAD"},
		"depth, short":    {m{"depth": 1, "commit_id": second[:7]}, second, "2", "HEAD"},
		"branch, commit":  {m{"branch": "aside", "commit_id": second}, second, "2", "HEAD"},
		"empty directory": {m{}, "", "3", "main"},
	} {
		t.Run(name, func(t *testing.T) {
			b := *b
			b.t = t
			path := "parts/" + name
			test.body["url"], test.body["path"] = url, path
			b.want(200, "POST", "/git/clone", test.body, nil)
			dir := filepath.Join(b.home, path)
			if got := git(t, dir, "rev-parse", "HEAD"); test.head != "" && got != test.head {
				t.Errorf("HEAD is %s, want %s", got, test.head)
			}
			if got := git(t, dir, "rev-list", "--count", "HEAD"); got != test.count {
				t.Errorf("%s commits, want %s", got, test.count)
			}
			if st := b.status(strings.ReplaceAll(path, " ", "%20")); st.CurrentBranch != test.on || len(st.FileStatus) != 0 {
				t.Errorf("status: %+v", st)
			}
			if got := git(t, dir, "config", "remote.origin.url"); got != url {
				t.Errorf("remote: %s", got)
			}
			b.refused(409, "CONFLICT", "already exists", "POST", "/git/clone", test.body)
		})
	}
	// A directory that is there stays the one that it is.
	if now, err := os.Stat(filepath.Join(b.home, "parts/empty directory")); err != nil || !os.SameFile(empty, now) || now.Mode().Perm() != 0o750 {
		t.Errorf("the directory is another one: %v, %v", now, err)
	}
	b.write("file", "")
	b.refused(409, "CONFLICT", "already exists", "POST", "/git/clone", m{"url": url, "path": "file"})
	b.refused(409, "CONFLICT", "already exists", "POST", "/git/clone", m{"url": url, "path": "file/below"})
	if err := os.Symlink("nowhere", filepath.Join(b.home, "link")); err != nil {
		t.Fatal(err)
	}
	b.refused(409, "CONFLICT", "leads nowhere", "POST", "/git/clone", m{"url": url, "path": "link"})
	b.want(200, "POST", "/git/clone", m{"url": bare, "path": "local"}, nil)
	b.want(200, "POST", "/git/clone", m{"url": "file://" + bare, "path": "local-file", "depth": 1}, nil)
	// What a clone left behind that was killed together with its sandbox.
	if err := os.Mkdir(filepath.Join(b.home, "again-in"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"again", "again-in"} {
		site, err := openSite(filepath.Join(b.home, path))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(site.dir, "half"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		b.want(200, "POST", "/git/clone", m{"url": url, "path": path}, nil)
		if st := b.status(path); len(st.FileStatus) != 0 || st.CurrentBranch != "main" {
			t.Errorf("%s: %+v", path, st)
		}
	}
	b.nothing("other")
	// By another way to the same place.
	if err := os.Symlink(".", filepath.Join(b.home, "here")); err != nil {
		t.Fatal(err)
	}
	release, err := b.svc.locks.take(filepath.Join(b.home, "new/er"))
	if err != nil {
		t.Fatal(err)
	}
	b.refused(409, "CONFLICT", "another git request", "POST", "/git/clone", m{"url": url, "path": "here/here/new/er"})
	b.refused(409, "CONFLICT", "another git request", "POST", "/git/init", m{"path": "here/new/er"})
	release()
}

// TestSettle is about what appears at the target while the clone is made.
func TestSettle(t *testing.T) {
	t.Parallel()
	for _, existing := range []bool{false, true} {
		target := filepath.Join(t.TempDir(), "deep", "target")
		if existing {
			if err := os.MkdirAll(target, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		st, err := openSite(target)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{".git", "a", "b"} {
			if err := os.Mkdir(filepath.Join(st.dir, name), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		theirs := filepath.Join(target, "b", "theirs")
		if err := os.MkdirAll(theirs, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := st.settle(); !fault.Is(err, fault.Conflict) {
			t.Errorf("settle: %v", err)
		}
		if err := st.remove(); err != nil {
			t.Errorf("remove: %v", err)
		}
		entries, err := os.ReadDir(target)
		if err != nil || len(entries) != 1 || entries[0].Name() != "b" {
			t.Errorf("left: %v, %v", entries, err)
		}
		if _, err := os.Stat(theirs); err != nil {
			t.Error(err)
		}
		if entries, err = os.ReadDir(filepath.Dir(target)); err != nil || len(entries) != 1 {
			t.Errorf("left beside: %v, %v", entries, err)
		}
	}
}

// TestClientGone cancels a clone whose remote has fallen silent.
func TestClientGone(t *testing.T) {
	t.Parallel()
	for _, existing := range []bool{false, true} {
		b := newBox(t)
		h := newHost(t, false)
		url := h.repo("app.git", "one")
		reached := make(chan struct{}, 1)
		release := make(chan struct{})
		h.before = func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodPost {
				return false
			}
			select {
			case reached <- struct{}{}:
			default:
			}
			<-release
			return true
		}
		defer close(release)
		target := filepath.Join(b.home, "app")
		if existing {
			if err := os.Mkdir(target, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		r, err := http.NewRequestWithContext(ctx, "POST", b.url+"/git/clone", strings.NewReader(`{"url":"`+url+`","path":"app"}`))
		if err != nil {
			t.Fatal(err)
		}
		gone := make(chan error, 1)
		go func() {
			res, err := http.DefaultClient.Do(r)
			if err == nil {
				res.Body.Close()
			}
			gone <- err
		}()
		<-reached
		// Another request for the same place does not wait.
		b.refused(409, "CONFLICT", "another git request", "POST", "/git/clone", m{"url": url, "path": "app"})
		cancel()
		if err := <-gone; err == nil {
			t.Fatal("the clone has ended")
		}
		deadline := time.Now().Add(20 * time.Second)
		// Git, and the transport that it started.
		for b.svc.Space.Table.Running() > 0 || b.svc.locks.any() || findInProcesses(url) != nil {
			if time.Now().After(deadline) {
				t.Fatal("git still runs")
			}
			time.Sleep(5 * time.Millisecond)
		}
		if existing {
			entries, err := os.ReadDir(target)
			if err != nil || len(entries) > 0 {
				t.Errorf("left in the directory: %v, %v", entries, err)
			}
			if err := os.Remove(target); err != nil {
				t.Fatal(err)
			}
		}
		b.nothing("app")
	}
}

func (l *locks) any() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.held) > 0
}

func TestTwoAtOnce(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	b.want(201, "POST", "/git/init", m{"path": "r"}, nil)
	b.write("r/f", "f")
	release, err := b.svc.locks.take(filepath.Join(b.home, "r"))
	if err != nil {
		t.Fatal(err)
	}
	b.refused(409, "CONFLICT", "another git request is at work", "POST", "/git/add", m{"path": "r", "files": []string{"."}})
	b.refused(409, "CONFLICT", "another git request is at work", "POST", "/git/add", m{"path": "r/../r/", "files": []string{"."}})
	b.status("r") // looking is always possible
	release()
	// A git that is not ours.
	b.write("r/.git/index.lock", "")
	b.refused(409, "CONFLICT", "index.lock", "POST", "/git/add", m{"path": "r", "files": []string{"."}})
	b.status("r")
	if err := os.Remove(filepath.Join(b.home, "r/.git/index.lock")); err != nil {
		t.Fatal(err)
	}
	b.want(200, "POST", "/git/add", m{"path": "r", "files": []string{"."}}, nil)
}
