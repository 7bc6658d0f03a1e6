//go:build root

package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// TestSessionsOutliveTheServer kills the server while a command prints and a
// client reads: who comes back gets everything, from the start. After a stop of
// the sandbox the log is still there, and why the command ended is told.
func TestSessionsOutliveTheServer(t *testing.T) {
	for _, isolation := range []string{"gvisor", "runc"} {
		t.Run(isolation, func(t *testing.T) {
			m := mode{isolation: isolation}
			box := &toolboxClient{client: alone(t, m)}
			box.id = mustCreate(t, box.client, nil).ID
			box.get(t, http.StatusCreated, http.MethodPost, "/process/session", `{"sessionId":"s"}`, nil)
			begin := func(command string) string {
				var r struct{ CmdID string }
				box.get(t, http.StatusAccepted, http.MethodPost, "/process/session/s/exec", fmt.Sprintf(`{"command":%q,"runAsync":true}`, command), &r)
				return "/process/session/s/command/" + r.CmdID
			}
			counts := begin("for i in $(seq 200); do echo line $i; sleep 0.05; done; echo end >&2; (exit 5)")
			conn := box.socket(t, counts+"/logs?follow=true")
			if _, first, err := conn.Read(t.Context()); err != nil || !strings.HasPrefix(string(first), "line 1\n") {
				t.Fatalf("%q %v", first, err)
			}
			shared.kill()
			if _, _, err := conn.Read(t.Context()); websocket.CloseStatus(err) == websocket.StatusNormalClosure {
				t.Errorf("the dying server closed the stream as if it were whole")
			}
			restart(t, m)

			want := ""
			for i := range 200 {
				want += fmt.Sprintf("line %d\n", i+1)
			}
			want += "end\n"
			conn = box.socket(t, counts+"/logs?follow=true")
			var got strings.Builder
			for {
				_, frame, err := conn.Read(t.Context())
				if err != nil {
					if code := websocket.CloseStatus(err); code != websocket.StatusNormalClosure {
						t.Errorf("closed with %d: %v", code, err)
					}
					break
				}
				got.Write(frame)
			}
			if got.String() != want {
				t.Errorf("after the restart %d bytes, want %d: …%.100q", got.Len(), len(want), tail(got.String(), 100))
			}
			type command struct {
				ExitCode int
				Cause    string
			}
			var c command
			if box.get(t, http.StatusOK, http.MethodGet, counts, "", &c); c.ExitCode != 5 || c.Cause != "exit" {
				t.Errorf("%+v", c)
			}

			waits := begin("echo waiting; read x")
			for deadline := time.Now().Add(time.Minute); box.get(t, http.StatusOK, http.MethodGet, waits+"/logs", "", nil) != "waiting\n"; {
				if time.Now().After(deadline) {
					t.Fatal("the command prints nothing")
				}
				time.Sleep(50 * time.Millisecond)
			}
			for _, what := range []string{"stop", "start"} {
				if err := box.do(t.Context(), http.MethodPost, "/sandbox/"+box.id+"/"+what, nil, nil); err != nil {
					t.Fatal(err)
				}
				if _, err := box.waitFor(t.Context(), box.id, map[string]string{"stop": "stopped", "start": "started"}[what]); err != nil {
					t.Fatal(err)
				}
			}
			if list := box.get(t, http.StatusOK, http.MethodGet, "/process/session", "", nil); strings.TrimSpace(list) != "[]" {
				t.Errorf("sessions after the stop: %s", list)
			}
			if box.get(t, http.StatusOK, http.MethodGet, waits, "", &c); c.Cause != "sandboxStopped" {
				t.Errorf("%+v", c)
			}
			if log := box.get(t, http.StatusOK, http.MethodGet, counts+"/logs", "", nil); log != want {
				t.Errorf("the log after the stop: %d bytes", len(log))
			}
			box.get(t, http.StatusGone, http.MethodPost, "/process/session/s/exec", `{"command":"echo"}`, nil)
			box.get(t, http.StatusNoContent, http.MethodDelete, "/process/session/s", "", nil)
			box.get(t, http.StatusNotFound, http.MethodGet, "/process/session/s", "", nil)
		})
	}
}

