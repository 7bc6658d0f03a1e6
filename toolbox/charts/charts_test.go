package charts

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"image/png"
	"os"
	"os/exec"
	"strings"
	"testing"
)

func TestUsed(t *testing.T) {
	for code, want := range map[string]bool{
		"import matplotlib.pyplot as plt":       true,
		"x = 1\nfrom  matplotlib import pyplot": true,
		"try:\n  import matplotlib":             true,
		`m = __import__( "matplotlib" )`:        true,
		`importlib.import_module('matplotlib')`: true,
		`loader.load_module("matplotlib")`:      true,
		`sys.modules['matplotlib']`:             true,
		"# import matplotlib":                   false,
		"x = 1 # import matplotlib\nprint(2)":   false,
		"# nothing\nimport matplotlib":          true,
		"print('matplotlib')":                   false,
		"import numpy":                          false,
	} {
		if got := Used(code); got != want {
			t.Errorf("Used(%q) = %v", code, got)
		}
	}
}

func TestExtract(t *testing.T) {
	chart := marker + `{"type":"chart","value":{"type":"bar","elements":[{"label":"a","value":10.0}]}}`
	for _, test := range []struct {
		in, rest string
		charts   int
	}{
		{"plain\noutput", "plain\noutput", 0},
		{"a\n" + chart + "\nb", "a\nb", 1},
		{"no end of line" + chart + "\nb\n", "no end of lineb\n", 1},
		{chart + "\n" + chart, "", 2},
		{"a\n" + marker + "damaged\nb\n", "a\nb\n", 0},
		{marker + `{"type":"other","value":{}}` + "\nb\n", "b\n", 0},
		{marker + `{"type":"chart"}` + "\n", "", 0},
		{"", "", 0},
	} {
		rest, found := Extract([]byte(test.in))
		if string(rest) != test.rest || len(found) != test.charts {
			t.Errorf("Extract(%q) = %q, %v", test.in, rest, found)
		}
	}
}

func TestNormalise(t *testing.T) {
	for in, want := range map[string]string{
		`{"type":"bar","title":null,"elements":[{"label":1,"group":"g","value":10.0},{"value":2.5},{"value":"7"}]}`:           `{"elements":[{"group":"g","label":"1","value":"10"},{"type":"unknown","value":"2.5"},{"type":"unknown","value":"7"}],"title":null,"type":"bar"}`,
		`{"type":"line","x_ticks":["2024-01-01","2024-01-01T00:00:01",3,"4.5","−1","x",null],"x_tick_labels":["a",1.0,null]}`: `{"type":"line","x_tick_labels":["a","1",""],"x_ticks":[1704067200,1704067201,3,4.5,-1]}`,
		`{"type":"scatter","elements":[{"label":"s","points":[[1,2],["3",4],[1],["x",1],7]}]}`:                                `{"elements":[{"label":"s","points":[[1,2],[3,4]]}],"type":"scatter"}`,
		`{"type":"pie","elements":[{"label":"p","angle":"90","radius":1,"autopct":null}]}`:                                    `{"elements":[{"angle":90,"autopct":null,"label":"p","radius":1}],"type":"pie"}`,
		`{"type":"box_and_whisker","elements":[{"label":"b","min":1,"max":null,"outliers":null}]}`:                            `{"elements":[{"label":"b","min":1,"outliers":[]}],"type":"box_and_whisker"}`,
		`{"type":"composite_chart","elements":[{"type":"bar","elements":[{"label":"a","value":1}]}]}`:                         `{"elements":[{"elements":[{"label":"a","value":"1"}],"type":"bar"}],"type":"composite_chart"}`,
		`{}`: `{"type":"unknown"}`,
	} {
		var chart map[string]any
		decoder := json.NewDecoder(strings.NewReader(in))
		decoder.UseNumber()
		if err := decoder.Decode(&chart); err != nil {
			t.Fatal(err)
		}
		got, err := json.Marshal(normalise(chart))
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != want {
			t.Errorf("%s\n got %s\nwant %s", in, got, want)
		}
	}
}

