package options

import (
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

type settings struct {
	Name  string
	Where string
	Size  int
	On    bool
	Wait  time.Duration
	Tags  []string
	Warm  map[string]int
}

func declare() (*settings, *Set) {
	s := &settings{Name: "default", Size: 1, Wait: time.Second}
	set := New("TEST_")
	set.Add(
		Option{Name: "name", Help: "a name", Value: String(&s.Name)},
		Option{Name: "max-size", Help: "a size", Value: Int(&s.Size), Check: AtLeast(&s.Size, 0)},
		Option{Name: "on", Help: "a switch", Value: Bool(&s.On)},
		Option{Name: "wait", Help: "a time", Value: Duration(&s.Wait), Check: Positive(&s.Wait)},
		Option{Name: "tags", Help: "words", Value: Strings(&s.Tags)},
		Option{Name: "where", Help: "the file", Value: String(&s.Where), NotInFile: true},
		Option{Name: "warm", Help: "counts", Value: Map(&s.Warm, Count)},
	)
	return s, set
}

func load(t *testing.T, set *Set, args []string, env map[string]string, file string) error {
	t.Helper()
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	set.Flags(flags)
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	from := Sources{Flags: flags, FileName: "config.yaml", Env: func(name string) (string, bool) {
		v, ok := env[name]
		return v, ok
	}}
	if file != "" {
		from.File = []byte(file)
	}
	return set.Load(from)
}

func TestPrecedence(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		env  map[string]string
		file string
		want string
	}{
		{name: "default", want: "default"},
		{name: "file", file: "name: file", want: "file"},
		{name: "env over file", env: map[string]string{"TEST_NAME": "env"}, file: "name: file", want: "env"},
		{name: "flag over env and file", args: []string{"--name", "flag"}, env: map[string]string{"TEST_NAME": "env"}, file: "name: file", want: "flag"},
		{name: "empty flag counts", args: []string{"--name="}, file: "name: file", want: ""},
		{name: "empty env does not count", env: map[string]string{"TEST_NAME": ""}, file: "name: file", want: "file"},
		{name: "last flag", args: []string{"--name=a", "--name=b"}, want: "b"},
		{name: "comments alone", file: "# nothing\n", want: "default"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, set := declare()
			if err := load(t, set, tt.args, tt.env, tt.file); err != nil {
				t.Fatal(err)
			}
			if s.Name != tt.want {
				t.Errorf("got %q, want %q", s.Name, tt.want)
			}
		})
	}
}

func TestKinds(t *testing.T) {
	for name, try := range map[string]func(*Set) error{
		"flags": func(set *Set) error {
			return load(t, set, []string{"--max-size=3", "--on", "--wait=2m", "--tags=a,b", "--tags=c", "--warm=x=2,y:1=3"}, nil, "")
		},
		"env": func(set *Set) error {
			return load(t, set, nil, map[string]string{"TEST_MAX_SIZE": "3", "TEST_ON": "true", "TEST_WAIT": "2m", "TEST_TAGS": "a, b,c", "TEST_WARM": "x=2,y:1=3"}, "")
		},
		"file": func(set *Set) error {
			return load(t, set, nil, nil, "max-size: 3\non: true\nwait: 2m\ntags: [a, b, c]\nwarm: {x: 2, 'y:1': 3}\n")
		},
	} {
		s, set := declare()
		if err := try(set); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if s.Size != 3 || !s.On || s.Wait != 2*time.Minute || strings.Join(s.Tags, " ") != "a b c" ||
			len(s.Warm) != 2 || s.Warm["x"] != 2 || s.Warm["y:1"] != 3 {
			t.Errorf("%s: %+v", name, *s)
		}
	}
}

func TestEveryProblemIsNamed(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		env  map[string]string
		file string
		want []string
	}{
		{"kinds", []string{"--max-size=x"}, map[string]string{"TEST_WAIT": "soon"}, "on: perhaps\n",
			[]string{`--max-size: "x" is not a whole number`, `TEST_WAIT: "soon" is not a duration`, `config.yaml:1: on: "perhaps"`}},
		{"unknown keys", nil, nil, "nmae: x\nmaxSize: 3\n",
			[]string{"config.yaml:1: nmae: no such option", "did you mean max-size?"}},
		{"not here", nil, nil, "where: here\n", []string{"config.yaml:1: where: cannot be set in the file"}},
		{"twice", nil, nil, "name: x\nname: y\n", []string{"given twice"}},
		{"list for one", nil, nil, "name: [x, y]\n", []string{"config.yaml:1: name: takes one value"}},
		{"empty list for one", nil, nil, "name: []\n", []string{"config.yaml:1: name: takes one value"}},
		{"deep", nil, nil, "tags: [{a: b}]\n", []string{"list of plain values"}},
		{"not a map", nil, nil, "- a\n", []string{"must be a YAML map"}},
		{"not YAML", nil, nil, "a: [\n", []string{"config.yaml: yaml:"}},
		{"two documents", nil, nil, "name: a\n---\nname: b\n", []string{"one YAML document"}},
		{"checks", []string{"--wait=0s"}, nil, "max-size: -1\n", []string{"config.yaml:1: max-size: -1 is less than 0", "--wait: 0s is not a positive"}},
		{"pairs", []string{"--warm=x"}, nil, "", []string{`--warm: "x" is not of the form name=value`}},
		{"counts", []string{"--warm=x=-1"}, nil, "", []string{`--warm: x: "-1" is not a count`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, set := declare()
			err := load(t, set, tt.args, tt.env, tt.file)
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q is missing in:\n%v", want, err)
				}
			}
		})
	}
}
