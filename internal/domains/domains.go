// Package domains has lists of domain names, in which names are looked up.
package domains

import (
	"fmt"
	"net/netip"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// maxName is the length of a domain name, without the dot at its end.
const maxName = 253

// profile turns what people type into what resolvers are asked for.
var profile = idna.New(idna.MapForLookup(), idna.StrictDomainName(true), idna.BidiRule())

// List is names ("example.com", which stands for itself alone) and wildcards
// ("*.example.com": every name below, however deep, but not that one). Its
// entries are as Parse returns them.
type List []string

// Parse brings one entry of a list to its canonical form: ASCII, lower case, no
// dot at the end. The error says what is wrong, for the person who wrote it.
func Parse(entry string) (string, error) {
	name, wild := strings.CutPrefix(strings.TrimSpace(entry), "*.")
	name = strings.TrimSuffix(name, ".")
	switch {
	case strings.Contains(name, "://") || strings.ContainsAny(name, "/:@"):
		return "", fmt.Errorf("%q is not a domain name: leave out scheme, port and path", shorten(entry))
	case strings.Contains(name, "*"):
		return "", fmt.Errorf("%q: a wildcard stands at the beginning, as in *.example.com", shorten(entry))
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return "", fmt.Errorf("%q is an address, not a domain name", shorten(entry))
	}
	ascii, err := profile.ToASCII(name)
	if again, _ := profile.ToASCII(ascii); again != ascii || !utf8.ValidString(name) {
		ascii = "" // what does not stay the same is no name
	}
	if err != nil || ascii == "" || len(ascii) > maxName || !validLabels(ascii) {
		return "", fmt.Errorf("%q is not a domain name such as example.com or *.example.com", shorten(entry))
	}
	if !strings.Contains(ascii, ".") {
		return "", fmt.Errorf("%q: a top-level domain cannot be allowed as a whole", shorten(entry))
	}
	if wild {
		ascii = "*." + ascii
	}
	return ascii, nil
}

// Allows says whether a name, in any case, with or without a dot at its end, is
// on the list.
func (l List) Allows(name string) bool {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	for _, entry := range l {
		if base, wild := strings.CutPrefix(entry, "*"); wild {
			if len(name) > len(base) && strings.HasSuffix(name, base) {
				return true
			}
		} else if name == entry {
			return true
		}
	}
	return false
}

// validLabels refuses what looks like a name and is none: numbers in the last
// place are how some programs write addresses.
func validLabels(name string) bool {
	labels := strings.Split(name, ".")
	for _, label := range labels {
		if label == "" || len(label) > 63 {
			return false
		}
	}
	return strings.Trim(labels[len(labels)-1], "0123456789") != ""
}

func shorten(s string) string {
	if len(s) > 80 {
		return strings.ToValidUTF8(s[:80], "") + "…"
	}
	return s
}
