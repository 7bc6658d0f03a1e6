package httpapi_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"daytona/api"
	"daytona/controlplane/auth"
	"daytona/controlplane/controlplanetest"
)

func storage(t *testing.T, s *controlplanetest.Server, key string, headers map[string]string) api.StorageAccess {
	t.Helper()
	res := s.Do(t, controlplanetest.Request{Method: "GET", Path: "/api/object-storage/push-access", Key: key, Header: headers})
	if res.Status != http.StatusOK {
		t.Fatalf("%d %s", res.Status, res.Body)
	}
	var out api.StorageAccess
	res.JSON(t, &out)
	return out
}

func TestStorageAccess(t *testing.T) {
	s := controlplanetest.New(t)
	orgA, keyA := s.Tenant(t, "a", auth.WriteSandboxes)
	orgB, _ := s.Tenant(t, "b", auth.WriteSnapshots)
	_, reader := s.Tenant(t, "c", auth.ReadVolumes)

	a := storage(t, s, keyA, nil)
	if a.OrganizationID != orgA || a.Bucket != "daytona-volume-builds" || a.Region != "us-east-1" || a.StorageURL != s.URL || a.SessionToken == "" {
		t.Errorf("got %+v", a)
	}
	if old := storage(t, s, keyA, map[string]string{"User-Agent": "OpenAPI-Generator/1.0.0/go"}); old.Region != "" {
		t.Errorf("the first CLI refuses what it does not know: %+v", old)
	}
	if res := s.Do(t, controlplanetest.Request{Method: "GET", Path: "/api/object-storage/push-access", Key: reader}); res.Status != http.StatusForbidden {
		t.Errorf("a key that may write nothing: %d", res.Status)
	}
	client := s3.New(s3.Options{Region: "us-east-1", BaseEndpoint: &a.StorageURL, UsePathStyle: true, RetryMaxAttempts: 1,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: a.AccessKey, SecretAccessKey: a.Secret, SessionToken: a.SessionToken}, nil
		})})
	put := func(org string) error {
		_, err := client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &a.Bucket, Key: aws.String(org + "/hash/context.tar"), Body: strings.NewReader("content")})
		return err
	}
	if err := put(orgA); err != nil {
		t.Error(err)
	}
	if err := put(orgB); err == nil || !strings.Contains(err.Error(), "AccessDenied") {
		t.Errorf("another organization's: %v", err)
	}
	// A runner fetches it without credentials, at an address that holds them.
	address, err := s.Uploads.ContextURL(t.Context(), orgA, "hash")
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if data, _ := io.ReadAll(answer.Body); answer.StatusCode != 200 || string(data) != "content" {
		t.Errorf("%d %s", answer.StatusCode, data)
	}
	for _, bad := range [][2]string{{orgB, "hash"}, {orgA, "other"}, {orgA, "../hash"}, {"", "hash"}, {orgA, ""}} {
		if address, err := s.Uploads.ContextURL(t.Context(), bad[0], bad[1]); err == nil {
			t.Errorf("%q: %s", bad, address)
		}
	}
	for _, secret := range []string{a.Secret, a.SessionToken} {
		if strings.Contains(s.Log.String(), secret) {
			t.Error("credentials are in the log")
		}
	}
}

func TestRegistryPushAccess(t *testing.T) {
	s := controlplanetest.New(t)
	orgA, keyA := s.Tenant(t, "a", auth.WriteSnapshots)
	orgB, keyB := s.Tenant(t, "b", auth.WriteRegistries)
	_, weak := s.Tenant(t, "c", auth.WriteSandboxes)
	path := "/api/docker-registry/registry-push-access"
	if res := s.Do(t, controlplanetest.Request{Method: "GET", Path: path, Key: weak}); res.Status != http.StatusForbidden {
		t.Errorf("a key that may make no snapshot: %d", res.Status)
	}
	var a, b api.RegistryPushAccess
	s.Do(t, controlplanetest.Request{Method: "GET", Path: path, Key: keyA}).JSON(t, &a)
	s.Do(t, controlplanetest.Request{Method: "GET", Path: path + "?regionId=us", Key: keyB}).JSON(t, &b)
	if a.Project != "daytona/"+orgA || a.RegistryURL != strings.TrimPrefix(s.URL, "http://") || a.Username == "" || a.ExpiresAt == "" {
		t.Errorf("got %+v", a)
	}
	begin := func(user, password, org string) int {
		r, err := http.NewRequestWithContext(t.Context(), "POST", s.URL+"/v2/daytona/"+org+"/app/blobs/uploads/", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.SetBasicAuth(user, password)
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		return answer.StatusCode
	}
	pull, err := s.Uploads.OwnAuths(orgA)
	if err != nil || len(pull) != 1 || pull[0].Prefix != a.RegistryURL+"/"+a.Project {
		t.Fatalf("%+v, %v", pull, err)
	}
	for _, tt := range []struct {
		name, user, password, org string
		want                      int
	}{
		{"robot", a.Username, a.Secret, orgA, 202},
		{"robot elsewhere", a.Username, a.Secret, orgB, 401},
		{"another's password", a.Username, b.Secret, orgA, 401},
		{"another's name", b.Username, a.Secret, orgB, 401},
		{"changed", a.Username, "A" + a.Secret, orgA, 401},
		{"API key", "anything", keyA, orgA, 202},
		{"API key elsewhere", "anything", keyA, orgB, 401},
		{"API key that may not push", "anything", weak, orgA, 401},
		{"a runner's", pull[0].Username, pull[0].Password, orgA, 401},
		{"wrong", "x", "y", orgA, 401},
	} {
		if got := begin(tt.user, tt.password, tt.org); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
	s.Advance(61 * 60 * 1e9)
	if got := begin(a.Username, a.Secret, orgA); got != 401 {
		t.Errorf("after an hour: %d", got)
	}
	for _, secret := range []string{a.Secret, keyA} {
		if strings.Contains(s.Log.String(), secret) {
			t.Error("credentials are in the log")
		}
	}
}
