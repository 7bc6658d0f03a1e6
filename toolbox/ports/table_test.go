package ports

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// hexAddr writes an address as the kernel does.
func hexAddr(addr netip.AddrPort) string {
	raw := addr.Addr().AsSlice()
	out := ""
	for word := raw; len(word) > 0; word = word[4:] {
		out += fmt.Sprintf("%08X", binary.NativeEndian.Uint32(word))
	}
	return fmt.Sprintf("%s:%04X", out, addr.Port())
}

func TestParseTable(t *testing.T) {
	text := "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
	want := []netip.AddrPort{
		netip.MustParseAddrPort("127.0.0.1:8080"), netip.MustParseAddrPort("0.0.0.0:3000"),
		netip.MustParseAddrPort("[::1]:8080"), netip.MustParseAddrPort("[::]:65535"), netip.MustParseAddrPort("[fe80::1]:1"),
	}
	for i, addr := range want {
		text += fmt.Sprintf("%4d: %s 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 5 1\n", i, hexAddr(addr))
	}
	text += "   5: 0100007F:1F90 0100007F:9999 01 0:0 0:0 0 1000 0 5 1\n" + // a connection
		"   6: XX:1F90 0:0 0A\n   7: 0100007F 0:0 0A\n   8: 0100007F:0000 0:0 0A\n   9: 0100007F:1FFFF 0:0 0A\n  10: 01007F:1F90 0:0 0A\n\n0A\n"
	got, err := parseTable(strings.NewReader(text))
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
	if ports := numbers(got, 3000); !slices.Equal(ports, []int{1, 8080, 65535}) {
		t.Errorf("ports %v", ports)
	}
}

func TestListenersNeedATable(t *testing.T) {
	if all, err := listeners(t.TempDir()); err == nil {
		t.Errorf("no table, no error: %v", all)
	}
}

func FuzzParseTable(f *testing.F) {
	f.Add("   0: 0100007F:1F90 00000000:0000 0A 0\n")
	f.Add("   0: 00000000000000000000000001000000:1F90 x 0A\n")
	f.Add(": : : 0A\n\x00")
	f.Fuzz(func(t *testing.T, text string) {
		all, err := parseTable(strings.NewReader(text))
		for _, addr := range all {
			if !addr.IsValid() || addr.Port() == 0 {
				t.Errorf("%v, %v", addr, err)
			}
		}
	})
}

func TestRelative(t *testing.T) {
	for _, test := range []struct{ reference, path, want string }{
		{"/login", "/", "./login"},
		{"/login", "", "3000/login"},
		{"/", "/", "./"},
		{"/", "/a/b", "../"},
		{"/login?next=/a#top", "/a/b", "../login?next=/a#top"},
		{"/a%2Fb", "/x/y/z", "../../a%2Fb"},
		{"/odd:name", "/x", "./odd:name"},
		{"http://localhost:3000/in", "/", "./in"},
		{"http://127.0.0.1:3000", "/a/", "../"},
		{"//localhost:3000/in", "/", "./in"},
		{"next", "/", "next"},
		{"?page=2", "/", "?page=2"},
		{"../up", "/a/b", "../up"},
		{"https://example.com/x", "/", "https://example.com/x"},
		{"http://localhost:4000/x", "/", "http://localhost:4000/x"},
		{"mailto:a@b", "/", "mailto:a@b"},
		{"://", "/", "://"},
	} {
		if got := relative(test.reference, 3000, test.path); got != test.want {
			t.Errorf("relative(%q, %q) = %q, want %q", test.reference, test.path, got, test.want)
		}
	}
}

func TestTarget(t *testing.T) {
	for path, want := range map[string]struct {
		port int
		rest string
		ok   bool
	}{
		"/proxy/3000":           {3000, "", true},
		"/proxy/3000/":          {3000, "/", true},
		"/proxy/1//a/../b%2Fc":  {1, "//a/../b%2Fc", true},
		"/proxy/65535/x":        {65535, "/x", true},
		"/proxy/65536/x":        {},
		"/proxy/0/x":            {},
		"/proxy/-1/x":           {},
		"/proxy/":               {},
		"/proxy/abc/x":          {},
		"/proxy/3000%2F..%2F/x": {},
	} {
		port, rest, err := target(path)
		if port != want.port || rest != want.rest || (err == nil) != want.ok {
			t.Errorf("target(%q) = %d, %q, %v", path, port, rest, err)
		}
	}
}
