//go:build root

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
)

// A sandbox that waited in the pool has an interpreter ready before its owner
// asks for anything, and gives its memory back when that gets short.
func TestReadyInterpreter(t *testing.T) {
	for _, isolation := range []string{"gvisor", "runc"} {
		t.Run(isolation, func(t *testing.T) {
			api := alone(t, mode{isolation: isolation, warm: 1})
			box := claimReady(t, api)
			var run struct {
				ExitCode int
				Result   string
			}
			box.get(t, http.StatusOK, http.MethodPost, "/process/code-run",
				`{"language":"python","code":"import sys\nprint('pandas' in sys.modules)\nimport pandas\nprint(pandas.Series([1, 2]).sum(), 'pandas' in sys.modules)"}`, &run)
			if run.ExitCode != 0 || run.Result != "False\n3 True\n" {
				t.Errorf("code-run: %+v", run)
			}
			if isolation != "gvisor" {
				return // the kernel tells runc's sandboxes of the host's memory
			}
			r := mustExec(t, api, box.id, `python3 -c "b = b'x' * (700 << 20); import time; time.sleep(30)" &
for i in $(seq 250); do pgrep -x toolbox-ready > /dev/null || { kill $!; echo given back; exit; }; sleep 0.1; done; echo kept`)
			if !strings.Contains(r.Result, "given back") {
				t.Errorf("memory is short: %s", r.Result)
			}
		})
	}
}

// claimReady creates sandboxes until one has waited in the pool for long enough.
func claimReady(t *testing.T, api *client) *toolboxClient {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	for pause := 5 * time.Second; ; pause *= 2 {
		select {
		case <-ctx.Done():
			t.Fatal("no sandbox of the pool has an interpreter ready")
		case <-time.After(pause):
		}
		sb := mustCreate(t, api, nil)
		if r := mustExec(t, api, sb.ID, "pgrep -x toolbox-ready"); r.ExitCode == 0 {
			return &toolboxClient{client: api, id: sb.ID}
		}
		if err := api.delete(ctx, sb.ID); err != nil {
			t.Fatal(err)
		}
	}
}

// Contexts of JavaScript and TypeScript keep their variables, in the snapshot's
// own Node.js.
func TestInterpreterLanguages(t *testing.T) {
	sb := mustCreate(t, shared.api, nil)
	box := &toolboxClient{client: shared.api, id: sb.ID}
	for language, code := range map[string][2]string{
		"javascript": {"const x = 20", "console.log(x + 1)"},
		"typescript": {"const x: number = 20", "const y: number = x + 1; console.log(y)"},
	} {
		t.Run(language, func(t *testing.T) {
			var made struct{ ID, Language string }
			box.get(t, http.StatusOK, http.MethodPost, "/process/interpreter/context", `{"language":"`+language+`"}`, &made)
			if made.ID == "" || made.Language != language {
				t.Fatalf("made: %+v", made)
			}
			if out := interpret(t, box, made.ID, code[0]); out != "" {
				t.Errorf("the first run printed %q", out)
			}
			if out := interpret(t, box, made.ID, code[1]); out != "21\n" {
				t.Errorf("the second run printed %q", out)
			}
		})
	}
}

// interpret runs code in a context and returns what it printed.
func interpret(t *testing.T, box *toolboxClient, id, code string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, box.base()+"/process/interpreter/execute", &websocket.DialOptions{
		HTTPHeader: http.Header{"Authorization": {"Bearer " + box.key}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.CloseNow() }()
	if err := wsjson.Write(ctx, conn, map[string]string{"code": code, "contextId": id}); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for {
		_, data, err := conn.Read(ctx)
		if closed, ok := errors.AsType[websocket.CloseError](err); ok && closed.Code == websocket.StatusNormalClosure {
			return out.String()
		}
		if err != nil {
			t.Fatal(err)
		}
		var frame struct{ Type, Text, Name, Value string }
		if err := json.Unmarshal(data, &frame); err != nil {
			t.Fatal(err)
		}
		switch frame.Type {
		case "stdout":
			out.WriteString(frame.Text)
		case "error", "stderr":
			t.Errorf("%s: %+v", frame.Type, frame)
		}
	}
}
