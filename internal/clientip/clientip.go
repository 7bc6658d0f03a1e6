// Package clientip says from which address a request comes where proxies stand
// in front of the server.
package clientip

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// Of returns the address of whoever sent r. What X-Forwarded-For says is believed
// as far as trusted proxies wrote it: the last address that none of them has
// counts, since anybody can have made up what is before it.
func Of(r *http.Request, trusted []netip.Prefix) string {
	address, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		address = r.RemoteAddr
	}
	if !Trusts(address, trusted) {
		return address
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0; i-- {
		hop := strings.TrimSpace(hops[i])
		if _, err := netip.ParseAddr(hop); err != nil {
			break
		}
		address = hop
		if !Trusts(hop, trusted) {
			break
		}
	}
	return address
}

// Trusts reports whether an address is that of a trusted proxy.
func Trusts(address string, trusted []netip.Prefix) bool {
	ip, err := netip.ParseAddr(address)
	if err != nil {
		return false
	}
	for _, prefix := range trusted {
		if prefix.Contains(ip.Unmap()) {
			return true
		}
	}
	return false
}

// Network is the part of an address that one subscriber has: an IPv4 address,
// or 64 bits of an IPv6 address, below which everybody can make up more.
func Network(address string) string {
	ip, err := netip.ParseAddr(address)
	if err != nil {
		return address
	}
	if ip = ip.Unmap().WithZone(""); ip.Is4() {
		return ip.String()
	}
	p, err := ip.Prefix(64)
	if err != nil {
		return address
	}
	return p.String()
}
