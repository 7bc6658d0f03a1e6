//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestAdminUsersAndKeys: what the operator makes beside a server that runs works
// there, each user in an organization of its own.
func TestAdminUsersAndKeys(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir)
	admin := func(args ...string) (string, string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), filepath.Join(binDir(t), "daytona"), append(append([]string{"admin"}, args...), "--data", dir)...)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if (err == nil) != (stderr.Len() == 0) {
			t.Errorf("%v: %v, %s", args, err, stderr.String())
		}
		return strings.TrimSpace(string(out)), stderr.String()
	}
	key, _ := admin("user", "create", "--email", "ann@example.org")
	if status, body := p.get(t, "/api/users/me", key); status != 200 || !strings.Contains(body, "ann@example.org") {
		t.Fatalf("%d %s", status, body)
	}
	if status, body := p.get(t, "/api/admin/organizations", key); status != 403 {
		t.Errorf("a user administers: %d %s", status, body)
	}
	boss, _ := admin("user", "create", "--email", "boss@example.org", "--role", "admin", "--name", "The Boss")
	if status, body := p.get(t, "/api/admin/organizations", boss); status != 200 || strings.Count(body, `"personal":true`) != 3 {
		t.Errorf("an administrator: %d %s", status, body)
	}
	var users []struct{ Name, Email, Role, OrganizationID string }
	out, _ := admin("user", "list", "--format", "json")
	if err := json.Unmarshal([]byte(out), &users); err != nil || len(users) != 3 || users[1].Email != "ann@example.org" || users[2].Name != "The Boss" || users[1].OrganizationID == users[0].OrganizationID {
		t.Errorf("%v: %s", err, out)
	}
	if out, _ := admin("user", "list"); !strings.Contains(out, "The Boss") || !strings.HasPrefix(out, "NAME") {
		t.Error(out)
	}

	spare, _ := admin("key", "create", "--user", "ann@example.org", "--name", "spare", "--expires", "1h")
	if status, _ := p.get(t, "/api/users/me", spare); status != 200 {
		t.Errorf("the spare key: %d", status)
	}
	var keys []struct{ Name, Value, ExpiresAt string }
	out, _ = admin("key", "list", "--user", "ann@example.org", "--format", "json")
	if err := json.Unmarshal([]byte(out), &keys); err != nil || len(keys) != 2 || strings.Contains(out, spare) {
		t.Errorf("%v: %s", err, out)
	}
	if out, _ := admin("key", "delete", "--user", "ann@example.org", "--name", "spare"); out != "API key spare deleted" {
		t.Error(out)
	}
	waitFor(t, "the server refuses the key", func() bool { status, _ := p.get(t, "/api/users/me", spare); return status == 401 })

	for _, tt := range []struct{ args, says string }{
		{"user create --email ann@example.org", "already"},
		{"user create --email ann", "not an e-mail address"},
		{"user create", "--email"},
		{"user create --email c@example.org --role king", "user, admin"},
		{"key list --user nobody@example.org", "nobody@example.org not found"},
		{"key create --expires -1h", "in the future"},
		{"key delete --name spare", "spare not found"},
		{"key delete", "--name"},
	} {
		if out, says := admin(strings.Fields(tt.args)...); out != "" || !strings.Contains(says, tt.says) {
			t.Errorf("%s: %q, %q; want %q", tt.args, out, says, tt.says)
		}
	}
}
