package lazyregexp

import (
	"slices"
	"sync"
	"testing"
)

func TestRegexp(t *testing.T) {
	r := New(`^([a-z]{1,3})-\d+$`)
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			if !r.MatchString("abc-1") || r.MatchString("abcd-1") {
				t.Error("matches another language")
			}
		})
	}
	group.Wait()
	if got := r.FindStringSubmatch("ab-12"); !slices.Equal(got, []string{"ab-12", "ab"}) {
		t.Error(got)
	}
	bad := New(`(`) // nobody uses it, so nobody is hurt
	defer func() {
		if recover() == nil {
			t.Error("an expression that is none matched")
		}
	}()
	bad.MatchString("")
}
