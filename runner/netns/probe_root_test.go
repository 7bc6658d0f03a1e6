//go:build root

package netns

import (
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
)

// TestProbe: where these tests can run, a pool can work; and it leaves the host's
// network as it was.
func TestProbe(t *testing.T) {
	state := func() (out []string) {
		links, err := netlink.LinkList()
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range links {
			out = append(out, l.Attrs().Name)
		}
		conn, err := openNftables()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.CloseLasting()
		tables, err := conn.ListTables()
		if err != nil {
			t.Fatal(err)
		}
		for _, table := range tables {
			out = append(out, "table "+table.Name)
		}
		return out
	}
	if err := Probe(); err != nil {
		t.Fatal(err)
	}
	for _, left := range state() {
		if slices.Contains([]string{"probe0", "table probe"}, left) {
			t.Errorf("%s is left", left)
		}
	}
}