// python returns an interpreter that has matplotlib, or skips.
func python(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"python3", "/usr/bin/python3"} {
		if exec.CommandContext(t.Context(), name, "-c", "import matplotlib, PIL, numpy").Run() == nil {
			return name
		}
	}
	t.Skip("python3 with matplotlib, pillow and numpy is not installed")
	return ""
}

// runWrapped runs a program in the wrapper.
func runWrapped(t *testing.T, code string) (exit int, rest string, found []Chart) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), python(t), "-u", "-", "argument")
	cmd.Stdin = strings.NewReader(Wrap(code))
	cmd.Env = append(os.Environ(), "MPLCONFIGDIR="+t.TempDir())
	out, _ := cmd.CombinedOutput()
	printed, found := Extract(out)
	return cmd.ProcessState.ExitCode(), string(printed), found
}

func TestWrapperDescribesEveryKind(t *testing.T) {
	const before = "import matplotlib.pyplot as plt\nimport datetime\n"
	tests := []struct {
		name, code string
		want       string // the chart without its picture and its ticks
		also       map[string]string
	}{
		{"line", "plt.plot([1,2,3],[4,5,float('nan')],label='a'); plt.axhline(3); plt.title('T'); plt.xlabel('X'); plt.ylabel('Y')",
			`{"elements":[{"label":"a","points":[[1.0,4.0],[2.0,5.0]]}],"title":"T","type":"line","x_label":"X","x_scale":"linear","y_label":"Y","y_scale":"linear"}`, nil},
		{"logarithmic", "plt.plot([1,2,3],[1,10,100],label='a'); plt.yscale('log')",
			`{"elements":[{"label":"a","points":[[1.0,1.0],[2.0,10.0],[3.0,100.0]]}],"title":"","type":"line","x_label":"","x_scale":"linear","y_label":"","y_scale":"log"}`, nil},
		{"dates", "plt.plot([datetime.date(2024,1,1),datetime.date(2024,1,2),datetime.date(2024,1,3)],[1,2,3],label='a')",
			`{"elements":[{"label":"a","points":[[1704067200.0,1.0],[1704153600.0,2.0],[1704240000.0,3.0]]}],"title":"","type":"line","x_label":"","x_scale":"datetime","y_label":"","y_scale":"linear"}`, nil},
		{"scatter with colour bar", "plt.scatter([1,2],[3,4],c=[1,2],label='s'); plt.colorbar()",
			`{"elements":[{"label":"s","points":[[1.0,3.0],[2.0,4.0]]}],"title":"","type":"scatter","x_label":"","x_scale":"linear","y_label":"","y_scale":"linear"}`, nil},
		{"bars", "plt.bar(['a','b'],[10,2.5],label='g')",
			`{"elements":[{"group":"g","label":"a","value":"10"},{"group":"g","label":"b","value":"2.5"}],"title":"","type":"bar","x_label":"","x_scale":"categorical","y_label":"","y_scale":"linear"}`,
			map[string]string{"x_ticks": "[0.0,1.0]", "x_tick_labels": `["a","b"]`}},
		{"bars across", "plt.barh(['a','b'],[1,2],label='g'); plt.xlabel('length')",
			`{"elements":[{"group":"g","label":"a","value":"1"},{"group":"g","label":"b","value":"2"}],"title":"","type":"bar","x_label":"","x_scale":"linear","y_label":"length","y_scale":"categorical"}`, nil},
		{"pie", "plt.pie([1,3],labels=['p','q'],autopct='%1.0f%%')",
			`{"elements":[{"angle":90.0,"autopct":"25%","label":"p","radius":1.0},{"angle":270.0,"autopct":"75%","label":"q","radius":1.0}],"title":"","type":"pie"}`, nil},
		{"boxes", "plt.boxplot([[1,2,3,4,20]],patch_artist=True)",
			`{"elements":[{"first_quartile":2.0,"label":"1","max":4.0,"median":3.0,"min":1.0,"outliers":[20.0],"third_quartile":4.0}],"title":"","type":"box_and_whisker","x_label":"","x_scale":"linear","y_label":"","y_scale":"linear"}`, nil},
		{"nothing drawn", "plt.figure()", `{"elements":[],"title":"","type":"unknown"}`, nil},
		{"two charts", "f,(a,b,c)=plt.subplots(1,3); a.plot([1,2,3],[1,2,4],label='l'); b.pie([1]); f.suptitle('both')",
			`{"elements":[{"elements":[{"label":"l","points":[[1.0,1.0],[2.0,2.0],[3.0,4.0]]}],"title":"","type":"line","x_label":"","x_scale":"linear","y_label":"","y_scale":"linear"},{"elements":[{"angle":360.0,"autopct":null,"label":"","radius":1.0}],"title":"","type":"pie"}],"title":"both","type":"composite_chart"}`, nil},
	}
	// One program for all: to load matplotlib takes longer than to draw.
	program := before
	for _, test := range tests {
		program += test.code + "\nplt.show()\n"
	}
	exit, rest, found := runWrapped(t, program)
	if exit != 0 || rest != "" || len(found) != len(tests) {
		t.Fatalf("exit %d, %d charts, printed %q", exit, len(found), rest)
	}
	for i, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			chart := found[i]
			picture, err := base64.StdEncoding.DecodeString(fmt.Sprint(chart["png"]))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := png.Decode(bytes.NewReader(picture)); err != nil {
				t.Errorf("picture: %v", err)
			}
			for name, want := range test.also {
				if got, _ := json.Marshal(chart[name]); string(got) != want {
					t.Errorf("%s is %s, want %s", name, got, want)
				}
			}
			delete(chart, "png")
			withoutTicks(chart)
			if got, _ := json.Marshal(chart); string(got) != test.want {
				t.Errorf("\n got %s\nwant %s", got, test.want)
			}
		})
	}
}

