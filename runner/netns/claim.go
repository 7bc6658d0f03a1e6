package netns

import (
	"errors"
	"fmt"
	"hash/fnv"
	"net/netip"
	"os"
	"path/filepath"

	"daytona/internal/fault"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// claimDir holds one lock for each prefix in use on this host. It is on a file
// system that a reboot empties.
const claimDir = "/run/daytona"

// claim takes the prefix on this host until the file is closed. Two pools of one
// prefix would take each other's devices for their own.
func claim(prefix string) (*os.File, error) {
	if err := os.MkdirAll(claimDir, 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(claimDir, "network-"+prefix+".lock"), os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fault.New(fault.Unavailable, "the network prefix %q is in use by another server on this host; give this one another (--network-prefix)", prefix)
		}
		return nil, fmt.Errorf("lock of network prefix %s: %w", prefix, err)
	}
	return f, nil
}

// outerFor returns the ranges of a prefix for which none was chosen. They differ
// between prefixes, so that several servers fit on one host.
func outerFor(prefix string) (netip.Prefix, netip.Prefix) {
	if prefix == DefaultPrefix {
		return netip.MustParsePrefix("10.211.0.0/16"), netip.MustParsePrefix("fd64:6179:7400::/64")
	}
	h := fnv.New32a()
	h.Write([]byte(prefix))
	n := h.Sum32()
	second := 212 + n%40 // 10.212 to 10.251
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(second), 0, 0}), 16),
		netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfd, 0x64, 0x61, 0x79, 0x74, 0x01, byte(n >> 8), byte(n)}), 64)
}

// checkRanges fails when somebody else on this host has routes inside the outer
// ranges: packets of one would go to the other.
func (p *Pool) checkRanges() error {
	routes, err := wholly(func() ([]netlink.Route, error) { return netlink.RouteList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return fmt.Errorf("list routes: %w", err)
	}
	for _, r := range routes {
		if r.Dst == nil {
			continue
		}
		dst, ok := netip.AddrFromSlice(r.Dst.IP)
		if !ok {
			continue
		}
		outer := p.plan.outer4
		if dst = dst.Unmap(); dst.Is6() {
			outer = p.plan.outer6
		}
		ones, _ := r.Dst.Mask.Size()
		if ones < outer.Bits() || !outer.Contains(dst) {
			continue
		}
		link, err := netlink.LinkByIndex(r.LinkIndex)
		if err != nil { // gone meanwhile
			continue
		}
		if name := link.Attrs().Name; !p.isSlot(name) && name != "lo" {
			return fault.New(fault.Invalid, "the range %s is in use on this host: %s is routed over %s; choose another (--network-range, --network-range6)", outer, r.Dst, name)
		}
	}
	return nil
}
