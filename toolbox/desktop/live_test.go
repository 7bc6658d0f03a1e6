package desktop_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"image"
	_ "image/jpeg"
	_ "image/png"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"log/slog"

	"daytona/toolbox/desktop"
	"daytona/toolbox/launch"
	"daytona/toolbox/reaper"
)

// world is a service with a home of its own and a display that nobody else has.
type world struct {
	*testing.T
	server *httptest.Server
	space  *launch.Space
	home   string
}

func newWorld(t *testing.T, vars map[string]string) *world {
	t.Helper()
	home := t.TempDir()
	env := launch.NewEnviron(os.Environ())
	env.Set(map[string]string{"HOME": home, "DISPLAY": fmt.Sprintf(":%d", 100+os.Getpid()%800),
		"VNC_PORT": "35901", "NO_VNC_PORT": "36080", "DAYTONA_RECORDINGS_DIR": ""})
	env.Set(vars)
	space := &launch.Space{Table: reaper.New(), Env: env, WorkDir: home}
	s := desktop.New(desktop.Config{Space: space, Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	mux := http.NewServeMux()
	for _, route := range s.Routes() {
		mux.HandleFunc(route.Pattern, func(w http.ResponseWriter, r *http.Request) {
			if err := route.Handler(w, r); err != nil {
				t.Errorf("%s: %v", route.Pattern, err)
			}
		})
	}
	w := &world{T: t, server: httptest.NewServer(mux), space: space, home: home}
	t.Cleanup(func() {
		w.server.Close()
		space.Table.StopAll(3 * time.Second)
	})
	return w
}

// desk is a world whose desktop runs.
func desk(t *testing.T, programs ...string) *world {
	t.Helper()
	for _, name := range append(programs, "Xvfb", "xterm", "jwm") {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("%s is not installed: scripts/deps.sh test installs it", name)
		}
	}
	w := newWorld(t, nil)
	w.ok("POST", "/computeruse/start", "", nil)
	return w
}

// ask makes a request and returns status and body.
func (w *world) ask(method, path, body string) (int, []byte) {
	w.Helper()
	req, err := http.NewRequestWithContext(w.Context(), method, w.server.URL+path, strings.NewReader(body))
	if err != nil {
		w.Fatal(err)
	}
	req.Header.Set("X-Daytona-SDK-Version", "0.218.0")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		w.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		w.Fatal(err)
	}
	return res.StatusCode, b
}

// ok makes a request that must succeed, and decodes its answer.
func (w *world) ok(method, path, body string, out any) {
	w.Helper()
	status, b := w.ask(method, path, body)
	if status/100 != 2 {
		w.Fatalf("%s %s %s: %d %s", method, path, body, status, b)
	}
	if out != nil {
		if err := json.Unmarshal(b, out); err != nil {
			w.Fatalf("%s %s: %v: %s", method, path, err, b)
		}
	}
}

// until waits for a condition.
func (w *world) until(what string, cond func() bool) {
	w.Helper()
	for deadline := time.Now().Add(time.Minute); !cond(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.Fatalf("%s: not within a minute", what)
		}
	}
}

type windowInfo struct {
	ID                  int
	Title               string
	X, Y, Width, Height int
	IsActive            bool
}

func (w *world) windows() []windowInfo {
	w.Helper()
	var out struct {
		Windows []windowInfo
		Count   *int
	}
	w.ok("GET", "/computeruse/display/windows", "", &out)
	if out.Count == nil || *out.Count != len(out.Windows) || out.Windows == nil {
		w.Fatalf("windows: %+v", out)
	}
	return out.Windows
}

func (w *world) picture(path string) (image.Image, string) {
	w.Helper()
	var out struct {
		Screenshot     string
		SizeBytes      int
		CursorPosition *struct{ X, Y int }
	}
	w.ok("GET", path, "", &out)
	b, err := base64.StdEncoding.DecodeString(out.Screenshot)
	if err != nil || len(b) != out.SizeBytes {
		w.Fatalf("%s: %v, %d bytes of %d", path, err, len(b), out.SizeBytes)
	}
	img, format, err := image.Decode(bytes.NewReader(b))
	if err != nil {
		w.Fatal(err)
	}
	if wants := strings.Contains(path, "ursor=true"); wants != (out.CursorPosition != nil) {
		w.Errorf("%s: cursor %+v", path, out.CursorPosition)
	}
	return img, format
}