// withoutTicks removes what differs from one release of matplotlib to another.
func withoutTicks(chart Chart) {
	for _, name := range []string{"x_ticks", "y_ticks", "x_tick_labels", "y_tick_labels"} {
		delete(chart, name)
	}
	elements, _ := chart["elements"].([]Chart)
	for _, element := range elements {
		withoutTicks(element)
	}
}

func TestWrapperKeepsTheProgramAsItIs(t *testing.T) {
	exit, rest, found := runWrapped(t, `import sys
print(__name__, __file__ if "__file__" in globals() else "no file", sys.argv)
import matplotlib.pyplot as plt
plt.plot([1, 2, 3]); plt.show()
plt.plot([1, 2, 3]); plt.show()  # the same once more
plt.plot([3, 2, 1]); plt.show()
print(plt.get_fignums())
def fail():
    raise ValueError("mine")
fail()
`)
	if exit != 1 || len(found) != 2 {
		t.Errorf("exit %d, %d charts", exit, len(found))
	}
	want := `__main__ no file ['-', 'argument']
[]
Traceback (most recent call last):
  File "<target_code>", line 10, in <module>
    fail()
  File "<target_code>", line 9, in fail
    raise ValueError("mine")
ValueError: mine
`
	// Later releases of Python underline what went wrong.
	var lines []string
	for line := range strings.Lines(rest) {
		if strings.Trim(line, " ^~\n") != "" {
			lines = append(lines, line)
		}
	}
	if got := strings.Join(lines, ""); got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
	if exit, _, _ := runWrapped(t, "import matplotlib, sys\nsys.exit(3)"); exit != 3 {
		t.Errorf("exit %d, want 3", exit)
	}
	if exit, rest, _ := runWrapped(t, "import matplotlib\n1 +"); exit != 1 || !strings.Contains(rest, `"<target_code>", line 2`) {
		t.Errorf("exit %d: %s", exit, rest)
	}
}