// TestSessionDeleteFindsEverybody deletes a session whose processes have done
// what they could to get away.
func TestSessionDeleteFindsEverybody(t *testing.T) {
	for _, isolation := range []string{"gvisor", "runc"} {
		t.Run(isolation, func(t *testing.T) {
			box := &toolboxClient{client: alone(t, mode{isolation: isolation})}
			box.id = mustCreate(t, box.client, nil).ID
			before := box.sh(t, "pgrep -c . || true")
			box.get(t, http.StatusCreated, http.MethodPost, "/process/session", `{"sessionId":"s"}`, nil)
			for range 20 {
				var r struct{ Output string }
				box.get(t, http.StatusOK, http.MethodPost, "/process/session/s/exec", `{"command":"echo err >&2; echo out"}`, &r)
				if r.Output != "err\nout\n" {
					t.Errorf("the streams changed places: %q", r.Output)
				}
			}
			box.get(t, http.StatusOK, http.MethodPost, "/process/session/s/exec", `{"command":"sleep 1111 & disown; setsid -f sleep 1112; (setsid nohup sh -c 'sleep 1113 & sleep 1114' >/dev/null 2>&1 &); bash -c 'trap \"\" TERM; while :; do sleep 0.5; done' & sleep 0.5"}`, nil)
			if n := strings.TrimSpace(box.sh(t, "pgrep -c -f 'sleep 111'")); n != "5" && n != "6" {
				t.Errorf("%s processes were started:\n%s", n, box.sh(t, "ps -ef"))
			}
			box.get(t, http.StatusNoContent, http.MethodDelete, "/process/session/s", "", nil)
			if after := box.sh(t, "pgrep -c . || true"); after != before {
				t.Errorf("processes before %s, after %s:\n%s", before, after, box.sh(t, "ps -ef"))
			}
		})
	}
}

// TestEndsAreTold is about why a command ended, in a real sandbox.
func TestEndsAreTold(t *testing.T) {
	for _, isolation := range []string{"gvisor", "runc"} {
		t.Run(isolation, func(t *testing.T) {
			box := &toolboxClient{client: alone(t, mode{isolation: isolation})}
			box.id = mustCreate(t, box.client, nil).ID
			type answer struct {
				ExitCode                              int
				Cause, Signal, Result, Stdout, Stderr string
			}
			for command, want := range map[string]answer{
				"exit 3":                       {ExitCode: 3, Cause: "exit"},
				"kill -TERM $$":                {ExitCode: 143, Cause: "signal", Signal: "SIGTERM"},
				"sh -c 'kill -9 $$'":           {ExitCode: 137, Cause: "signal", Signal: "SIGKILL"},
				"echo out; echo err >&2; exit": {Cause: "exit", Stdout: "out\n", Stderr: "err\n"},
			} {
				var got answer
				if err := box.post(t.Context(), http.MethodPost, "/process/execute", map[string]any{"command": command, "splitOutput": true}, &got); err != nil {
					t.Fatal(err)
				}
				if got.ExitCode != want.ExitCode || got.Cause != want.Cause || got.Signal != want.Signal || got.Stdout != want.Stdout {
					t.Errorf("%s: %+v", command, got)
				}
			}
			hog := map[string]any{"command": `python3 -c "
b = []
while True: b.append(bytearray(16 << 20))"`}
			var got answer
			err := box.post(t.Context(), http.MethodPost, "/process/execute", hog, &got)
			switch {
			case err == nil && isolation == "runc":
				if got.ExitCode != 137 || got.Cause != "outOfMemory" {
					t.Errorf("without memory: %+v", got)
				}
			case err == nil:
				// The sandbox's kernel refused, and the program said so.
				if got.ExitCode == 0 {
					t.Errorf("without memory: %+v", got)
				}
			default:
				ended(t, box.client, sandbox{ID: box.id}, "memory")
			}
		})
	}
}

// TestOutputLargerThanMemory prints more than the sandbox has memory, reads all
// of it back, and looks at what that costs.
func TestOutputLargerThanMemory(t *testing.T) {
	api := shared.api
	sb := mustCreate(t, api, nil)
	box := &toolboxClient{client: api, id: sb.ID}
	var has struct{ Memory int64 } // GiB
	if err := api.do(t.Context(), http.MethodGet, "/sandbox/"+sb.ID, nil, &has); err != nil || has.Memory == 0 {
		t.Fatalf("%+v %v", has, err)
	}
	size := has.Memory<<30 + 256<<20
	box.get(t, http.StatusCreated, http.MethodPost, "/process/session", `{"sessionId":"s"}`, nil)
	var r struct{ CmdID string }
	began := time.Now()
	box.get(t, http.StatusAccepted, http.MethodPost, "/process/session/s/exec",
		fmt.Sprintf(`{"command":"yes 0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ | head -c %d","runAsync":true}`, size), &r)
	res, err := box.request(t.Context(), http.MethodGet, "/process/session/s/command/"+r.CmdID+"/logs?follow=true", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	const line = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ\n"
	var n int64
	buf := make([]byte, 1000*len(line))
	want := []byte(strings.Repeat(line, 1000))
	for {
		m, err := io.ReadFull(res.Body, buf)
		n += int64(m)
		if !bytes.Equal(buf[:m], want[:m]) {
			t.Fatalf("wrong bytes before %d", n)
		}
		if err != nil {
			break
		}
	}
	if n != size {
		t.Errorf("got %d bytes of %d", n, size)
	}
	t.Logf("%d MiB printed and followed in %.1f s", size>>20, time.Since(began).Seconds())
	if kib := strings.TrimSpace(box.sh(t, "awk '/^VmRSS:/ {print $2}' /proc/1/status")); len(kib) > 5 {
		t.Errorf("the toolbox has %s KiB of memory", kib)
	} else {
		t.Logf("the toolbox has %s KiB of memory", kib)
	}
	box.get(t, http.StatusNoContent, http.MethodDelete, "/process/session/s", "", nil)
}
