package domains

import (
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for in, want := range map[string]string{
		"example.com":                            "example.com",
		" Example.COM. ":                         "example.com",
		"*.example.com":                          "*.example.com",
		"*.Bücher.example":                       "*.xn--bcher-kva.example",
		"xn--bcher-kva.example":                  "xn--bcher-kva.example",
		"a-b.c1.example.org":                     "a-b.c1.example.org",
		"":                                       "",
		"*":                                      "",
		"*.":                                     "",
		"*.com":                                  "",
		"com":                                    "",
		"localhost":                              "",
		"exam_ple.com":                           "",
		"a..example.com":                         "",
		"-a.example.com":                         "",
		"a.*.example.com":                        "",
		"*example.com":                           "",
		"**.example.com":                         "",
		"https://example.com":                    "",
		"example.com:443":                        "",
		"example.com/path":                       "",
		"user@example.com":                       "",
		"1.2.3.4":                                "",
		"1.2.3":                                  "",
		"0x7f.1":                                 "",
		"::1":                                    "",
		"exam ple.com":                           "",
		"example.com\x00.evil.test":              "",
		"example.com\n":                          "example.com",
		strings.Repeat("a", 64) + ".example.com": "",
		strings.Repeat("abcdefgh.", 40) + "example": "",
	} {
		got, err := Parse(in)
		if (err == nil) != (want != "") || err == nil && got != want {
			t.Errorf("%q: %q, %v; want %q", in, got, err, want)
		}
		if err == nil {
			if again, err := Parse(got); err != nil || again != got {
				t.Errorf("%q is not its own canonical form: %q, %v", got, again, err)
			}
		}
	}
}

func TestAllows(t *testing.T) {
	l := List{"example.com", "*.cdn.example.net"}
	for name, want := range map[string]bool{
		"example.com": true, "EXAMPLE.com.": true, "www.example.com": false, "notexample.com": false, "example.com.evil.test": false,
		"cdn.example.net": false, "a.cdn.example.net": true, "a.b.cdn.example.net.": true, "xcdn.example.net": false,
		".cdn.example.net": false, "": false, ".": false,
	} {
		if got := l.Allows(name); got != want {
			t.Errorf("%q: %v", name, got)
		}
	}
	if (List{}).Allows("example.com") {
		t.Error("an empty list allows a name")
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"example.com", "*.bücher.example", "xn--", "a.b.c.", "1.2.3.4", "*.*.a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := Parse(s)
		if err != nil {
			return
		}
		if again, err := Parse(got); err != nil || again != got {
			t.Errorf("%q gives %q, which gives %q, %v", s, got, again, err)
		}
		name, wild := strings.CutPrefix(got, "*.")
		if (List{got}).Allows(name) == wild {
			t.Errorf("%q: the name itself is wrong", got)
		}
		if (List{got}).Allows("x."+name) != wild {
			t.Errorf("%q: a name below is wrong", got)
		}
		if (List{got}).Allows("x" + name) {
			t.Errorf("%q allows another name that ends alike", got)
		}
	})
}
