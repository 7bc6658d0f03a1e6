package daytona

import (
	"errors"
	"testing"
)

// TestNotFoundAndUnsupported: both are a 404 of the server.
func TestNotFoundAndUnsupported(t *testing.T) {
	for _, tt := range []struct {
		message string
		want    error
		not     error
	}{
		{"Cannot GET /api/volumes", ErrUnsupported, ErrNotFound},
		{"Volume with ID or name x not found", ErrNotFound, ErrUnsupported},
		{"Cannot GET /api/other", ErrNotFound, ErrUnsupported}, // somebody else's words
	} {
		err := &Error{StatusCode: 404, Method: "GET", Path: "/api/volumes", Message: tt.message}
		if !errors.Is(err, tt.want) || errors.Is(err, tt.not) {
			t.Errorf("%s is taken for something else", tt.message)
		}
	}
}
