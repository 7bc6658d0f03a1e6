package netns

import (
	"encoding/binary"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// The addresses inside every sandbox, the same in each.
var (
	InnerAddr4 = netip.MustParsePrefix("10.200.0.2/30")
	InnerAddr6 = netip.MustParsePrefix("fd64:6179:61::2/126")
	Gateway4   = netip.MustParseAddr("10.200.0.1")
	Gateway6   = netip.MustParseAddr("fd64:6179:61::1")
)

// InnerDevice is the network device's name inside a sandbox.
const InnerDevice = "eth0"

// The two ends' MAC addresses, the same in every slot (locally administered).
// A checkpoint remembers them.
var (
	innerMAC   = net.HardwareAddr{0x02, 0x64, 0x61, 0x79, 0x00, 0x02}
	gatewayMAC = net.HardwareAddr{0x02, 0x64, 0x61, 0x79, 0x00, 0x01}
)

// plan computes names and outer addresses.
type plan struct {
	prefix string
	outer4 netip.Prefix
	outer6 netip.Prefix
	v6     bool // the host speaks IPv6
}

func (p plan) gateway4() netip.Addr { return nth(p.outer4.Addr(), 1) }
func (p plan) gateway6() netip.Addr { return nth(p.outer6.Addr(), 1) }

// outer4Of and outer6Of give the addresses of slot index, which counts from 1.
func (p plan) outer4Of(index int) netip.Addr { return nth(p.outer4.Addr(), uint32(1+index)) }
func (p plan) outer6Of(index int) netip.Addr { return nth(p.outer6.Addr(), uint32(1+index)) }

func (p plan) name(index int) string { return p.prefix + strconv.Itoa(index) }
func (p plan) gatewayDevice() string { return p.prefix + "gw" }

// index is the inverse of name; ok is false for a name that is not a slot's.
func (p plan) index(name string) (index int, ok bool) {
	digits, ok := strings.CutPrefix(name, p.prefix)
	if !ok || digits == "" || digits[0] == '0' {
		return 0, false
	}
	index, err := strconv.Atoi(digits)
	if err != nil || index < 1 || p.name(index) != name {
		return 0, false
	}
	return index, true
}

func (p plan) slot(index int) Slot {
	s := Slot{
		Index:  index,
		NetNS:  namespacePath(p.name(index)),
		Device: p.name(index),
		Addr:   p.outer4Of(index),
	}
	if p.v6 {
		s.Addr6 = p.outer6Of(index)
	}
	return s
}

// nth returns the address n after base.
func nth(base netip.Addr, n uint32) netip.Addr {
	if base.Is4() {
		b := base.As4()
		binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(b[:])+n)
		return netip.AddrFrom4(b)
	}
	b := base.As16()
	binary.BigEndian.PutUint32(b[12:], binary.BigEndian.Uint32(b[12:])+n)
	return netip.AddrFrom16(b)
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func host(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }
