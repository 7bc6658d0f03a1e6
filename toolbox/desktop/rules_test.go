package desktop

import (
	"image"
	"image/color"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"daytona/internal/fault"
	"daytona/toolbox/desktop/x11"
	"daytona/toolbox/launch"
)

func TestKeysym(t *testing.T) {
	for name, want := range map[string]x11.Keysym{
		"a": 'a', "A": 'A', "€": 0x010020ac, "Enter": 0xff0d, "RETURN": 0xff0d, "Page_Up": 0xff55, "page up": 0xff55, "page-up": 0xff55,
		"ArrowLeft": 0xff51, "F1": 0xffbe, "f24": 0xffd5, "num5": 0xffb5, "KP_5": 0xffb5, "Numpad0": 0xffb0, "Control_L": 0xffe3,
		"cmd": 0xffeb, "Option": 0xffe9, "plus": '+', "+": '+', " ": ' ', "\n": 0xff0d, "5": '5',
		"f0": 0, "f25": 0, "f": 'f', "f+1": 0, "kp10": 0, "": 0, "\x00": 0, "ctrl+c": 0, "$(id)": 0, "\xff": 0,
	} {
		got, err := keysym(name)
		if got != want || (err == nil) != (want != 0) {
			t.Errorf("keysym(%q) = %#x, %v; want %#x", name, got, err, want)
		}
	}
}

func TestParseHotkey(t *testing.T) {
	for text, want := range map[string][]x11.Keysym{
		"ctrl+c":            {0xffe3, 'c'},
		"Ctrl + Shift + T":  {0xffe3, 0xffe1, 'T'},
		"ctrl++":            {0xffe3, '+'},
		"+":                 {'+'},
		"ctrl+plus":         {0xffe3, '+'},
		"enter":             {0xff0d},
		"ctrl+ ":            {0xffe3, ' '},
		"":                  nil,
		"ctrl+":             nil,
		"+c":                nil,
		"ctrl+nope":         nil,
		"a+b+c+d+e+f+g+h+i": nil,
	} {
		got, err := parseHotkey(text)
		if !slices.Equal(got, want) || (err == nil) != (want != nil) {
			t.Errorf("parseHotkey(%q) = %#x, %v; want %#x", text, got, err, want)
		}
	}
}

func FuzzParseHotkey(f *testing.F) {
	for _, s := range []string{"ctrl+c", "++", "+++", "a", "ctrl++", "\xff+\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		syms, err := parseHotkey(s)
		if (err == nil) != (len(syms) > 0) {
			t.Errorf("%q: %v, %v", s, syms, err)
		}
		if err != nil && !fault.Is(err, fault.Invalid) {
			t.Errorf("%q: %v", s, err)
		}
	})
}

func TestTyped(t *testing.T) {
	got, err := typed("a\r\nb\n", false)
	if err != nil || !slices.Equal(got, []x11.Keysym{'a', 0xff0d, 'b', 0xff0d}) {
		t.Errorf("lines: %#x, %v", got, err)
	}
	if got, err := typed("\t", true); err != nil || !slices.Equal(got, []x11.Keysym{0xff09}) {
		t.Errorf("an old client's tab: %#x, %v", got, err)
	}
	for _, bad := range []string{"\t", "\x1b", "\x7f", "\xff", strings.Repeat("x", maxText+1)} {
		if _, err := typed(bad, false); !fault.Is(err, fault.Invalid) {
			t.Errorf("%.10q: %v", bad, err)
		}
	}
}

func FuzzReadShot(f *testing.F) {
	f.Add("x=1&y=2&width=3&height=4&showCursor=true&format=jpeg&quality=1&scale=0.1", true, true)
	f.Add("scale=Inf", false, true)
	f.Fuzz(func(t *testing.T, query string, region, compressed bool) {
		q, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		want, err := readShot(q, region, compressed)
		if err != nil {
			if !fault.Is(err, fault.Invalid) {
				t.Errorf("%q: %v", query, err)
			}
			return
		}
		if want.quality < 1 || want.quality > 100 || !(want.scale >= 0.1 && want.scale <= 1) || region && want.area.Empty() {
			t.Errorf("%q: %+v", query, want)
		}
	})
}

