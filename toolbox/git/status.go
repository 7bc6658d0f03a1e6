package git

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"daytona/toolbox/wire"
)

// The texts for what has become of a file, in the index or in the worktree.
const (
	unmodified = "Unmodified"
	untracked  = "Untracked"
	modified   = "Modified"
	added      = "Added"
	deleted    = "Deleted"
	renamed    = "Renamed"
	copied     = "Copied"
	unmerged   = "Updated but unmerged"
)

// fileStatus is one file that differs from the last commit.
type fileStatus struct {
	Name     string `json:"name"`
	Extra    string `json:"extra"` // the old name of a renamed or copied file
	Staging  string `json:"staging"`
	Worktree string `json:"worktree"`
}

// head is where a repository stands.
type head struct {
	branch   string // "" when detached
	unborn   bool   // there is no commit yet
	upstream string // "origin/main", or ""
	known    bool   // the upstream exists, so that what follows is known
	ahead    int
	behind   int
}

// parseStatus reads what `git status --porcelain=v2 --branch -z` prints: begin
// is called once, before any file.
func parseStatus(r io.Reader, begin func(head) error, each func(fileStatus) error) error {
	in := newRecords(r)
	var h head
	begun := false
	for {
		record, err := in.next()
		last := errors.Is(err, io.EOF)
		if err != nil && !last {
			return fmt.Errorf("status: %w", err)
		}
		if !last && strings.HasPrefix(record, "# ") {
			if begun {
				return fmt.Errorf("status: heading %.100q after files", record)
			}
			if err := h.read(record[2:]); err != nil {
				return err
			}
			continue
		}
		if !begun {
			begun = true
			if err := begin(h); err != nil {
				return err
			}
		}
		if last {
			return nil
		}
		file, shown, err := parseFile(record, in)
		if err != nil {
			return err
		}
		if !shown {
			continue
		}
		if err := each(file); err != nil {
			return err
		}
	}
}

// read takes in one heading. Unknown ones are left to later versions of git.
func (h *head) read(heading string) error {
	name, value, _ := strings.Cut(heading, " ")
	switch name {
	case "branch.oid":
		h.unborn = value == "(initial)"
	case "branch.head":
		if value != "(detached)" {
			h.branch = value
		}
	case "branch.upstream":
		h.upstream = value
	case "branch.ab":
		ahead, behind, _ := strings.Cut(value, " ")
		var err1, err2 error
		h.ahead, err1 = strconv.Atoi(strings.TrimPrefix(ahead, "+"))
		h.behind, err2 = strconv.Atoi(strings.TrimPrefix(behind, "-"))
		if err1 != nil || err2 != nil || h.ahead < 0 || h.behind < 0 {
			return fmt.Errorf("status: bad heading %.100q", heading)
		}
		h.known = true
	}
	return nil
}

// fields before the path, by the first character of a record.
var fieldsOf = map[byte]int{'1': 8, '2': 9, 'u': 10}

// parseFile reads a record about a file. The old name of a renamed one is the
// record after it. An ignored file is not shown.
func parseFile(record string, in records) (file fileStatus, shown bool, err error) {
	bad := fmt.Errorf("status: bad record %.100q", record)
	if len(record) < 3 || record[1] != ' ' {
		return file, false, bad
	}
	switch kind := record[0]; kind {
	case '?':
		return fileStatus{Name: text(record[2:]), Staging: untracked, Worktree: untracked}, true, nil
	case '!':
		return file, false, nil
	case '1', '2', 'u':
		fields := strings.SplitN(record, " ", fieldsOf[kind]+1)
		if len(fields) <= fieldsOf[kind] || len(fields[1]) != 2 || fields[fieldsOf[kind]] == "" {
			return file, false, bad
		}
		file.Name = text(fields[fieldsOf[kind]])
		if kind == 'u' {
			file.Staging, file.Worktree = unmerged, unmerged
			return file, true, nil
		}
		var ok1, ok2 bool
		file.Staging, ok1 = change(fields[1][0])
		file.Worktree, ok2 = change(fields[1][1])
		if !ok1 || !ok2 {
			return file, false, bad
		}
		if kind == '2' {
			old, err := in.next()
			if err != nil || old == "" {
				return file, false, bad
			}
			file.Extra = text(old)
		}
		return file, true, nil
	}
	return file, false, bad
}

func change(c byte) (string, bool) {
	switch c {
	case '.':
		return unmodified, true
	case 'M', 'T': // T is a file that became a link, or the like
		return modified, true
	case 'A':
		return added, true
	case 'D':
		return deleted, true
	case 'R':
		return renamed, true
	case 'C':
		return copied, true
	case 'U':
		return unmerged, true
	}
	return "", false
}

// text makes bytes valid for JSON, which knows no other than UTF-8.
func text(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

// statusHead is the answer up to the files. The members of later clients are
// left out for those that refuse what they do not know.
type statusHead struct {
	CurrentBranch   string  `json:"currentBranch"` // "HEAD" when detached
	BranchPublished bool    `json:"branchPublished"`
	Ahead           int     `json:"ahead"`
	Behind          int     `json:"behind"`
	Upstream        *string `json:"upstream,omitempty"`
	Detached        *bool   `json:"detached,omitempty"`
}

// Status answers GET /git/status: the branch, how it stands to its remote one,
// and every file that differs, untracked ones each by name.
func (s *Service) Status(w http.ResponseWriter, r *http.Request) error {
	root, err := s.root(r.URL.Query().Get("path"))
	if err != nil {
		return err
	}
	strict := wire.DialectOf(r).Strict
	out := &answer{w: w}
	_, err = s.stream(r.Context(), command{
		dir:  root,
		args: []string{"status", "--porcelain=v2", "-z", "--branch", "--untracked-files=all", "--find-renames"},
	}, func(stdout io.Reader) error {
		return parseStatus(stdout, func(h head) error {
			shown, err := s.standing(r.Context(), root, h)
			if err != nil {
				return err
			}
			if !strict {
				detached := h.branch == ""
				shown.Upstream, shown.Detached = &h.upstream, &detached
			}
			begin, err := json.Marshal(shown)
			if err != nil {
				return err
			}
			return out.text(strings.TrimSuffix(string(begin), "}") + `,"fileStatus":[`)
		}, func(f fileStatus) error { return out.element(f) })
	})
	if err == nil {
		err = out.text("]}\n")
	}
	return out.end(problem(err))
}

// standing completes what git tells about a branch: one that was pushed without
// an upstream is compared with its namesake at origin.
func (s *Service) standing(ctx context.Context, root string, h head) (statusHead, error) {
	shown := statusHead{CurrentBranch: text(h.branch), BranchPublished: h.known, Ahead: h.ahead, Behind: h.behind}
	if h.branch == "" {
		shown.CurrentBranch = "HEAD"
	}
	if h.known || h.branch == "" || h.unborn {
		return shown, nil
	}
	out, err := s.run(ctx, command{dir: root, args: []string{
		"rev-list", "--left-right", "--count", "HEAD...refs/remotes/" + defaultRemote + "/" + h.branch, "--"}})
	if _, ok := errors.AsType[*failure](err); ok {
		return shown, nil // it has none
	}
	if err != nil {
		return shown, err
	}
	if _, err := fmt.Sscan(out.stdout, &shown.Ahead, &shown.Behind); err != nil {
		return shown, fmt.Errorf("rev-list: %q: %w", out.stdout, err)
	}
	shown.BranchPublished = true
	return shown, nil
}