// differ counts the pixels in which two pictures of one size differ.
func differ(a, b image.Image) int {
	n := 0
	for y := a.Bounds().Min.Y; y < a.Bounds().Max.Y; y++ {
		for x := a.Bounds().Min.X; x < a.Bounds().Max.X; x++ {
			if a.At(x, y) != b.At(x, y) {
				n++
			}
		}
	}
	return n
}

// open starts xterm with a program in it and waits for its window.
func (w *world) open(title, script string) windowInfo {
	w.Helper()
	path, err := exec.LookPath("xterm")
	if err != nil {
		w.Fatal(err)
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		w.Fatal(err)
	}
	defer null.Close()
	_, err = w.space.Table.Start(reaper.Command{Path: path, Args: []string{"xterm", "-u8", "-T", title, "-e", "sh", "-c", script},
		Env: w.space.Env.With(map[string]string{"LC_ALL": "C.UTF-8"}).Pairs(), Dir: w.home, Stdin: null, Stdout: null, Stderr: null})
	if err != nil {
		w.Fatal(err)
	}
	var found windowInfo
	w.until("window "+title, func() bool {
		for _, one := range w.windows() {
			if one.Title == title && one.IsActive {
				found = one
			}
		}
		return found.ID != 0
	})
	return found
}

func TestTypingIntoAProgram(t *testing.T) {
	w := desk(t)
	var status struct{ Status string }
	if w.ok("GET", "/computeruse/status", "", &status); status.Status != "active" {
		t.Fatalf("status %q", status.Status)
	}
	before, format := w.picture("/computeruse/screenshot")
	if size := before.Bounds().Size(); format != "png" || size != image.Pt(1024, 768) {
		t.Fatalf("a %s of %v", format, size)
	}
	result := filepath.Join(w.home, "result")
	win := w.open("reader", `echo ready > ready; IFS= read -r line; printf %s "$line" > part; mv part `+result+`; sleep 60`)
	w.until("program", func() bool { _, err := os.Stat(filepath.Join(w.home, "ready")); return err == nil })
	after, _ := w.picture("/computeruse/screenshot")
	if n := differ(before, after); n < 10000 {
		t.Errorf("a window changed %d pixels", n)
	}
	var at struct{ X, Y int }
	w.ok("POST", "/computeruse/mouse/click", fmt.Sprintf(`{"x":%d,"y":%d}`, win.X+20, win.Y+20), &at)
	if at.X != win.X+20 || at.Y != win.Y+20 {
		t.Errorf("clicked at %+v", at)
	}
	region := fmt.Sprintf("/computeruse/screenshot/region?x=%d&y=%d&width=%d&height=%d", win.X, win.Y, win.Width, win.Height)
	empty, _ := w.picture(region)
	const text = `It's "quoted" $HOME; ~!@#%^&*()_+ {}|:<>? \ äöü € 漢字 ☃`
	body, err := json.Marshal(map[string]any{"text": text + "\n"})
	if err != nil {
		t.Fatal(err)
	}
	w.ok("POST", "/computeruse/keyboard/type", string(body), nil)
	w.until("the line", func() bool { _, err := os.Stat(result); return err == nil })
	if got, err := os.ReadFile(result); err != nil || string(got) != text {
		t.Errorf("typed %q, %v\nwant  %q", got, err, text)
	}
	full, _ := w.picture(region)
	if n := differ(empty, full); n < 100 {
		t.Errorf("typing changed %d pixels", n)
	}
}

func TestManyCharactersWithoutAKey(t *testing.T) {
	w := desk(t)
	var text strings.Builder
	for r := 'Ѐ'; r < 'Ѐ'+300; r++ { // more than a keyboard has spare keys
		text.WriteRune(r)
		if r%50 == 49 {
			text.WriteByte('\n')
		}
	}
	result := filepath.Join(w.home, "result")
	w.open("reader", `stty -echo; echo > ready; while IFS= read -r line; do printf '%s\n' "$line" >> `+result+`; done`)
	w.until("program", func() bool { _, err := os.Stat(filepath.Join(w.home, "ready")); return err == nil })
	text.WriteByte('\n')
	body, err := json.Marshal(map[string]any{"text": text.String()})
	if err != nil {
		t.Fatal(err)
	}
	w.ok("POST", "/computeruse/keyboard/type", string(body), nil)
	w.until("the text", func() bool { b, _ := os.ReadFile(result); return len(b) >= text.Len() })
	if got, _ := os.ReadFile(result); string(got) != text.String() {
		t.Errorf("typed %q", got)
	}
}

