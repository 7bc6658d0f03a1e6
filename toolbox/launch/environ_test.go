package launch

import "testing"

func TestValidName(t *testing.T) {
	for in, want := range map[string]bool{
		"A": true, "_x9": true, "": false, "9A": false, "A-B": false, "A=B": false, "A B": false, "É": false,
	} {
		if got := validName(in); got != want {
			t.Errorf("validName(%q) = %v", in, got)
		}
	}
}
