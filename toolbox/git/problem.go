package git

import (
	"errors"
	"strings"

	"daytona/internal/fault"
)

// cause is one of the usual things that go wrong.
type cause struct {
	kind fault.Kind
	code string // "" for the kind's own
	text string // before git's own words
	// signs are parts of git's messages, in lower case. Alternatives; a sign
	// of several parts, divided by "…", needs them all in one line.
	signs []string
}

// causes in the order in which they are looked for: those that name the matter
// before those that only say where it was noticed.
var causes = []cause{
	{fault.Unprocessable, codeDiskFull, "no space left on the sandbox's disk", []string{
		"no space left on device", "disk quota exceeded"}},
	{fault.Unprocessable, codeNoMemory, "git ran out of memory: clone with a depth, or use a sandbox with more memory", []string{
		"died of signal 9", "out of memory", "cannot allocate memory", "memory exhausted"}},
	{fault.Conflict, "", "conflict: another git command is at work in this repository (or one was killed and has left the file named here, which may then be removed)", []string{
		".lock': file exists", "could not lock config file…file exists"}},
	{fault.Forbidden, "", "forbidden: the repository belongs to another user", []string{"dubious ownership"}},
	{fault.Invalid, "", "protocol is not allowed", []string{"transport '…not allowed"}},

	{fault.Unauthenticated, codeAuth, "authentication required: give username and password, or a token as password", []string{
		"could not read username", "could not read password", "terminal prompts disabled"}},
	{fault.Unauthenticated, codeAuth, "authentication failed: the remote refused the credentials", []string{
		"authentication failed", "permission denied (publickey", "returned error: 401", "invalid credentials"}},
	{fault.Forbidden, "", "forbidden: the remote refused access", []string{"returned error: 403"}},
	{fault.NotFound, codeRepoNotFound, "repository not found", []string{"returned error: 404", "returned error: 410"}},

	{fault.Unprocessable, codeRemoteRejected, "the remote rejected the push", []string{
		"[remote rejected]", "hook declined"}},
	{fault.Conflict, codePushRejected, "push rejected: the remote has commits that are missing here; pull first", []string{
		"[rejected] (", "[rejected]…non-fast-forward", "[rejected]…fetch first", "[rejected]…stale info"}},
	{fault.Conflict, "", "non-fast-forward update: the local and the remote branch have diverged; set pull.rebase to true (rebase) or to false (merge) with POST /git/config, or reset", []string{
		"not possible to fast-forward", "diverging branches can't be fast-forwarded"}},

	{fault.NotFound, codeBranchNotFound, "branch not found", []string{
		"remote branch…not found in upstream", "couldn't find remote ref", "src refspec…does not match any",
		"branch '…' not found", "invalid reference:"}},
	{fault.Conflict, codeBranchExists, "branch already exists", []string{"branch named…already exists"}},
	{fault.Conflict, "", "already exists", []string{
		"already exists and is not an empty directory", "remote…already exists"}},
	{fault.Conflict, "", "conflict: the branch is checked out", []string{
		"cannot delete branch…checked out at", "cannot delete branch…used by worktree", "is already checked out at", "already used by worktree"}},
	{fault.Invalid, "", "not a valid branch name", []string{
		"not a valid branch name", "invalid initial branch name", "not a valid ref name"}},

	{fault.Conflict, codeMergeConflict, "merge conflict: edit the files whose status is \"Updated but unmerged\", add and commit them, or reset with mode merge", []string{
		"automatic merge failed", "could not apply", "conflict (", "unmerged files", "you have not concluded your merge",
		"unmerged paths", "needs merge", "resolve your current index first", "is unmerged", "exiting because of an unresolved conflict"}},
	{fault.Conflict, codeDirty, "worktree contains changes that are not committed", []string{
		"would be overwritten by", "would be removed by", "commit your changes or stash them", "not uptodate. cannot",
		"you have unstaged changes", "index contains uncommitted changes"}},

	{fault.NotFound, codeRepoNotFound, "repository not found", []string{
		"repository '…not found", "repository not found", "does not appear to be a git repository",
		"repository '…does not exist", "is this a git repository?", "no such remote", "does not appear to be a git repo"}},
	{fault.NotFound, codeRepoNotFound, "repository does not exist", []string{"not a git repository"}},
	{fault.NotFound, codeFileNotFound, "file not found", []string{"pathspec '…did not match any file"}},
	{fault.Invalid, "", "the path is outside of the repository", []string{"is outside repository"}},
	{fault.Invalid, "", "the file is ignored by .gitignore", []string{"paths are ignored by one of your .gitignore"}},

	{fault.Upstream, codeTransport, "the remote's certificate could not be verified (insecure_skip_tls clones from a server that you trust all the same)", []string{
		"ssl certificate problem", "certificate verification failed", "no alternative certificate subject name",
		"certificate subject name", "self-signed certificate", "self signed certificate"}},
	{fault.Upstream, codeTransport, "the remote could not be reached", []string{
		"could not resolve host", "failed to connect", "couldn't connect", "connection refused", "connection timed out", "connection reset",
		"network is unreachable", "no route to host", "operation too slow", "operation timed out", "ssl_", "gnutls", "openssl",
		"host key verification failed", "remote end hung up", "early eof", "rpc failed", "returned error: ",
		"unable to access", "could not read from remote", "protocol error", "invalid server response",
		"expected flush after", "unexpected disconnect", "bad pack header", "empty reply from server"}},

	{fault.Unprocessable, "", "git does not know whom to name as the author: set one with POST /git/config/user", []string{
		"please tell me who you are", "unable to auto-detect email", "no email was given", "no name was given"}},
	{fault.Invalid, "", "not a valid name of an author", []string{"empty ident name", "name consists only of disallowed characters"}},
	{fault.Unprocessable, "", "this sandbox's git is too old for this request (2.28 is needed)", []string{"unknown option", "unknown switch"}},
	{fault.Conflict, "", "there is no commit yet", []string{"does not have any commits yet"}},
	{fault.NotFound, "", "revision not found", []string{
		"unknown revision", "ambiguous argument", "bad revision", "failed to resolve", "could not resolve",
		"not a valid object", "is not a tree", "unable to read tree", "needed a single revision"}},
	{fault.Forbidden, "", "permission denied", []string{
		"permission denied", "insufficient permission", "read-only file system", "operation not permitted"}},
}

