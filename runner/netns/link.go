package netns

import (
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// makeSlot makes the namespace and the veth pair of a slot, with addresses,
// routes and neighbours on both sides. Firewall and mark are the caller's.
func (p plan) makeSlot(index, mtu int) error {
	name := p.name(index)
	err := makeNamespace(name, func(home netns.NsHandle) error {
		setInnerSysctls(p.v6)
		inner, err := netlink.NewHandle(unix.NETLINK_ROUTE) // this thread is inside
		if err != nil {
			return err
		}
		defer inner.Close()
		// Made from inside, the host's end is born in its place, and the
		// whole pair takes one message.
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU, attrs.HardwareAddr = InnerDevice, mtu, innerMAC
		err = inner.LinkAdd(&netlink.Veth{
			LinkAttrs: attrs, PeerName: name, PeerMTU: uint32(mtu),
			PeerHardwareAddr: gatewayMAC, PeerNamespace: netlink.NsFd(home),
		})
		if err != nil {
			return fmt.Errorf("add device: %w", err)
		}
		return p.configureInner(inner)
	})
	if err != nil {
		return fmt.Errorf("slot %s: inside: %w", name, err)
	}
	if err := p.configureOuter(index); err != nil {
		return fmt.Errorf("slot %s: outside: %w", name, err)
	}
	return nil
}

// configureInner gives the inner device its addresses, routes and neighbours.
// It may be repeated, and repairs what an engine took away.
func (p plan) configureInner(h *netlink.Handle) error {
	lo, err := h.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := h.LinkSetUp(lo); err != nil {
		return err
	}
	dev, err := h.LinkByName(InnerDevice)
	if err != nil {
		return err
	}
	if p.v6 {
		if err := h.LinkSetIP6AddrGenMode(dev, addrGenNone); err != nil {
			return fmt.Errorf("address generation: %w", err)
		}
	}
	if err := h.LinkSetUp(dev); err != nil {
		return err
	}
	for _, a := range p.families(InnerAddr4, InnerAddr6) {
		if err := h.AddrReplace(dev, &netlink.Addr{IPNet: ipNet(a), Flags: addrFlags(a.Addr())}); err != nil {
			return fmt.Errorf("address %s: %w", a, err)
		}
	}
	for _, g := range p.families(host(Gateway4), host(Gateway6)) {
		if err := h.NeighSet(neighbour(dev, g.Addr(), gatewayMAC)); err != nil {
			return fmt.Errorf("neighbour %s: %w", g, err)
		}
		everywhere := netip.PrefixFrom(unspecified(g.Addr()), 0)
		if err := h.RouteReplace(&netlink.Route{LinkIndex: dev.Attrs().Index, Dst: ipNet(everywhere), Gw: g.Addr().AsSlice()}); err != nil {
			return fmt.Errorf("default route: %w", err)
		}
	}
	return nil
}

func (p plan) configureOuter(index int) error {
	dev, err := netlink.LinkByName(p.name(index))
	if err != nil {
		return err
	}
	if p.v6 {
		// No link-local address: nobody on this link is to talk to it.
		if err := netlink.LinkSetIP6AddrGenMode(dev, addrGenNone); err != nil {
			return fmt.Errorf("address generation: %w", err)
		}
	}
	if err := netlink.LinkSetUp(dev); err != nil {
		return err
	}
	outers := p.families(host(p.outer4Of(index)), host(p.outer6Of(index)))
	gateways := p.families(host(p.gateway4()), host(p.gateway6()))
	for i, a := range outers {
		if err := netlink.NeighSet(neighbour(dev, a.Addr(), innerMAC)); err != nil {
			return fmt.Errorf("neighbour %s: %w", a, err)
		}
		r := &netlink.Route{
			LinkIndex: dev.Attrs().Index, Dst: ipNet(a), Src: gateways[i].Addr().AsSlice(),
			Scope: netlink.SCOPE_LINK,
		}
		if a.Addr().Is6() {
			r.Scope = netlink.SCOPE_UNIVERSE // IPv6 knows no other
		}
		if err := netlink.RouteReplace(r); err != nil {
			return fmt.Errorf("route to %s: %w", a, err)
		}
	}
	return nil
}

// resetInner puts back the addresses of a slot whose engine took them.
func (p plan) resetInner(index int) error {
	ns, err := netns.GetFromPath(namespacePath(p.name(index)))
	if err != nil {
		return err
	}
	defer func() { _ = ns.Close() }() // it was only looked at
	h, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer h.Close()
	return p.configureInner(h)
}

// cutOff takes a slot's device down: nothing passes it from then on.
func (p plan) cutOff(index int) error {
	link, err := netlink.LinkByName(p.name(index))
	if err == nil {
		err = netlink.LinkSetDown(link)
	}
	if err != nil && !isLinkNotFound(err) && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("take device %s down: %w", p.name(index), err)
	}
	return nil
}

