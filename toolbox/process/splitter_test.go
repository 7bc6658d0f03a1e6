package process

import (
	"slices"
	"strings"
	"testing"
)

func TestSplitLegacy(t *testing.T) {
	for in, want := range map[string][]string{
		`ls -la`:                {"ls", "-la"},
		`  a   b  `:             {"a", "b"},
		`sh -c "echo 'x' | sh"`: {"sh", "-c", "echo 'x' | sh"},
		` sh -c 'a "b c" d' `:   {"sh", "-c", `a "b c" d`},
		`a\ b`:                  {`a\`, "b"},
		`"a\"b"`:                {`a\b`},
		`a"b c"d`:               {"ab cd"},
		`'' ""`:                 {"", ""},
		`'open at the end`:      {"open at the end"},
		"tab\tand\nline":        {"tab\tand\nline"},
		``:                      nil,
		`   `:                   nil,
		`sh -c "export K=$(echo 'dg==' | base64 -d); echo 'bHM=' | base64 -d | sh"`: {"sh", "-c", "export K=$(echo 'dg==' | base64 -d); echo 'bHM=' | base64 -d | sh"},
	} {
		if got := splitLegacy(in); !slices.Equal(got, want) {
			t.Errorf("splitLegacy(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzSplitLegacy(f *testing.F) {
	for _, seed := range []string{`sh -c "a 'b'"`, `'`, `a b`, `"'"`, ``, "\x00 é"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, command string) {
		args := splitLegacy(command)
		// Nothing is invented or lost but quotes and spaces between words.
		strip := strings.NewReplacer(" ", "", "'", "", `"`, "")
		if got, want := strip.Replace(strings.Join(args, "")), strip.Replace(command); got != want {
			t.Errorf("splitLegacy(%q) = %q", command, args)
		}
		// Words in the one kind of quote that they do not contain come back.
		var quoted []string
		for _, arg := range args {
			switch {
			case !strings.Contains(arg, "'"):
				quoted = append(quoted, "'"+arg+"'")
			case !strings.Contains(arg, `"`):
				quoted = append(quoted, `"`+arg+`"`)
			default:
				return
			}
		}
		if again := splitLegacy(strings.Join(quoted, " ")); !slices.Equal(args, again) {
			t.Errorf("%q came back as %q", args, again)
		}
	})
}

func TestIsWrapped(t *testing.T) {
	for in, want := range map[string]bool{
		`sh -c "ls"`: true, ` sh -c 'x' `: true, `sh -c`: false, `sh -cx`: false, `bash -c "ls"`: false, `ls sh -c `: false,
	} {
		if got := isWrapped(in); got != want {
			t.Errorf("isWrapped(%q) = %v", in, got)
		}
	}
}