func TestKeysTogether(t *testing.T) {
	w := desk(t)
	w.open("keys", `stty raw -echo; echo > ready; od -An -v -tx1 -w1 -N8 > part; mv part keys; sleep 60`)
	w.until("program", func() bool { _, err := os.Stat(filepath.Join(w.home, "ready")); return err == nil })
	for _, ask := range []struct{ path, body string }{
		{"hotkey", `{"keys":"ctrl+c"}`},                                                // 03
		{"key", `{"key":"Enter"}`},                                                     // 0d
		{"key", `{"key":"a","modifiers":["shift"]}`},                                   // 41
		{"key", `{"key":"A"}`},                                                         // 41
		{"key", `{"key":"escape"}`},                                                    // 1b
		{"hotkey", `{"keys":"Control+Shift+underscore"}`},                              // 1f
		{"down", `{"key":"shift"}`}, {"key", `{"key":"b"}`}, {"up", `{"key":"shift"}`}, // 42
		{"key", `{"key":"Tab"}`}, // 09
	} {
		w.ok("POST", "/computeruse/keyboard/"+ask.path, ask.body, nil)
	}
	keys := filepath.Join(w.home, "keys")
	w.until("keys", func() bool { _, err := os.Stat(keys); return err == nil })
	if got, _ := os.ReadFile(keys); strings.Join(strings.Fields(string(got)), " ") != "03 0d 41 41 1b 1f 42 09" {
		t.Errorf("the program read %s", got)
	}
}

func TestMouse(t *testing.T) {
	w := desk(t)
	var at struct{ X, Y int }
	w.ok("POST", "/computeruse/mouse/move", `{"x":300,"y":200}`, &at)
	if at.X != 300 || at.Y != 200 {
		t.Errorf("moved to %+v", at)
	}
	if w.ok("GET", "/computeruse/mouse/position", "", &at); at.X != 300 || at.Y != 200 {
		t.Errorf("position %+v", at)
	}
	plain, _ := w.picture("/computeruse/screenshot/region?x=290&y=190&width=40&height=40")
	for _, name := range []string{"showCursor", "show_cursor"} {
		drawn, _ := w.picture("/computeruse/screenshot/region?x=290&y=190&width=40&height=40&" + name + "=true")
		if differ(plain, drawn) == 0 {
			t.Errorf("%s draws no cursor", name)
		}
	}
	// Dragging a window by its title moves it.
	win := w.open("dragged", "sleep 60")
	w.ok("POST", "/computeruse/mouse/drag", fmt.Sprintf(`{"startX":%d,"startY":%d,"endX":%d,"endY":%d}`, win.X+60, win.Y-8, win.X+160, win.Y+92), &at)
	if at.X != win.X+160 || at.Y != win.Y+92 {
		t.Errorf("dragged to %+v", at)
	}
	w.until("move", func() bool {
		for _, one := range w.windows() {
			if one.Title == "dragged" && one.X > win.X+50 && one.Y > win.Y+50 {
				return true
			}
		}
		return false
	})
	var scrolled struct{ Success bool }
	if w.ok("POST", "/computeruse/mouse/scroll", `{"x":100,"y":100,"direction":"down","amount":3}`, &scrolled); !scrolled.Success {
		t.Error("not scrolled")
	}
}

func TestSmallerPictures(t *testing.T) {
	w := desk(t)
	png, _ := w.picture("/computeruse/screenshot/compressed?scale=0.5")
	if png.Bounds().Size() != image.Pt(512, 384) {
		t.Errorf("half the size is %v", png.Bounds().Size())
	}
	_, format := w.picture("/computeruse/screenshot/compressed?format=jpeg&quality=40")
	if format != "jpeg" {
		t.Errorf("format %s", format)
	}
	part, _ := w.picture("/computeruse/screenshot/region/compressed?x=10&y=20&width=200&height=100&format=jpeg&scale=0.5")
	if part.Bounds().Size() != image.Pt(100, 50) {
		t.Errorf("half a region is %v", part.Bounds().Size())
	}
}