// removeDevices removes the devices of slots in one go: they are put into a group
// of their own, and the group is removed. A device takes the kernel tens of
// milliseconds, during which nobody else can change the network; a group takes
// no longer.
func (p plan) removeDevices(indexes []int) error {
	h := fnv.New32a()
	h.Write([]byte(p.prefix))
	group := h.Sum32() | 1<<31 // a number that nobody chooses by hand
	found := 0
	for _, i := range indexes {
		link, err := netlink.LinkByName(p.name(i))
		if isLinkNotFound(err) {
			continue
		}
		if err != nil {
			return err
		}
		if link.Type() != "veth" {
			continue
		}
		if err := netlink.LinkSetGroup(link, int(group)); err != nil {
			return fmt.Errorf("group device %s: %w", p.name(i), err)
		}
		found++
	}
	if found == 0 {
		return nil
	}
	req := nl.NewNetlinkRequest(unix.RTM_DELLINK, unix.NLM_F_ACK)
	req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	req.AddData(nl.NewRtAttr(unix.IFLA_GROUP, nl.Uint32Attr(group)))
	if _, err := req.Execute(unix.NETLINK_ROUTE, 0); err != nil {
		return fmt.Errorf("remove devices: %w", err)
	}
	return nil
}

// removeSlot removes device and namespace, made completely or in part.
func (p plan) removeSlot(index int) error {
	name := p.name(index)
	link, err := netlink.LinkByName(name)
	if err == nil {
		// A device of that name that is not a veth is not ours.
		if link.Type() == "veth" {
			if err := netlink.LinkDel(link); err != nil && !errors.Is(err, unix.ENODEV) {
				return fmt.Errorf("remove device %s: %w", name, err)
			}
		}
	} else if !isLinkNotFound(err) {
		return fmt.Errorf("find device %s: %w", name, err)
	}
	return removeNamespace(name)
}

// devices maps the indexes of existing slot devices to the mark they carry.
func (p plan) devices() (map[int]string, error) {
	links, err := wholly(netlink.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list devices: %w", err)
	}
	out := make(map[int]string)
	for _, l := range links {
		if i, ok := p.index(l.Attrs().Name); ok && l.Type() == "veth" {
			out[i] = l.Attrs().Alias
		}
	}
	return out, nil
}

// wholly repeats a listing until nothing changed while it was made.
func wholly[T any](list func() (T, error)) (T, error) {
	for range 100 {
		if out, err := list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			return out, err
		}
	}
	return list()
}

// markSlot writes the mark that says a slot is complete.
func (p plan) markSlot(index int, mark string) error {
	dev, err := netlink.LinkByName(p.name(index))
	if err != nil {
		return err
	}
	return netlink.LinkSetAlias(dev, mark)
}

// families returns a for IPv4 and b for IPv6, where the host speaks it.
func (p plan) families(a, b netip.Prefix) []netip.Prefix {
	if p.v6 {
		return []netip.Prefix{a, b}
	}
	return []netip.Prefix{a}
}

const addrGenNone = 1 // IN6_ADDR_GEN_MODE_NONE

func addrFlags(a netip.Addr) int {
	if a.Is6() {
		return unix.IFA_F_NODAD // nobody answers; don't wait for that
	}
	return 0
}

func neighbour(dev netlink.Link, a netip.Addr, mac net.HardwareAddr) *netlink.Neigh {
	n := &netlink.Neigh{
		LinkIndex: dev.Attrs().Index, Family: netlink.FAMILY_V4, State: netlink.NUD_PERMANENT,
		IP: a.AsSlice(), HardwareAddr: mac,
	}
	if a.Is6() {
		n.Family = netlink.FAMILY_V6
	}
	return n
}

func unspecified(a netip.Addr) netip.Addr {
	if a.Is6() {
		return netip.IPv6Unspecified()
	}
	return netip.IPv4Unspecified()
}

func isLinkNotFound(err error) bool {
	_, ok := errors.AsType[netlink.LinkNotFoundError](err)
	return ok
}