// killed is the exit code of a program that SIGKILL ended.
const killed = 128 + 9

// problem turns a failure of git into a fault. Other errors pass.
func problem(err error) error {
	f, ok := errors.AsType[*failure](err)
	if !ok {
		return err
	}
	if f.exit == killed && f.stderr == "" {
		return fault.Wrap(err, fault.Unprocessable, "git was killed, as happens when a sandbox runs out of memory: clone with a depth, or use a sandbox with more memory").WithCode(codeNoMemory)
	}
	lines := complaints(f.stderr)
	if f.args[0] == "push" || f.args[0] == "merge" || f.args[0] == "rebase" {
		lines = append(complaints(f.stdout), lines...)
	}
	said := excerpt(lines)
	for _, c := range causes {
		if !c.shown(lines) {
			continue
		}
		text := c.text
		if said != "" {
			text += ": " + said
		}
		out := fault.Wrap(err, c.kind, "%s", text)
		if c.code != "" {
			out = out.WithCode(c.code)
		}
		return out
	}
	if said == "" {
		said = "no reason given"
	}
	return fault.Wrap(err, fault.Internal, "internal server error: git %s failed with exit code %d: %s", f.args[0], f.exit, said)
}

// complaints are the lines of a message of git's that say something. What
// begins with "remote:" are the words of the other side.
func complaints(text string) []string {
	var lines []string
	for line := range strings.FieldsFuncSeq(withoutUserinfo(text), func(c rune) bool { return c == '\n' || c == '\r' }) {
		line = strings.Join(strings.Fields(line), " ") // push divides columns by tabs
		if line == "" || strings.HasPrefix(line, "hint:") || line == "Aborting" || line == "Done" ||
			strings.HasPrefix(line, "To ") || strings.HasPrefix(line, "From ") {
			continue
		}
		lines = append(lines, line)
	}
	return lines
}

// shown reports whether one of the lines bears one of the cause's signs. The
// other side's words do not count.
func (c cause) shown(lines []string) bool {
	for _, line := range lines {
		if strings.HasPrefix(line, "remote:") {
			continue
		}
		line = strings.ToLower(line)
		for _, sign := range c.signs {
			if contains(line, sign) {
				return true
			}
		}
	}
	return false
}

func contains(line, sign string) bool {
	for part := range strings.SplitSeq(sign, "…") {
		at := strings.Index(line, part)
		if at < 0 {
			return false
		}
		line = line[at+len(part):]
	}
	return true
}

// maxExcerpt bounds what an answer quotes, in bytes.
const maxExcerpt = 2 << 10

// excerpt is the lines in one, from the end if there are too many.
func excerpt(lines []string) string {
	text := strings.Join(lines, "; ")
	if len(text) > maxExcerpt {
		text = "… " + strings.ToValidUTF8(text[len(text)-maxExcerpt:], "")
	}
	return text
}