func TestHostileRequests(t *testing.T) {
	w := desk(t)
	for _, ask := range []struct{ method, path, body, says string }{
		{"GET", "screenshot/region?x=0&y=0&width=0&height=10", "", "at least 1"},
		{"GET", "screenshot/region?x=0&y=0&width=32767&height=32767", "", "not within the screen"},
		{"GET", "screenshot/region?x=-1&y=0&width=10&height=10", "", "not within the screen"},
		{"GET", "screenshot/region?x=0&y=0&width=99999999999999999999&height=1", "", "width"},
		{"GET", "screenshot/region?x=1.5&y=0&width=10&height=10", "", "x must be"},
		{"GET", "screenshot/region", "", "x must be"},
		{"GET", "screenshot?showCursor=maybe", "", "showCursor"},
		{"GET", "screenshot/compressed?scale=0.01", "", "scale"},
		{"GET", "screenshot/compressed?scale=NaN", "", "scale"},
		{"GET", "screenshot/compressed?scale=1e300", "", "scale"},
		{"GET", "screenshot/compressed?quality=0", "", "quality"},
		{"GET", "screenshot/compressed?format=bmp", "", "format"},
		{"POST", "mouse/move", `{"x":5000,"y":1}`, "not on the screen"},
		{"POST", "mouse/move", `{"x":-1,"y":1}`, "not on the screen"},
		{"POST", "mouse/move", `{"x":1.5,"y":1}`, "whole number"},
		{"POST", "mouse/move", `{"x":99999999999999999999,"y":1}`, "whole number"},
		{"POST", "mouse/move", `{"x":1}`, "y"},
		{"POST", "mouse/move", `{}`, "required"},
		{"POST", "mouse/click", `{"x":1,"y":1,"button":"fourth"}`, "button"},
		{"POST", "mouse/drag", `{"startX":1,"startY":1,"endX":1}`, "required"},
		{"POST", "mouse/scroll", `{"x":1,"y":1,"direction":"sideways"}`, "direction"},
		{"POST", "mouse/scroll", `{"x":1,"y":1,"direction":"up","amount":100000000}`, "amount"},
		{"POST", "keyboard/type", `{}`, "text"},
		{"POST", "keyboard/type", `{"text":"a\tb"}`, "tab"},
		{"POST", "keyboard/type", `{"text":"\u0000"}`, "U+0000"},
		{"POST", "keyboard/type", `{"text":"ab","delay":1e12}`, "delay"},
		{"POST", "keyboard/key", `{"key":"nosuchkey"}`, "unknown key"},
		{"POST", "keyboard/key", `{"key":"a","modifiers":["hyper"]}`, "unknown modifier"},
		{"POST", "keyboard/key", `{"key":"a","modifiers":["b"]}`, "unknown modifier"},
		{"POST", "keyboard/hotkey", `{"keys":""}`, "keys"},
		{"POST", "keyboard/hotkey", `{"keys":"ctrl+$(reboot)"}`, "unknown key"},
		{"POST", "keyboard/hotkey", `not json`, "JSON"},
	} {
		status, b := w.ask(ask.method, "/computeruse/"+ask.path, ask.body)
		var body struct{ Error, Message, Code, Source string }
		if err := json.Unmarshal(b, &body); err != nil || status != 400 || !strings.Contains(body.Error, ask.says) ||
			body.Message != body.Error || body.Code == "" || body.Source == "" {
			t.Errorf("%s %s: %d %s", ask.path, ask.body, status, b)
		}
	}
}

