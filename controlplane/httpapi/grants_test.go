package httpapi_test

import (
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"

	"daytona/api/proxyapi"
	"daytona/controlplane/auth"
	"daytona/controlplane/controlplanetest"
	"daytona/internal/fault"
)

func TestSignedLinks(t *testing.T) {
	s := controlplanetest.New(t)
	id := create(t, s, nil)["id"].(string)
	base := "/api/sandbox/" + id + "/ports/3000/signed-preview-url"
	got := s.Do(t, request{Path: base + "?expiresInSeconds=90", Key: s.Key}).Object(t)
	token, _ := got["token"].(string)
	if !regexp.MustCompile(`^[a-z0-9]{16}$`).MatchString(token) || got["sandboxId"] != id || got["port"] != 3000.0 ||
		got["url"] != strings.Replace(s.Previews.URL(3000, "TOKEN"), "TOKEN", token, 1) {
		t.Errorf("%v", got)
	}
	for _, query := range []string{"0", "-1", "86401", "x", "nan"} {
		if res := s.Do(t, request{Path: base + "?expiresInSeconds=" + query, Key: s.Key}); res.Status != 400 {
			t.Errorf("%s: %d %s", query, res.Status, res.Body)
		}
	}
	if res := s.Do(t, request{Path: "/api/sandbox/" + id + "/ports/0/signed-preview-url", Key: s.Key}); res.Status != 400 {
		t.Errorf("port 0: %d", res.Status)
	}
	if res := s.Do(t, request{Method: "POST", Path: base + "/" + token + "/expire", Key: s.Key}); res.Status != 201 {
		t.Errorf("expire: %d %s", res.Status, res.Body)
	}
}

func TestSSHAccess(t *testing.T) {
	s := controlplanetest.New(t)
	id := create(t, s, nil)["id"].(string)
	path := "/api/sandbox/" + id + "/ssh-access"
	_, stranger := s.Tenant(t, "stranger", auth.WriteSandboxes)
	valid := func(token, key string) bool {
		t.Helper()
		res := s.Do(t, request{Path: "/api/sandbox/ssh-access/validate?token=" + token, Key: key})
		if res.Status != 200 {
			t.Fatalf("%d %s", res.Status, res.Body)
		}
		o := res.Object(t)
		if ok := o["valid"] == true; ok != (o["sandboxId"] == id) {
			t.Errorf("%v", o)
		}
		return o["valid"] == true
	}
	grant := func(query string) map[string]any {
		t.Helper()
		res := s.Do(t, request{Method: "POST", Path: path + query, Key: s.Key})
		if res.Status != 200 {
			t.Fatalf("%d %s", res.Status, res.Body)
		}
		return res.Object(t)
	}
	first := grant("")
	token := first["token"].(string)
	expires, err := time.Parse(time.RFC3339, first["expiresAt"].(string))
	if !regexp.MustCompile(`^[A-Za-z0-9]{32}$`).MatchString(token) || err != nil || time.Until(expires).Round(time.Minute) != time.Hour ||
		first["sshCommand"] != "ssh -p 2222 "+token+"@ssh.example.org" || first["sandboxId"] != id || first["id"] == "" || first["updatedAt"] == "" {
		t.Errorf("%v", first)
	}
	if !valid(token, s.Key) || valid(token, stranger) || valid("nothing", s.Key) || valid("", s.Key) {
		t.Error("validate")
	}
	second := grant("?expiresInMinutes=5")["token"].(string)
	if valid(token, s.Key) || !valid(second, s.Key) {
		t.Error("the second token does not take the first one's place")
	}
	list := s.Do(t, request{Path: path, Key: s.Key})
	if strings.Contains(string(list.Body), second) || strings.Count(string(list.Body), `"id"`) != 1 {
		t.Errorf("%s", list.Body)
	}
	s.Advance(5 * time.Minute)
	if valid(second, s.Key) {
		t.Error("the token outlives its time")
	}
	third := grant("")["token"].(string)
	if res := s.Do(t, request{Method: "DELETE", Path: path + "?token=" + third, Key: s.Key}); res.Status != 200 || res.Object(t)["id"] != id {
		t.Errorf("%d %s", res.Status, res.Body)
	}
	if valid(third, s.Key) {
		t.Error("the token outlives being revoked")
	}
	revoked := func(token string) bool {
		t.Helper()
		_, err := s.Plane.Gate.AdmitSSH(t.Context(), token)
		f, ok := errors.AsType[*fault.Error](err)
		return ok && f.Code == proxyapi.CodeRevoked
	}
	if revoked(token) || revoked(second) || !revoked(third) { // what was replaced or expired throws nobody out
		t.Errorf("revoked: %v %v %v", revoked(token), revoked(second), revoked(third))
	}
	fourth := grant("")["token"].(string)
	if res := s.Do(t, request{Method: "DELETE", Path: path, Key: s.Key}); res.Status != 200 || valid(fourth, s.Key) {
		t.Errorf("%d", res.Status)
	}
	for _, ended := range []string{token, second, third, fourth} {
		if !revoked(ended) {
			t.Error("a login may outlive the end of all access")
		}
	}
	for _, query := range []string{"0", "-1", "43201", "x", "1e300"} {
		if res := s.Do(t, request{Method: "POST", Path: path + "?expiresInMinutes=" + query, Key: s.Key}); res.Status != 400 {
			t.Errorf("%s: %d %s", query, res.Status, res.Body)
		}
	}
	config := s.Do(t, request{Path: "/api/config"}).Object(t)
	if config["sshGatewayCommand"] != "ssh -p 2222 {{TOKEN}}@ssh.example.org" || config["sshGatewayHost"] != "ssh.example.org" {
		t.Errorf("%v", config)
	}
}
