package git

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"daytona/internal/fault"
)

func TestParseStatus(t *testing.T) {
	const begin = "# branch.oid 1234\x00# branch.head main\x00"
	const modes = " N... 100644 100644 100644 aaaa bbbb "
	for name, test := range map[string]struct {
		in    string
		head  head
		files []fileStatus
	}{
		"nothing":               {begin, head{branch: "main"}, nil},
		"empty":                 {"", head{}, nil},
		"unborn":                {"# branch.oid (initial)\x00# branch.head trunk\x00", head{branch: "trunk", unborn: true}, nil},
		"detached":              {"# branch.oid 12\x00# branch.head (detached)\x00", head{}, nil},
		"upstream":              {begin + "# branch.upstream origin/main\x00# branch.ab +2 -13\x00", head{branch: "main", upstream: "origin/main", known: true, ahead: 2, behind: 13}, nil},
		"upstream that is gone": {begin + "# branch.upstream origin/main\x00", head{branch: "main", upstream: "origin/main"}, nil},
		"headings to come":      {begin + "# stash 3\x00# what ever\x00", head{branch: "main"}, nil},
		"changes": {begin + "1 M." + modes + "a b\x001 .D" + modes + "c\nd\x001 AM" + modes + "e\x001 .T" + modes + "f\x00? g h\x00! ignored\x00", head{branch: "main"}, []fileStatus{
			{"a b", "", modified, unmodified}, {"c\nd", "", unmodified, deleted}, {"e", "", added, modified}, {"f", "", unmodified, modified}, {"g h", "", untracked, untracked}}},
		"renamed": {begin + "2 R." + modes + "R100 new name\x00old name\x002 C." + modes + "C75 copy\x001 odd\x00? x\x00", head{branch: "main"}, []fileStatus{
			{"new name", "old name", renamed, unmodified}, {"copy", "1 odd", copied, unmodified}, {"x", "", untracked, untracked}}},
		"unmerged": {begin + "u UU N... 100644 100644 100644 100644 a b c both\x00", head{branch: "main"}, []fileStatus{{"both", "", unmerged, unmerged}}},
		"bytes":    {begin + "? \xff\xfe\x00", head{branch: "main"}, []fileStatus{{"\uFFFD", "", untracked, untracked}}},
	} {
		var gotHead head
		var files []fileStatus
		begun := 0
		err := parseStatus(strings.NewReader(test.in), func(h head) error {
			begun++
			gotHead = h
			return nil
		}, func(f fileStatus) error {
			files = append(files, f)
			return nil
		})
		if err != nil || begun != 1 || gotHead != test.head {
			t.Errorf("%s: head %+v, begun %d times, %v", name, gotHead, begun, err)
		}
		if diff := cmp.Diff(test.files, files); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	for _, in := range []string{
		"x", "1 M.", "1 M. a\x00", "1 XX" + modes + "a\x00", "1 M." + modes + "\x00", "?\x00", "? \x00", "?x\x00", "9 a b\x00", "\x00",
		"2 R." + modes + "R1 a\x00", "2 R." + modes + "R1 a\x00\x00", "# branch.ab 1\x00", "# branch.ab +x -y\x00", "# branch.ab +-1 -0\x00",
		"? a\x00# branch.head x\x00", "? no end",
	} {
		if err := parseStatus(strings.NewReader(in), func(head) error { return nil }, func(fileStatus) error { return nil }); err == nil {
			t.Errorf("%q was accepted", in)
		}
	}
}

func FuzzParseStatus(f *testing.F) {
	f.Add([]byte("# branch.oid 1234\x00# branch.head main\x00# branch.upstream o/m\x00# branch.ab +2 -1\x001 .M N... 1 1 1 a b f\x002 R. N... 1 1 1 a b R9 n\x00o\x00u UU N... 1 1 1 1 a b c g\x00? h\x00! i\x00"))
	f.Add([]byte("# branch.oid (initial)\x00? \xff\x00"))
	f.Fuzz(func(t *testing.T, in []byte) {
		begun := 0
		err := parseStatus(bytes.NewReader(in), func(h head) error {
			begun++
			if h.ahead < 0 || h.behind < 0 {
				t.Errorf("%+v", h)
			}
			return nil
		}, func(f fileStatus) error {
			if begun != 1 || f.Name == "" || f.Staging == "" || f.Worktree == "" || !utf8.ValidString(f.Name+f.Extra) {
				t.Errorf("begun %d, %+v", begun, f)
			}
			if (f.Staging == untracked) != (f.Worktree == untracked) {
				t.Errorf("%+v", f)
			}
			return nil
		})
		if err == nil && begun != 1 {
			t.Errorf("begun %d times", begun)
		}
	})
}

func FuzzParseHistory(f *testing.F) {
	f.Add([]byte("hash\x00name\x00mail\x002025-01-02T03:04:05+01:00\x00message\nbody\n\x00"))
	f.Fuzz(func(t *testing.T, in []byte) {
		n := 0
		err := parseHistory(bytes.NewReader(in), func(c commitInfo) error {
			n++
			if !utf8.ValidString(c.Hash+c.Author+c.Email+c.Message) || c.Timestamp == "" {
				t.Errorf("%+v", c)
			}
			return nil
		})
		if nuls := bytes.Count(in, []byte{0}); err == nil && nuls != 5*n || n > nuls/5 {
			t.Errorf("%d commits in %d fields, %v", n, nuls, err)
		}
	})
}

func TestParseHistory(t *testing.T) {
	var got []commitInfo
	err := parseHistory(strings.NewReader("1\x00A\x00a@b\x002025-01-02T03:04:05+01:00\x00m\n\nb\n\x002\x00\x00\x00not a time\x00\x00"), func(c commitInfo) error {
		got = append(got, c)
		return nil
	})
	want := []commitInfo{{"1", "A", "a@b", "m\n\nb\n", "2025-01-02T03:04:05+01:00"}, {"2", "", "", "", "0001-01-01T00:00:00Z"}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%s %v", diff, err)
	}
}

func TestRecords(t *testing.T) {
	long := strings.Repeat("x", maxRecord+70_000)
	in := newRecords(strings.NewReader(long + "\x00\x00short\x00rest"))
	for _, want := range []string{long[:maxRecord], "", "short"} {
		if got, err := in.next(); got != want || err != nil {
			t.Errorf("%d bytes, %v; want %d", len(got), err, len(want))
		}
	}
	if _, err := in.next(); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
	if _, err := newRecords(strings.NewReader("")).next(); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
	exact := strings.Repeat("y", 32<<10) // the size of the buffer
	if _, err := newRecords(strings.NewReader(exact)).next(); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
}

func TestParseRemote(t *testing.T) {
	for in, want := range map[string]remote{
		"https://github.com/a/b.git":          {address: "https://github.com/a/b.git", scope: "https://github.com"},
		"HTTPS://h:8443/x?y#z":                {address: "https://h:8443/x?y#z", scope: "https://h:8443"},
		"https://user:pa%3Ass@h/x":            {address: "https://h/x", scope: "https://h", username: "user", password: "pa:ss", carried: true},
		"https://token@h/x":                   {address: "https://h/x", scope: "https://h", username: "token", carried: true},
		"https://a@b@h/x@y":                   {address: "https://h/x@y", scope: "https://h", username: "a@b", carried: true},
		"http://u:p@[::1]:80/x":               {address: "http://[::1]:80/x", scope: "http://[::1]:80", username: "u", password: "p", carried: true},
		"https://h":                           {address: "https://h", scope: "https://h"},
		"ssh://git:pw@h:22/x":                 {address: "ssh://git@h:22/x"},
		"ssh://h/x":                           {address: "ssh://h/x"},
		"git@github.com:a/b.git":              {address: "git@github.com:a/b.git"},
		"git://h/x":                           {address: "git://h/x"},
		"file:///srv/x":                       {address: "file:///srv/x"},
		"/srv/x":                              {address: "/srv/x"},
		"../x":                                {address: "../x"},
		"C:/x":                                {address: "C:/x"},
		"https://h/a@b:c":                     {address: "https://h/a@b:c", scope: "https://h"},
		"https://h?u:p@x":                     {address: "https://h?u:p@x", scope: "https://h"},
		"https://:pass@h/x":                   {address: "https://h/x", scope: "https://h", password: "pass", carried: true},
		"https://xn--bcher-kva.example/x.git": {address: "https://xn--bcher-kva.example/x.git", scope: "https://xn--bcher-kva.example"},
	} {
		got, err := parseRemote(in)
		if got != want || err != nil {
			t.Errorf("%q: %+v, %v", in, got, err)
		}
	}
	for _, in := range []string{
		"", "-x", "--upload-pack=x", "ext::sh -c x", "ftp://h/x", "ftps://h/x", "foo://h", "fd::7", "https://", "https:///x",
		"https://u:p@/x", "https://a b/x", "https://h.helper=x/y", "https://u:%zz@h/x", "https://h/a\nb", "/a\x00b", "https://h\t/x",
		"https://h:port/x", "https://u:secret@h i/x",
	} {
		if got, err := parseRemote(in); !fault.Is(err, fault.Invalid) {
			t.Errorf("%q: %+v, %v", in, got, err)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: the error repeats a secret: %v", in, err)
		}
	}
}

func FuzzParseRemote(f *testing.F) {
	for _, s := range []string{"https://u:p@h:1/x", "git@h:x", "ssh://u:p@h/x", "/x", "ext::x", "http://@@h//@", "file://u@/x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		r, err := parseRemote(in)
		if err != nil {
			return
		}
		if r.address == "" || strings.HasPrefix(r.address, "-") || helperForm.MatchString(r.address) || strings.ContainsAny(r.address, "\x00\n\r") {
			t.Errorf("%q became %q", in, r.address)
		}
		if r.scope == "" {
			return
		}
		rest, ok := strings.CutPrefix(r.address, r.scope)
		if !ok || rest != "" && !strings.ContainsAny(rest[:1], "/?#") || strings.ContainsAny(r.scope, "@= \"\\") {
			t.Errorf("%q became %+v", in, r)
		}
		again, err := parseRemote(r.address)
		if err != nil || again.address != r.address || again.carried {
			t.Errorf("%q became %q, and that %+v, %v", in, r.address, again, err)
		}
	})
}