func TestReadLayout(t *testing.T) {
	for text, want := range map[string][2]int{
		"": {1024, 768}, "1920x1080": {1920, 1080}, "800x600x24": {800, 600}, "7680x7680": {7680, 7680},
		"7681x10": {}, "10x10": {}, "1920X1080": {}, "1920x1080 -help": {}, "0x0": {}, "99999x99999": {}, "x": {},
	} {
		l, err := readLayout(launch.Vars{"VNC_RESOLUTION": text})
		if (err == nil) != (want != [2]int{}) || err == nil && [2]int{l.width, l.height} != want {
			t.Errorf("%q: %+v, %v", text, l, err)
		}
	}
	for _, port := range []string{"0", "65536", "http", "-1", "80 -x"} {
		if _, err := readLayout(launch.Vars{"NO_VNC_PORT": port}); !fault.Is(err, fault.Invalid) {
			t.Errorf("port %q: %v", port, err)
		}
	}
}

func TestShrink(t *testing.T) {
	src := image.NewRGBA(image.Rect(0, 0, 4, 2))
	for x := range 4 {
		for y := range 2 {
			src.SetRGBA(x, y, color.RGBA{R: byte(100 * (x / 2)), G: byte(40 * y), A: 255})
		}
	}
	dst := shrink(src, 2, 1)
	if a, b := dst.RGBAAt(0, 0), dst.RGBAAt(1, 0); a != (color.RGBA{0, 20, 0, 255}) || b != (color.RGBA{100, 20, 0, 255}) {
		t.Errorf("got %v and %v", a, b)
	}
	if got := shrink(src, 1, 1).Bounds().Size(); got != image.Pt(1, 1) {
		t.Errorf("one pixel is %v", got)
	}
}

func TestCleanLabel(t *testing.T) {
	for in, want := range map[string]string{
		"": "session", "my-test 1": "my-test_1", "../../etc/passwd": ".._.._etc_passwd", "ü\"\n": "___", strings.Repeat("a", 200): strings.Repeat("a", 64),
	} {
		if got := cleanLabel(in); got != want {
			t.Errorf("cleanLabel(%q) = %q, want %q", in, got, want)
		}
	}
}

// TestRecordingThatWasCutOff: the sandbox ended while it filmed.
func TestRecordingThatWasCutOff(t *testing.T) {
	dir := t.TempDir()
	const id = "0123456789abcdef"
	begun := time.Now().Add(-time.Minute).UTC()
	rec := Recording{ID: id, FileName: id + "_x.mp4", FilePath: filepath.Join(dir, id+"_x.mp4"), StartTime: begun.Format(time.RFC3339Nano), Status: recording}
	if err := save(rec); err != nil {
		t.Fatal(err)
	}
	if _, err := saved(noteFile(dir, id)); err == nil {
		t.Error("a recording without a film was found")
	}
	if err := os.WriteFile(rec.FilePath, []byte("film"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := saved(noteFile(dir, id))
	if err != nil || got.Status != completed || got.SizeBytes == nil || *got.SizeBytes != 4 || got.DurationSeconds == nil || *got.DurationSeconds < 50 || got.EndTime == "" {
		t.Errorf("got %+v, %v", got, err)
	}
	// A note that names another file leads nowhere else.
	b := strings.NewReplacer(dir+"/"+id+"_x.mp4", "/etc/passwd")
	text, err := os.ReadFile(noteFile(dir, id))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(noteFile(dir, id), []byte(b.Replace(string(text))), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := saved(noteFile(dir, id)); err == nil {
		t.Errorf("got %+v", got)
	}
}

func TestLogIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.log")
	l := &logFile{path: path}
	line := []byte(strings.Repeat("x", 1000) + "\n")
	for range 3 * maxLog / len(line) {
		l.write(line)
	}
	info, err := os.Stat(path)
	if err != nil || info.Size() > maxLog || info.Size() == 0 {
		t.Errorf("%v, %v", info, err)
	}
}

func TestLogSaysWhenALineHasCome(t *testing.T) {
	came := 0
	l := &logFile{path: filepath.Join(t.TempDir(), "x.log"), prefix: "PORT=", onLine: func() { came++ }}
	for i, part := range []string{"noise\nPO", "RT=59", "01\n", "PORT=1\n"} {
		l.write([]byte(part))
		if want := map[bool]int{true: 1}[i >= 2]; came != want {
			t.Errorf("after part %d: %d", i, came)
		}
	}
}
