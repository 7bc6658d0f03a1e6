package patience_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"daytona/internal/patience"
)

func TestBody(t *testing.T) {
	failed := make(chan error, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		data, err := io.ReadAll(patience.Body(w, r, 50*time.Millisecond))
		if err == nil && string(data) != "whole" {
			t.Errorf("got %q", data)
		}
		failed <- err
	}))
	defer server.Close()
	if answer, err := http.Post(server.URL, "", strings.NewReader("whole")); err != nil {
		t.Fatal(err)
	} else {
		answer.Body.Close()
	}
	if err := <-failed; err != nil {
		t.Error(err)
	}
	r, w := io.Pipe()
	defer w.Close()
	go func() {
		answer, err := http.Post(server.URL, "", r)
		if err == nil {
			answer.Body.Close()
		}
	}()
	if _, err := w.Write([]byte("a part")); err != nil {
		t.Fatal(err)
	}
	if err := <-failed; err == nil {
		t.Error("a client that says nothing is waited for without end")
	}
}