func TestProblem(t *testing.T) {
	for _, test := range []struct {
		args, stderr, stdout string
		kind                 fault.Kind
		code                 string
	}{
		{"clone", "fatal: could not read Username for 'https://h': terminal prompts disabled", "", fault.Unauthenticated, codeAuth},
		{"clone", "remote: Invalid username or password.\nfatal: Authentication failed for 'https://h/x/'", "", fault.Unauthenticated, codeAuth},
		{"clone", "git@h: Permission denied (publickey).\nfatal: Could not read from remote repository.", "", fault.Unauthenticated, codeAuth},
		{"clone", "fatal: unable to access 'https://h/': The requested URL returned error: 403", "", fault.Forbidden, ""},
		{"clone", "remote: Repository not found.\nfatal: repository 'https://h/x/' not found", "", fault.NotFound, codeRepoNotFound},
		{"clone", "fatal: repository '/x' does not exist", "", fault.NotFound, codeRepoNotFound},
		{"clone", "warning: Could not find remote branch x to clone.\nfatal: Remote branch x not found in upstream origin", "", fault.NotFound, codeBranchNotFound},
		{"clone", "fatal: write error: No space left on device\nfatal: fetch-pack: invalid index-pack output", "", fault.Unprocessable, codeDiskFull},
		{"clone", "error: index-pack died of signal 9\nfatal: index-pack failed", "", fault.Unprocessable, codeNoMemory},
		{"clone", "fatal: Out of memory, malloc failed (tried to allocate 9 bytes)", "", fault.Unprocessable, codeNoMemory},
		{"clone", "remote: No space left on device\nfatal: strange", "", fault.Internal, ""},
		{"clone", "fatal: transport 'ext' not allowed", "", fault.Invalid, ""},
		{"fetch", "fatal: unable to access 'https://h/': Could not resolve host: h", "", fault.Upstream, codeTransport},
		{"fetch", "fatal: unable to access 'https://h/': server certificate verification failed. CAfile: none CRLfile: none", "", fault.Upstream, codeTransport},
		{"fetch", "error: RPC failed; curl 28 Operation too slow.\nfatal: early EOF", "", fault.Upstream, codeTransport},
		{"fetch", "fatal: couldn't find remote ref refs/heads/x", "", fault.NotFound, codeBranchNotFound},
		{"push", "error: failed to push some refs to 'https://h/x'", "To https://h/x\n!\trefs/heads/main:refs/heads/main\t[rejected] (fetch first)\nDone", fault.Conflict, codePushRejected},
		{"push", "remote: no\nerror: failed to push some refs to 'x'", "To x\n!\trefs/heads/main:refs/heads/main\t[remote rejected] (pre-receive hook declined)\nDone", fault.Unprocessable, codeRemoteRejected},
		{"merge", "fatal: Not possible to fast-forward, aborting.", "", fault.Conflict, ""},
		{"merge", "error: Your local changes to the following files would be overwritten by merge:\n\tx\nPlease commit your changes or stash them before you merge.\nAborting", "", fault.Conflict, codeDirty},
		{"merge", "", "Auto-merging x\nCONFLICT (content): Merge conflict in x\nAutomatic merge failed; fix conflicts and then commit the result.", fault.Conflict, codeMergeConflict},
		{"rebase", "error: could not apply 1234... x", "CONFLICT (content): Merge conflict in x", fault.Conflict, codeMergeConflict},
		{"rebase", "error: cannot rebase: You have unstaged changes.", "", fault.Conflict, codeDirty},
		{"checkout", "fatal: invalid reference: x", "", fault.NotFound, codeBranchNotFound},
		{"checkout", "error: The following untracked working tree files would be overwritten by checkout:\n\tx", "", fault.Conflict, codeDirty},
		{"checkout", "fatal: a branch named 'x' already exists", "", fault.Conflict, codeBranchExists},
		{"checkout", "fatal: A branch named 'x' already exists.", "", fault.Conflict, codeBranchExists},
		{"branch", "error: branch 'x' not found.", "", fault.NotFound, codeBranchNotFound},
		{"branch", "error: Cannot delete branch 'x' checked out at '/y'", "", fault.Conflict, ""},
		{"branch", "error: cannot delete branch 'x' used by worktree at '/y'", "", fault.Conflict, ""},
		{"add", "fatal: Unable to create '/x/.git/index.lock': File exists.\n\nAnother git process seems to be running", "", fault.Conflict, ""},
		{"add", "fatal: pathspec 'x' did not match any files", "", fault.NotFound, codeFileNotFound},
		{"add", "fatal: Unable to create '/x/.git/index.lock': Permission denied", "", fault.Forbidden, ""},
		{"config", "error: could not lock config file /etc/gitconfig: Permission denied", "", fault.Forbidden, ""},
		{"config", "error: could not lock config file .git/config: File exists", "", fault.Conflict, ""},
		{"status", "fatal: not a git repository (or any of the parent directories): .git", "", fault.NotFound, codeRepoNotFound},
		{"status", "fatal: detected dubious ownership in repository at '/x'", "", fault.Forbidden, ""},
		{"status", "fatal: something else", "", fault.Internal, ""},
		{"status", "", "", fault.Internal, ""},
		{"add", "error: unknown option `pathspec-from-file=-'", "", fault.Unprocessable, ""},
		{"reset", "fatal: Failed to resolve 'x' as a valid revision.", "", fault.NotFound, ""},
		{"restore", "fatal: could not resolve x", "", fault.NotFound, ""},
	} {
		err := problem(&failure{args: strings.Fields(test.args), exit: 128, stderr: test.stderr, stdout: test.stdout})
		f, ok := errors.AsType[*fault.Error](err)
		if !ok || f.Kind != test.kind || f.Code != test.code {
			t.Errorf("%s: %s%s\n  got %+v", test.args, test.stdout, test.stderr, err)
		}
	}
	if f, ok := errors.AsType[*fault.Error](problem(&failure{args: []string{"clone"}, exit: killed})); !ok || f.Code != codeNoMemory {
		t.Errorf("a killed git: %v", f)
	}
	err := problem(&failure{args: []string{"clone"}, stderr: "fatal: unable to access 'https://user:secret@h/x': a\nhint: b\n" + strings.Repeat("y\n", 5000)})
	f, ok := errors.AsType[*fault.Error](err)
	if !ok || strings.Contains(f.Text, "secret") || strings.Contains(f.Text, "hint") || len(f.Text) > maxExcerpt+200 {
		t.Errorf("%v", f)
	}
}

func TestAnswer(t *testing.T) {
	w := &discard{}
	a := answer{w: w}
	if err := a.text("["); err != nil {
		t.Fatal(err)
	}
	const n = 20_000
	for i := range n {
		if err := a.element(fileStatus{Name: strings.Repeat("<", i%20)}); err != nil {
			t.Fatal(err)
		}
		if a.buf.Len() > chunk {
			t.Fatalf("%d bytes are held", a.buf.Len())
		}
	}
	if err := a.text("]"); err != nil {
		t.Fatal(err)
	}
	if err := a.end(nil); err != nil {
		t.Fatal(err)
	}
	var back []fileStatus
	if err := json.Unmarshal(w.Bytes(), &back); err != nil || len(back) != n {
		t.Errorf("%d, %v", len(back), err)
	}
}
