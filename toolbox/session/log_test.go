package session

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"daytona/toolbox/launch"
)

// collect walks through an index and returns the stream of every byte.
func collect(t *testing.T, index []byte, size, records int64) string {
	t.Helper()
	walk := segments{index: bytes.NewReader(index)}
	var b strings.Builder
	for {
		s, n, err := walk.piece(size, records)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			break
		}
		if n < 0 || n > size-walk.offset {
			t.Fatalf("a piece of %d bytes at %d of %d", n, walk.offset, size)
		}
		b.WriteString(strings.Repeat([]string{"o", "e"}[s], int(n)))
		walk.advance(n)
	}
	if walk.offset != size {
		t.Fatalf("ended at %d of %d", walk.offset, size)
	}
	return b.String()
}

func TestSegments(t *testing.T) {
	index := func(records ...[]byte) []byte { return bytes.Join(records, nil) }
	for name, test := range map[string]struct {
		index         []byte
		size, records int64
		want          string
	}{
		"nothing":               {nil, 0, 0, ""},
		"no index":              {nil, 3, 0, "ooo"},
		"one stream":            {index(record(0, stderr)), 3, 1, "eee"},
		"changes":               {index(record(0, stdout), record(2, stderr), record(3, stdout)), 5, 3, "ooeoo"},
		"a record too many":     {index(record(0, stdout), record(5, stderr)), 5, 2, "ooooo"},
		"not yet to be read":    {index(record(0, stdout), record(2, stderr)), 2, 1, "oo"},
		"cut off":               {index(record(0, stderr), record(1, stdout)[:5]), 3, 2, "eee"},
		"backwards":             {index(record(2, stderr), record(1, stdout), record(3, stderr)), 5, 3, "ooeee"[:2] + "o" + "ee"},
		"begins late":           {index(record(2, stderr)), 4, 1, "ooee"},
		"beyond what a file is": {bytes.Repeat([]byte{0xff}, 8), 4, 1, "oooo"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := collect(t, test.index, test.size, test.records); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

func FuzzSegments(f *testing.F) {
	f.Add([]byte{}, uint16(3))
	f.Add(append(record(0, stderr), record(7, stdout)...), uint16(9))
	f.Add(bytes.Repeat([]byte{0xff}, 80), uint16(100))
	f.Fuzz(func(t *testing.T, index []byte, size uint16) {
		collect(t, index, int64(size), int64(len(index)/recordSize)+1)
	})
}

// newOutput is a log in a directory of its own.
func newOutput(t *testing.T) (*output, func() *reader) {
	t.Helper()
	dir := t.TempDir()
	data, err := os.Create(filepath.Join(dir, dataFile))
	if err != nil {
		t.Fatal(err)
	}
	index, err := os.Create(filepath.Join(dir, indexFile))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { data.Close(); index.Close() })
	return &output{data: data, index: index}, func() *reader {
		data, err := os.Open(filepath.Join(dir, dataFile))
		if err != nil {
			t.Fatal(err)
		}
		index, err := os.Open(filepath.Join(dir, indexFile))
		if err != nil {
			t.Fatal(err)
		}
		r := newReader(data, index)
		t.Cleanup(func() { _ = r.close() })
		return r
	}
}

func TestLogKeepsStreamsApart(t *testing.T) {
	o, open := newOutput(t)
	random := rand.New(rand.NewPCG(1, 2))
	var all [3]bytes.Buffer // both, and each
	late := open()
	for range 3000 {
		s := stream(random.IntN(2))
		b := make([]byte, random.IntN(40))
		for i := range b {
			b[i] = byte(random.Uint32())
		}
		o.append(s, b)
		all[0].Write(b)
		all[1+s].Write(b)
	}
	for name, r := range map[string]*reader{"early": late, "late": open()} {
		var got [3]bytes.Buffer
		if err := r.all(o.extent(false), func(s stream, b []byte) error {
			got[0].Write(b)
			got[1+s].Write(b)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		for i := range got {
			if !bytes.Equal(got[i].Bytes(), all[i].Bytes()) {
				t.Errorf("%s reader, %d: %d bytes, want %d", name, i, got[i].Len(), all[i].Len())
			}
		}
	}
}

func TestLogOfOneStreamIsTheOutputAndOneRecord(t *testing.T) {
	o, open := newOutput(t)
	for range 100 {
		o.append(stderr, []byte("x\n"))
	}
	r := open()
	data, err1 := io.ReadAll(r.data)
	index, err2 := io.ReadAll(r.index)
	if err1 != nil || err2 != nil || string(data) != strings.Repeat("x\n", 100) || !bytes.Equal(index, record(0, stderr)) {
		t.Errorf("%q %x %v %v", data, index, err1, err2)
	}
}

func TestLogWithoutRoom(t *testing.T) {
	o, open := newOutput(t)
	o.append(stdout, []byte("on disk\n"))
	o.mu.Lock()
	o.data.Close() // every further write fails
	o.mu.Unlock()
	o.append(stderr, []byte("in memory\n"))
	o.append(stdout, bytes.Repeat([]byte("y"), spillLimit))
	o.append(stdout, []byte("lost"))
	var out, errs bytes.Buffer
	e := o.extent(false)
	if err := open().all(e, func(s stream, b []byte) error {
		if s == stdout {
			out.Write(b)
		} else {
			errs.Write(b)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	kept := spillLimit - len("in memory\n")
	if out.String() != "on disk\n"+strings.Repeat("y", kept) {
		t.Errorf("%d bytes of output", out.Len())
	}
	if want := "in memory\n\n[output lost: "; !strings.HasPrefix(errs.String(), want) || !strings.HasSuffix(errs.String(), "; 14 bytes were dropped]\n") {
		t.Errorf("%q", errs.String())
	}
}

func TestShortenedLogIsAnError(t *testing.T) {
	o, open := newOutput(t)
	o.append(stdout, []byte("1234567890"))
	r := open()
	if err := os.Truncate(r.data.Name(), 4); err != nil {
		t.Fatal(err)
	}
	n := 0
	err := r.all(o.extent(false), func(_ stream, b []byte) error { n += len(b); return nil })
	if !errors.Is(err, errCut) || n != 4 {
		t.Errorf("%d bytes, %v", n, err)
	}
	if e := r.clamp(o.extent(false)); e.size != 4 {
		t.Errorf("clamped to %d", e.size)
	}
}

func FuzzFramer(f *testing.F) {
	f.Add([]byte("a\xc3\xa4\xe2\x98\x83"), uint8(2), uint8(8))
	f.Add([]byte("\xf0\x9f\x98\x80\x01\x02"), uint8(1), uint8(9))
	f.Fuzz(func(t *testing.T, text []byte, step, limit uint8) {
		if limit < 8 || step == 0 {
			t.Skip()
		}
		for _, prefix := range []bool{false, true} {
			var frames [][]byte
			fr := framer{limit: int(limit), prefix: prefix, emit: func(b []byte) error {
				frames = append(frames, bytes.Clone(b))
				return nil
			}}
			var want []byte
			last := stream(9)
			for i := 0; i < len(text); i += int(step) {
				s := stream(i / 7 % 2)
				if prefix && s != last {
					want = append(want, prefixes[s]...)
				}
				last = s
				piece := text[i:min(len(text), i+int(step))]
				want = append(want, piece...)
				if err := fr.put(s, piece); err != nil {
					t.Fatal(err)
				}
			}
			if err := fr.flush(); err != nil {
				t.Fatal(err)
			}
			if got := join(frames); !bytes.Equal(got, want) {
				t.Fatalf("got %q, want %q", got, want)
			}
			for _, frame := range frames {
				if len(frame) > int(limit) || len(frame) == 0 {
					t.Fatalf("a frame of %d bytes, the limit is %d", len(frame), limit)
				}
			}
		}
	})
}

func TestFramesDoNotCutCharacters(t *testing.T) {
	text := strings.Repeat("aä☃😀", 500)
	for step := 1; step < 9; step++ {
		var got strings.Builder
		f := framer{limit: 64, prefix: true, emit: func(b []byte) error {
			if !utf8.Valid(b) {
				t.Fatalf("a cut frame %q", b)
			}
			got.Write(b)
			return nil
		}}
		for i := 0; i < len(text); i += step {
			if err := f.put(stdout, []byte(text[i:min(len(text), i+step)])); err != nil {
				t.Fatal(err)
			}
		}
		if got.String() != "\x01\x01\x01"+text {
			t.Errorf("step %d: %d bytes", step, got.Len())
		}
	}
}

func FuzzJSONString(f *testing.F) {
	f.Add([]byte("a\"\\\n\x00\x7f\u2028ä\xff\xf0\x9f"), uint8(3))
	f.Fuzz(func(t *testing.T, text []byte, step uint8) {
		if step == 0 {
			t.Skip()
		}
		var b bytes.Buffer
		j := jsonString{w: &b}
		for i := 0; i < len(text); i += int(step) {
			if err := j.write(text[i:min(len(text), i+int(step))]); err != nil {
				t.Fatal(err)
			}
		}
		if err := j.end(); err != nil {
			t.Fatal(err)
		}
		var got string
		if err := json.Unmarshal([]byte(`"`+b.String()+`"`), &got); err != nil {
			t.Fatalf("%v: %q", err, b.String())
		}
		want := string([]rune(string(text))) // each wrong byte becomes U+FFFD
		if got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	})
}

func TestDirNames(t *testing.T) {
	seen := map[string]string{}
	for _, id := range []string{"a", "A", ".", "..", "a/b", "a%2Fb", "%", "", "ä", "a b", strings.Repeat("x", 150), strings.Repeat("x", 151), strings.Repeat("ä", 100), "%h" + strings.Repeat("0", 64)} {
		name := dirName(id)
		if other, ok := seen[name]; ok {
			t.Errorf("%q and %q are both %s", id, other, name)
		}
		seen[name] = id
		if id != "" && (name == "." || name == ".." || strings.ContainsAny(name, "/\x00") || len(name) > 200 || name == "") {
			t.Errorf("%q becomes %q", id, name)
		}
	}
}

func TestIDsAreInOrder(t *testing.T) {
	var i ids
	last := ""
	for range 10000 {
		id := i.next()
		if !isID(id) || id <= last {
			t.Fatalf("%s after %s", id, last)
		}
		last = id
	}
	for _, bad := range []string{"", "..", strings.Repeat("a", 36), strings.ToUpper(last)} {
		if isID(bad) {
			t.Errorf("%q passes for an id", bad)
		}
	}
}

func TestParseEnd(t *testing.T) {
	for content, want := range map[string]launch.Ending{
		"0\nexit\n\n":            {ExitCode: 0, Cause: launch.CauseExit, Signal: ""},
		"137\nsignal\nSIGKILL\n": {ExitCode: 137, Cause: launch.CauseSignal, Signal: "SIGKILL"},
		"3":                      {ExitCode: 3, Cause: launch.CauseExit, Signal: ""},
		"3\nnonsense\nSIGKILL":   {ExitCode: 3, Cause: launch.CauseExit, Signal: ""},
		"137\nsignal\n<script>":  {ExitCode: 137, Cause: launch.CauseSignal, Signal: ""},
		"-1\nsandboxStopped\n":   {ExitCode: -1, Cause: launch.CauseStopped, Signal: ""},
	} {
		if got, ok := parseEnd([]byte(content)); !ok || got != want {
			t.Errorf("%q: %+v %v", content, got, ok)
		}
	}
	for _, content := range []string{"", "x", "99999999999999"} {
		if _, ok := parseEnd([]byte(content)); ok {
			t.Errorf("%q passes", content)
		}
	}
}
