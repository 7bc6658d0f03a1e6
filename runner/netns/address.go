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
func (p plan) gateway6() netip.Addr { return neutral(p.outer6, 1, Gateway6) }

// gateways are the pool's own addresses.
func (p plan) gateways() []netip.Addr {
	if p.v6 {
		return []netip.Addr{p.gateway4(), p.gateway6()}
	}
	return []netip.Addr{p.gateway4()}
}

// outer4Of and outer6Of give the addresses of slot index, which counts from 1.
func (p plan) outer4Of(index int) netip.Addr { return nth(p.outer4.Addr(), uint32(1+index)) }
func (p plan) outer6Of(index int) netip.Addr {
	return neutral(p.outer6, uint16(1+index), InnerAddr6.Addr())
}

func (p plan) name(index int) string { return p.prefix + strconv.Itoa(index) }

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

// nth returns the IPv4 address n after base.
func nth(base netip.Addr, n uint32) netip.Addr {
	b := base.As4()
	binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(b[:])+n)
	return netip.AddrFrom4(b)
}

// neutral returns the nth address of an IPv6 range of at most 96 bits that
// weighs as much as twin in an internet checksum. One may replace the other in a
// packet without a change to any checksum (the idea of RFC 6296), whatever the
// packet carries and whether its checksum was computed yet or is left to a device.
func neutral(in netip.Prefix, n uint16, twin netip.Addr) netip.Addr {
	b := in.Addr().As16()
	binary.BigEndian.PutUint16(b[12:], n)
	b[14], b[15] = 0, 0
	// In ones' complement: last word = sum(twin) - sum(rest).
	rest := ^sum16(b[:])
	t := twin.As16()
	var words [4]byte
	binary.BigEndian.PutUint16(words[:], sum16(t[:]))
	binary.BigEndian.PutUint16(words[2:], rest)
	binary.BigEndian.PutUint16(b[14:], sum16(words[:]))
	return netip.AddrFrom16(b)
}

// sum16 is the ones' complement sum of 16-bit words.
func sum16(b []byte) uint16 {
	var s uint32
	for i := 0; i < len(b); i += 2 {
		s += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func host(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }
