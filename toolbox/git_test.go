package toolbox_test

import "testing"

func TestGitIsServed(t *testing.T) {
	s := newSandbox(t)
	s.wantError(404, "GIT_REPO_NOT_FOUND", "repository does not exist", "GET", "/git/status?path=none", nil)
}
