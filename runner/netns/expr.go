package netns

import (
	"net"
	"net/netip"
	"slices"

	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// rule is one nftables rule: expressions evaluated in order until one breaks.
type rule []expr.Any

// when joins parts to a rule.
func when(parts ...rule) rule { return slices.Concat(parts...) }

const (
	etherIPv4 = 0x0800
	etherIPv6 = 0x86dd
)

// layout is where an IP version keeps what the rules read and write.
type layout struct {
	etherType      uint16
	nfproto        byte
	src, dst, size uint32 // addresses, from the start of the header
	hasChecksum    bool   // of the header, at offset 10
	icmp           byte
	icmpErrors     []byte // ICMP types that quote a packet, 8 bytes after their own start
}

var (
	layout4 = layout{etherIPv4, unix.NFPROTO_IPV4, 12, 16, 4, true, unix.IPPROTO_ICMP, []byte{3, 11, 12}}
	layout6 = layout{etherIPv6, unix.NFPROTO_IPV6, 8, 24, 16, false, unix.IPPROTO_ICMPV6, []byte{1, 2, 3, 4}}
)

func layoutOf(a netip.Addr) layout {
	if a.Is4() {
		return layout4
	}
	return layout6
}

func equal(data ...byte) expr.Any {
	return &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: data}
}

func load(base expr.PayloadBase, offset, size uint32) expr.Any {
	return &expr.Payload{DestRegister: 1, Base: base, Offset: offset, Len: size}
}

// etherType fits frames of a protocol; for netdev chains.
func etherType(l layout) rule {
	return rule{&expr.Meta{Key: expr.MetaKeyPROTOCOL, Register: 1}, equal(byte(l.etherType>>8), byte(l.etherType))}
}

// version fits packets of an IP version; for inet chains.
func version(l layout) rule {
	return rule{&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1}, equal(l.nfproto)}
}

func protocol(p byte) rule {
	return rule{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, equal(p)}
}

// address fits packets whose address at offset is in r.
func address(offset uint32, r netip.Prefix) rule {
	l := layoutOf(r.Addr())
	out := rule{load(expr.PayloadBaseNetworkHeader, offset, l.size)}
	if r.Bits() < r.Addr().BitLen() {
		out = append(out, &expr.Bitwise{
			SourceRegister: 1, DestRegister: 1, Len: l.size,
			Mask: net.CIDRMask(r.Bits(), r.Addr().BitLen()), Xor: make([]byte, l.size),
		})
	}
	return append(out, equal(r.Masked().Addr().AsSlice()...))
}

func from(r netip.Prefix) rule { return address(layoutOf(r.Addr()).src, r) }
func to(r netip.Prefix) rule   { return address(layoutOf(r.Addr()).dst, r) }

// protocolNot is the opposite of protocol.
func protocolNot(p byte) rule {
	return rule{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, &expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: []byte{p}}}
}

func toPort(proto byte, port uint16) rule {
	return when(protocol(proto), rule{load(expr.PayloadBaseTransportHeader, 2, 2), equal(byte(port>>8), byte(port))})
}

// rewrite sets an address of the IP header. In IPv4 the checksums of header and
// payload follow. In IPv6 the new address weighs the same; see neutral.
func rewrite(offset uint32, a netip.Addr) rule {
	w := &expr.Payload{
		OperationType: expr.PayloadWrite, SourceRegister: 1,
		Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: layoutOf(a).size,
	}
	if layoutOf(a).hasChecksum {
		w.CsumType, w.CsumOffset, w.CsumFlags = expr.CsumTypeInet, 10, unix.NFT_PAYLOAD_L4CSUM_PSEUDOHDR
	}
	return rule{&expr.Immediate{Register: 1, Data: a.AsSlice()}, w}
}

// quoted fits ICMP errors of a type that quote a packet with address a at
// offset of its header.
func quoted(l layout, icmpType byte, offset uint32, a netip.Addr) rule {
	return when(protocol(l.icmp), rule{
		load(expr.PayloadBaseTransportHeader, 0, 1), equal(icmpType),
		load(expr.PayloadBaseTransportHeader, 8+offset, l.size), equal(a.AsSlice()...),
	})
}

// rewriteQuoted sets an address of the quoted header. In IPv4 that header's own
// checksum takes up the difference, so that the ICMP checksum, which covers
// both, stays as it is. In IPv6 there is no difference.
func rewriteQuoted(l layout, offset uint32, a netip.Addr) rule {
	w := &expr.Payload{
		OperationType: expr.PayloadWrite, SourceRegister: 1,
		Base: expr.PayloadBaseTransportHeader, Offset: 8 + offset, Len: l.size,
	}
	if l.hasChecksum {
		w.CsumType, w.CsumOffset = expr.CsumTypeInet, 8+10
	}
	return rule{&expr.Immediate{Register: 1, Data: a.AsSlice()}, w}
}

// tracked fits packets whose connection is in one of the states.
func tracked(states uint32) rule {
	return rule{
		&expr.Ct{Key: expr.CtKeySTATE, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(states), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
	}
}

// reply fits packets against the direction of who opened the connection.
func reply() rule {
	return rule{&expr.Ct{Key: expr.CtKeyDIRECTION, Register: 1}, equal(1)}
}

// redirected fits packets of connections whose destination was translated.
func redirected() rule {
	const statusDNAT = 1 << 5
	return rule{
		&expr.Ct{Key: expr.CtKeySTATUS, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(statusDNAT), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
	}
}

func verdictOf(kind expr.VerdictKind, chain string) rule {
	return rule{&expr.Verdict{Kind: kind, Chain: chain}}
}

var (
	accept   = verdictOf(expr.VerdictAccept, "")
	drop     = verdictOf(expr.VerdictDrop, "")
	goBack   = verdictOf(expr.VerdictReturn, "")
	tcpReset = rule{&expr.Reject{Type: unix.NFT_REJECT_TCP_RST}}
	prohibit = rule{&expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: unix.NFT_REJECT_ICMPX_ADMIN_PROHIBITED}}
)

func jump(chain string) rule    { return verdictOf(expr.VerdictJump, chain) }
func proceed(chain string) rule { return verdictOf(expr.VerdictGoto, chain) }

// deviceIn looks the incoming (or outgoing) device up in a set or verdict map.
func device(key expr.MetaKey, set *lookup) rule {
	return rule{&expr.Meta{Key: key, Register: 1}, &expr.Lookup{
		SourceRegister: 1, SetName: set.name, SetID: set.id, IsDestRegSet: set.verdicts, Invert: set.invert,
	}}
}

func incoming(set *lookup) rule { return device(expr.MetaKeyIIFNAME, set) }
func outgoing(set *lookup) rule { return device(expr.MetaKeyOIFNAME, set) }

// lookup names a set of devices, or a map from devices to verdicts.
type lookup struct {
	name     string
	id       uint32
	verdicts bool
	invert   bool
}

func (l lookup) not() *lookup { l.invert = true; return &l }
