package sandbox

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"daytona/api/runnerapi"
	"daytona/internal/fault"
)

func TestNetworkChange(t *testing.T) {
	on, off := ptr(true), ptr(false)
	list, other, names := ptr("10.0.0.0/8"), ptr("1.2.3.4/32,5.6.0.0/16"), ptr("example.com,*.example.org")
	for _, c := range []struct {
		name   string
		from   Network
		change NetworkChange
		want   Network
	}{
		{"block", Network{AllowList: list}, NetworkChange{BlockAll: on}, Network{BlockAll: true}},
		{"block keeps the names for later", Network{Domains: names}, NetworkChange{BlockAll: on}, Network{BlockAll: true, Domains: names}},
		{"block wins over a list", Network{}, NetworkChange{BlockAll: on, AllowList: list}, Network{BlockAll: true}},
		{"unblock", Network{BlockAll: true}, NetworkChange{BlockAll: off}, Network{}},
		{"unblock clears the list", Network{AllowList: list}, NetworkChange{BlockAll: off}, Network{}},
		{"unblock with a list", Network{BlockAll: true}, NetworkChange{BlockAll: off, AllowList: other}, Network{AllowList: other}},
		{"a list ends the blocking", Network{BlockAll: true}, NetworkChange{AllowList: list}, Network{AllowList: list}},
		{"a list replaces another", Network{AllowList: list, Domains: names}, NetworkChange{AllowList: other}, Network{AllowList: other, Domains: names}},
		{"an empty list clears it", Network{AllowList: list}, NetworkChange{AllowList: ptr("")}, Network{}},
		{"a list of nothing clears it", Network{AllowList: list}, NetworkChange{AllowList: ptr(" , ,")}, Network{}},
		{"an empty list does not end the blocking", Network{BlockAll: true}, NetworkChange{AllowList: ptr("")}, Network{BlockAll: true}},
		{"names end the blocking", Network{BlockAll: true}, NetworkChange{Domains: names}, Network{Domains: names}},
		{"names leave the list", Network{AllowList: list}, NetworkChange{Domains: names}, Network{AllowList: list, Domains: names}},
		{"no names clear them", Network{AllowList: list, Domains: names}, NetworkChange{Domains: ptr("")}, Network{AllowList: list}},
		{"names are brought to one form", Network{}, NetworkChange{Domains: ptr(" EXAMPLE.com. ,*.Example.ORG")}, Network{Domains: names}},
	} {
		got, err := c.change.Apply(c.from)
		if err != nil || !cmp.Equal(got, c.want) {
			t.Errorf("%s: %v\n%s", c.name, err, cmp.Diff(c.want, got))
		}
	}
	for field, change := range map[string]NetworkChange{
		"At least one":     {},
		"networkAllowList": {AllowList: ptr("10.0.0.1")},
		"domainAllowList":  {Domains: ptr("10.0.0.1")},
		"at most 10":       {AllowList: ptr(strings.Repeat("10.0.0.0/8,", 11))},
	} {
		if _, err := change.Apply(Network{}); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), field) {
			t.Errorf("%+v: %v, want a fault that says %s", change, err, field)
		}
	}
}

func TestNetworkPolicy(t *testing.T) {
	n := Network{AllowList: ptr("10.1.2.3/8,1.2.3.4/32"), Domains: ptr("example.com")}
	want := runnerapi.NetworkPolicy{AllowList: []string{"10.0.0.0/8", "1.2.3.4/32"}, Domains: []string{"example.com"}}
	if d := cmp.Diff(want, n.policy()); d != "" {
		t.Error(d)
	}
}