func TestCrashedProcessComesBack(t *testing.T) {
	w := desk(t)
	pid := func(name string) int {
		var out struct {
			Processes map[string]struct {
				Running bool `json:"running"`
				PID     int  `json:"pid"`
			}
		}
		w.ok("GET", "/computeruse/process-status", "", &out)
		if p := out.Processes[name]; p.Running {
			return p.PID
		}
		return 0
	}
	for _, name := range []string{"xfce4", "xvfb"} {
		first := pid(name)
		if first == 0 {
			t.Fatalf("%s does not run", name)
		}
		if err := syscall.Kill(first, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		w.until(name, func() bool { now := pid(name); return now != 0 && now != first })
	}
	var out struct{ ProcessName string }
	w.until("all of it", func() bool { return pid("xfce4") != 0 && pid("xvfb") != 0 })
	second := pid("xfce4")
	if w.ok("POST", "/computeruse/process/xfce4/restart", "", &out); out.ProcessName != "xfce4" || pid("xfce4") == second {
		t.Errorf("restart: %+v, %d", out, pid("xfce4"))
	}
	w.picture("/computeruse/screenshot")
	w.ok("POST", "/computeruse/stop", "", nil)
	if n := w.space.Table.Running(); n != 0 {
		t.Errorf("%d processes are left", n)
	}
	if status, b := w.ask("GET", "/computeruse/screenshot", ""); status != 400 || !strings.Contains(string(b), "computeruse/start") {
		t.Errorf("after the stop: %d %s", status, b)
	}
	w.ok("POST", "/computeruse/start", "", nil)
	w.ok("POST", "/computeruse/start", "", nil) // once more changes nothing
	w.picture("/computeruse/screenshot")
}

// TestStaleLock: an X server that was killed leaves a lock with a number that
// may belong to another process by now.
func TestStaleLock(t *testing.T) {
	w := desk(t)
	w.ok("POST", "/computeruse/stop", "", nil)
	lock := "/tmp/.X" + strings.TrimPrefix(w.space.Env.Get("DISPLAY"), ":") + "-lock"
	if err := os.WriteFile(lock, fmt.Appendf(nil, "%10d\n", os.Getpid()), 0o444); err != nil {
		t.Fatal(err)
	}
	w.ok("POST", "/computeruse/start", "", nil)
	w.picture("/computeruse/screenshot")
}

func TestLogs(t *testing.T) {
	w := desk(t)
	var logs struct{ ProcessName, Logs, Errors *string }
	w.ok("GET", "/computeruse/process/xvfb/logs", "", &logs)
	if logs.ProcessName == nil || logs.Logs == nil || !strings.Contains(*logs.Logs, strings.TrimPrefix(w.space.Env.Get("DISPLAY"), ":")) {
		t.Errorf("logs: %+v", logs)
	}
	w.ok("GET", "/computeruse/process/xvfb/errors", "", &logs)
	if logs.Errors == nil {
		t.Errorf("errors: %+v", logs)
	}
	if status, b := w.ask("GET", "/computeruse/process/..%2f..%2fpasswd/logs", ""); status != 404 {
		t.Errorf("another file: %d %s", status, b)
	}
}

func TestTwoTextsAtOnce(t *testing.T) {
	w := desk(t)
	result := filepath.Join(w.home, "result")
	w.open("reader", `stty -echo; echo > ready; while IFS= read -r line; do printf '%s\n' "$line" >> `+result+`; done`)
	w.until("program", func() bool { _, err := os.Stat(filepath.Join(w.home, "ready")); return err == nil })
	a, b := strings.Repeat("a", 400), strings.Repeat("b", 400)
	done := make(chan int, 2)
	for _, text := range []string{a, b} {
		go func() {
			status, _ := w.ask("POST", "/computeruse/keyboard/type", `{"text":"`+text+`\n"}`)
			done <- status
		}()
	}
	for range 2 {
		if status := <-done; status != 200 {
			t.Errorf("status %d", status)
		}
	}
	w.until("both", func() bool { got, _ := os.ReadFile(result); return len(got) >= 802 })
	if got, _ := os.ReadFile(result); string(got) != a+"\n"+b+"\n" && string(got) != b+"\n"+a+"\n" {
		t.Errorf("typed %s", got)
	}
}

func TestWithoutThePrograms(t *testing.T) {
	w := newWorld(t, map[string]string{"PATH": t.TempDir()})
	for _, route := range []string{"POST start", "POST stop", "GET status", "GET screenshot", "POST mouse/move", "GET recordings", "GET a11y/tree", "GET process/xvfb/logs"} {
		method, path, _ := strings.Cut(route, " ")
		status, b := w.ask(method, "/computeruse/"+path, "{}")
		var body struct{ Message, Details, Solution, Error, Code string }
		if err := json.Unmarshal(b, &body); err != nil || status != 503 || body.Details == "" || body.Message == "" ||
			!strings.Contains(body.Solution, "daytona-desktop") || body.Code != "COMPUTER_USE_UNAVAILABLE" {
			t.Errorf("%s: %d %s", route, status, b)
		}
	}
}

func TestSettingsThatAreWrong(t *testing.T) {
	if _, err := exec.LookPath("Xvfb"); err != nil {
		t.Skip("Xvfb is not installed: scripts/deps.sh test installs it")
	}
	for name, value := range map[string]string{"VNC_RESOLUTION": "-help", "VNC_PORT": "0"} {
		w := newWorld(t, map[string]string{name: value})
		if status, b := w.ask("POST", "/computeruse/start", ""); status != 400 || !strings.Contains(string(b), name) {
			t.Errorf("%s: %d %s", name, status, b)
		}
	}
}
