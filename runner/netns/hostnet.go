package netns

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// hasIPv6 reports whether the host's kernel speaks IPv6.
func hasIPv6() bool {
	v, err := os.ReadFile("/proc/sys/net/ipv6/conf/all/disable_ipv6")
	return err == nil && strings.TrimSpace(string(v)) == "0"
}

// enableForwarding sets what the host needs to forward packets; see the
// package comment.
func enableForwarding(v6 bool, isSlot func(device string) bool, log *slog.Logger) error {
	if err := setSysctl("/proc/sys/net/ipv4/ip_forward", "1", log); err != nil {
		return err
	}
	if !v6 {
		return nil
	}
	listening, err := filepath.Glob("/proc/sys/net/ipv6/conf/*/accept_ra")
	if err != nil {
		return err
	}
	for _, path := range listening {
		switch device := filepath.Base(filepath.Dir(path)); {
		case device == "all", device == "default", device == "lo", isSlot(device):
			continue
		}
		v, err := os.ReadFile(path)
		if err != nil || strings.TrimSpace(string(v)) != "1" {
			continue
		}
		if err := setSysctl(path, "2", log); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return setSysctl("/proc/sys/net/ipv6/conf/all/forwarding", "1", log)
}

func setSysctl(path, value string, log *slog.Logger) error {
	old, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	was := strings.TrimSpace(string(old))
	if was == value {
		return nil
	}
	if err := os.WriteFile(path, []byte(value), 0o644); err != nil {
		return fmt.Errorf("set %s: %w", path, err)
	}
	log.Info("host setting changed", "setting", path, "was", was, "is", value)
	return nil
}

// setInnerSysctls sets what a new namespace offers its processes, on the
// thread that is inside. All of it is comfort: failures are no error.
func setInnerSysctls(v6 bool) {
	set := func(path, value string) { _ = os.WriteFile("/proc/sys/net/"+path, []byte(value), 0o644) }
	set("ipv4/ip_unprivileged_port_start", "0")
	set("ipv4/ping_group_range", "0 2147483647")
	if v6 {
		set("ipv6/conf/default/accept_ra", "0")
		set("ipv6/conf/default/accept_dad", "0")
	}
}

// uplinkMTU is the smallest MTU of the devices that default routes use.
func uplinkMTU() int {
	mtu := 0
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := wholly(func() ([]netlink.Route, error) { return netlink.RouteList(nil, family) })
		if err != nil {
			continue
		}
		for _, r := range routes {
			if r.Dst != nil {
				if ones, _ := r.Dst.Mask.Size(); ones != 0 {
					continue
				}
			}
			link, err := netlink.LinkByIndex(r.LinkIndex)
			if err == nil && (mtu == 0 || link.Attrs().MTU < mtu) {
				mtu = link.Attrs().MTU
			}
		}
	}
	if mtu < 1280 || mtu > 9000 {
		return 1500
	}
	return mtu
}

// hostAddrs knows which addresses are this host's own.
type hostAddrs struct {
	mu      sync.Mutex
	checked time.Time
	addrs   map[netip.Addr]bool
}

// has says whether an address is the host's. While that cannot be found out,
// every address may be.
func (h *hostAddrs) has(a netip.Addr) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.addrs == nil || time.Since(h.checked) > 2*time.Second {
		list, err := net.InterfaceAddrs()
		if err != nil {
			return true
		}
		h.addrs, h.checked = make(map[netip.Addr]bool), time.Now()
		for _, l := range list {
			if p, err := netip.ParsePrefix(l.String()); err == nil {
				h.addrs[p.Addr().Unmap()] = true
			}
		}
	}
	return h.addrs[a.Unmap()]
}

// addGatewayAddress makes a an address of the host without a device of its
// own. It is of narrow scope (IPv4) or deprecated (IPv6), so that the host does
// not pick it as source for anything but its slots.
func addGatewayAddress(a netip.Addr) error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	addr := &netlink.Addr{IPNet: ipNet(host(a)), Scope: unix.RT_SCOPE_HOST}
	if a.Is6() {
		addr = &netlink.Addr{
			IPNet: ipNet(host(a)), Flags: unix.IFA_F_NODAD | unix.IFA_F_NOPREFIXROUTE,
			ValidLft: math.MaxUint32, PreferedLft: 0,
		}
	}
	if err := netlink.AddrAdd(lo, addr); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("gateway address %s: %w", a, err)
	}
	return nil
}

func removeGatewayAddress(a netip.Addr) error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	err = netlink.AddrDel(lo, &netlink.Addr{IPNet: ipNet(host(a))})
	if err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
		return fmt.Errorf("gateway address %s: %w", a, err)
	}
	return nil
}

// forgetConnections removes tracked connections that one of the addresses
// opened, or that were opened to it.
func forgetConnections(addrs ...netip.Addr) error {
	gone := make(endpoints)
	for _, a := range addrs {
		if a.IsValid() {
			gone[a] = true
		}
	}
	return forget(gone)
}

// forget removes the tracked connections that fit.
func forget(which netlink.CustomConntrackFilter) error {
	var errs []error
	for _, family := range []netlink.InetFamily{unix.AF_INET, unix.AF_INET6} {
		_, err := wholly(func() (uint, error) {
			return netlink.ConntrackDeleteFilters(netlink.ConntrackTable, family, which)
		})
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// opened fits the connections that one of the addresses opened to where allowed
// says no.
type opened struct {
	by      endpoints
	allowed func(to netip.Addr) bool
}

// MatchConntrackFlow implements netlink.CustomConntrackFilter.
func (o opened) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	src, _ := netip.AddrFromSlice(flow.Forward.SrcIP)
	dst, _ := netip.AddrFromSlice(flow.Forward.DstIP)
	return o.by[src.Unmap()] && !o.allowed(dst.Unmap())
}

// endpoints are addresses. They fit the flows from or to one of them.
type endpoints map[netip.Addr]bool

// MatchConntrackFlow implements netlink.CustomConntrackFilter.
func (e endpoints) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	src, _ := netip.AddrFromSlice(flow.Forward.SrcIP)
	dst, _ := netip.AddrFromSlice(flow.Forward.DstIP)
	return e[src.Unmap()] || e[dst.Unmap()]
}
