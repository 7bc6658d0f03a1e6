package fleet

import (
	"slices"
	"strings"

	"daytona/internal/fault"
)

// weakFirst ranks the isolations. A word that is not here ranks above all of
// them: what nobody knows must not be traded for less.
var weakFirst = []string{"fake", "runc", "gvisor"}

func strength(isolation string) int {
	if isolation == "" {
		return -1
	}
	if i := slices.Index(weakFirst, isolation); i >= 0 {
		return i
	}
	return len(weakFirst)
}

// Stronger returns the stronger of two isolations; "" is none.
func Stronger(a, b string) string {
	if strength(b) > strength(a) {
		return b
	}
	return a
}

// Isolate says which isolation a sandbox gets on a runner that offers some, its
// default first: what the request asks for, or else the stronger of the default
// and what the image asks for; both may be "". The answer "" is the default. It
// is Invalid when the runner does not offer it, or when the request asks for a
// weaker one than the image.
func Isolate(offered []string, request, image string) (string, error) {
	if request != "" && strength(request) < strength(image) {
		return "", fault.New(fault.Invalid,
			"isolation: the image asks for %s, and %s is weaker. Leave isolation out, or ask for %s", image, request, image)
	}
	want := request
	if want == "" && (len(offered) == 0 || strength(image) > strength(offered[0])) {
		want = image
	}
	if want == "" || slices.Contains(offered, want) {
		return want, nil
	}
	return "", fault.New(fault.Invalid, "isolation: %q is not offered; choose one of %s, or leave it out", want, strings.Join(offered, ", "))
}
