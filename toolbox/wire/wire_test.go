package wire

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"daytona/internal/fault"
)

func TestParseVersion(t *testing.T) {
	for in, want := range map[string]Version{
		"0.27.1":        {0, 27, 1},
		"v0.190.0":      {0, 190, 0},
		"0.156":         {0, 156, 0},
		"0.25.0a1":      {0, 25, 0},
		"0.25.6.dev2":   {0, 25, 6},
		"1.2.3-rc.1+x":  {1, 2, 3},
		"":              {},
		"unknown":       {},
		"0.0.0-dev":     {},
		"0.x.1":         {},
		"1":             {},
		"1.2.3.4.5":     {},
		"-1.2.3":        {},
		"99999999999.1": {99999999999, 1, 0},
	} {
		got, known := ParseVersion(in)
		if got != want || known != (want != Version{}) {
			t.Errorf("ParseVersion(%q) = %v, %v; want %v", in, got, known, want)
		}
	}
}

func TestDialect(t *testing.T) {
	for _, test := range []struct {
		name    string
		headers map[string]string
		wraps   bool
		old     bool
		strict  bool
	}{
		{"docs-era TypeScript", map[string]string{"X-Daytona-Source": "typescript-sdk", "X-Daytona-SDK-Version": "0.27.1", "X-Daytona-Toolbox-Path": "api"}, true, true, false},
		{"last that wraps", map[string]string{"X-Daytona-SDK-Version": "0.155.9"}, true, true, false},
		{"first that does not", map[string]string{"X-Daytona-SDK-Version": "0.156.0"}, false, false, false},
		{"newest Python", map[string]string{"X-Daytona-Source": "sdk-python", "X-Daytona-SDK-Version": "0.218.0"}, false, false, false},
		{"unknown version", map[string]string{"X-Daytona-Source": "sdk-python", "X-Daytona-SDK-Version": "unknown"}, false, false, false},
		{"docs-era command line", map[string]string{"X-Daytona-Source": "cli", "User-Agent": "OpenAPI-Generator/1.0.0/go", "X-Daytona-Toolbox-Path": "api"}, true, true, true},
		{"later Go client", map[string]string{"User-Agent": "api-client-go/0.190.0"}, false, false, false},
		{"bare request by the API", map[string]string{"X-Daytona-Toolbox-Path": "api"}, false, true, false},
		{"bare request", nil, false, false, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := httptest.NewRequestWithContext(t.Context(), "GET", "/", nil)
			for k, v := range test.headers {
				r.Header.Set(k, v)
			}
			d := DialectOf(r)
			if d.WrapsCommands() != test.wraps || d.Old() != test.old || d.Strict != test.strict {
				t.Errorf("wraps %v, old %v, strict %v; want %v, %v, %v",
					d.WrapsCommands(), d.Old(), d.Strict, test.wraps, test.old, test.strict)
			}
		})
	}
}

func TestDecodeNamesTheField(t *testing.T) {
	type request struct {
		Command string            `json:"command"`
		Timeout *uint32           `json:"timeout,omitempty"`
		Envs    map[string]string `json:"envs,omitempty"`
		Argv    []string          `json:"argv,omitempty"`
	}
	for body, want := range map[string]string{
		`{"command":1}`:                  "command must be a string, not number",
		`{"command":"a","timeout":1.5}`:  "timeout must be a whole number, not number 1.5",
		`{"command":"a","timeout":-1}`:   "timeout must be a whole number, not number -1",
		`{"command":"a","timeout":"1"}`:  "timeout must be a whole number, not string",
		`{"command":"a","envs":[]}`:      "envs must be an object, not array",
		`{"command":"a","envs":{"A":1}}`: "envs must be a string, not number",
		`{"command":"a","argv":"x"}`:     "argv must be an array, not string",
		`{"command":"a"} {}`:             "one JSON object",
		`[]`:                             "must be a JSON object, not array",
		``:                               "command required",
		`{`:                              "not valid JSON",
		`nonsense`:                       "not valid JSON",
	} {
		var v request
		err := Decode(httptest.NewRequestWithContext(t.Context(), "POST", "/", strings.NewReader(body)), &v)
		if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("Decode(%s) = %v; want %q", body, err, want)
		}
	}
}

func TestDescribeKeepsSecrets(t *testing.T) {
	r := httptest.NewRequestWithContext(t.Context(), "GET", "/files/info?path=x", nil)
	now := time.Date(2025, 8, 22, 10, 0, 0, 0, time.UTC)
	body := Describe(fault.Wrap(errSecret{}, fault.NotFound, "file not found: x").WithCode("FILE_NOT_FOUND"), r, now)
	want := Error{404, "file not found: x", "Not Found", "FILE_NOT_FOUND", "DAYTONA_DAEMON", "2025-08-22T10:00:00Z", "/files/info", "GET", nil}
	if body != want {
		t.Errorf("got %+v, want %+v", body, want)
	}
	if body := Describe(errSecret{}, r, now); body.Message != "internal server error" || body.StatusCode != 500 || body.Code != "INTERNAL_SERVER_ERROR" {
		t.Errorf("an unforeseen error is shown as %+v", body)
	}
}

type errSecret struct{}

func (errSecret) Error() string { return "secret" }
