package fleet

import (
	"strings"
	"testing"

	"daytona/internal/fault"
)

func TestIsolate(t *testing.T) {
	both, runcFirst, only := []string{"gvisor", "runc"}, []string{"runc", "gvisor"}, []string{"gvisor"}
	for _, c := range []struct {
		name           string
		offered        []string
		request, image string
		want, refused  string // refused is part of the error
	}{
		{"nobody asks", both, "", "", "", ""},
		{"a request that is offered", both, "runc", "", "runc", ""},
		{"a request weaker than the operator allows", only, "runc", "", "", "not offered; choose one of gvisor"},
		{"an image weaker than the default", both, "", "runc", "", ""},
		{"an image weaker than the operator allows", only, "", "runc", "", ""},
		{"an image as strong as the default", both, "", "gvisor", "", ""},
		{"an image stronger than the default", runcFirst, "", "gvisor", "gvisor", ""},
		{"an image stronger than what is offered", []string{"runc"}, "", "gvisor", "", "not offered"},
		{"a request stronger than the image", runcFirst, "gvisor", "runc", "gvisor", ""},
		{"a request as strong as the image", runcFirst, "gvisor", "gvisor", "gvisor", ""},
		{"a request weaker than the image", both, "runc", "gvisor", "", "the image asks for gvisor, and runc is weaker"},
		{"an image that asks for what nobody knows", both, "", "moon", "", `"moon" is not offered`},
		{"a request against what nobody knows", both, "gvisor", "moon", "", "gvisor is weaker"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Isolate(c.offered, c.request, c.image)
			if got != c.want || (err != nil) != (c.refused != "") {
				t.Fatalf("got %q, %v", got, err)
			}
			if err != nil && (!fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), c.refused)) {
				t.Errorf("error %v, want %q", err, c.refused)
			}
		})
	}
}
