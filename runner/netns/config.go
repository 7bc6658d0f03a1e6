package netns

import (
	"log/slog"
	"net/netip"
	"regexp"

	"daytona/api/runnerapi"
	"daytona/internal/fault"
)

// Config is what a Pool is made of.
type Config struct {
	Prefix       string         // names devices, namespaces and nft tables: 1 to 6 letters a-z
	Ready        int            // slots kept ready ahead
	Max          int            // slots at most; 0 means 1000, or what Outer4 holds
	Outer4       netip.Prefix   // addresses by which the host knows sandboxes; default 10.211.0.0/16 for DefaultPrefix, another /16 of 10/8 for another
	Outer6       netip.Prefix   // the same for IPv6; default a /64 of fd64:6179::/32
	AllowPrivate []netip.Prefix // private ranges that the operator opens to sandboxes
	Upstreams    []string       // DNS servers, "addr" or "addr:port"; default from /etc/resolv.conf
	StateDir     string         // durable record of slots
	Log          *slog.Logger   // default discards
}

// Policy is what one sandbox may reach.
type Policy = runnerapi.NetworkPolicy

// DefaultPrefix is the prefix of the only server on a host.
const DefaultPrefix = "dtn"

var prefixPattern = regexp.MustCompile(`^[a-z]{1,6}$`)

// withDefaults returns c with its gaps filled, or fault.Invalid.
func (c Config) withDefaults() (Config, error) {
	if !prefixPattern.MatchString(c.Prefix) {
		return c, fault.New(fault.Invalid, "network prefix %q: must be 1 to 6 letters a-z", c.Prefix)
	}
	if c.StateDir == "" {
		return c, fault.New(fault.Invalid, "network: a state directory is required")
	}
	outer4, outer6 := outerFor(c.Prefix)
	if !c.Outer4.IsValid() {
		c.Outer4 = outer4
	}
	if !c.Outer6.IsValid() {
		c.Outer6 = outer6
	}
	if !c.Outer4.Addr().Is4() || c.Outer4.Bits() > 29 || c.Outer4.Bits() < 8 {
		return c, fault.New(fault.Invalid, "network: outer IPv4 range %s: must be an IPv4 prefix between /8 and /29", c.Outer4)
	}
	if !c.Outer6.Addr().Is6() || c.Outer6.Addr().Is4In6() || c.Outer6.Bits() > 96 || c.Outer6.Bits() < 16 {
		return c, fault.New(fault.Invalid, "network: outer IPv6 range %s: must be an IPv6 prefix between /16 and /96", c.Outer6)
	}
	c.Outer4, c.Outer6 = c.Outer4.Masked(), c.Outer6.Masked()
	if c.Outer4.Overlaps(InnerAddr4) || c.Outer6.Overlaps(InnerAddr6) {
		return c, fault.New(fault.Invalid, "network: outer ranges must not contain the inner addresses %s and %s", InnerAddr4, InnerAddr6)
	}
	capacity := min(1<<(32-c.Outer4.Bits())-3, 1<<16-3) // less network, gateway, broadcast
	if c.Max <= 0 {
		c.Max = min(1000, capacity)
	}
	if c.Max > capacity {
		return c, fault.New(fault.Invalid, "network: %d slots do not fit into %s (%d at most)", c.Max, c.Outer4, capacity)
	}
	if c.Ready < 0 {
		return c, fault.New(fault.Invalid, "network: slots kept ready: %d is negative", c.Ready)
	}
	c.Ready = min(c.Ready, c.Max)
	for _, a := range c.AllowPrivate {
		if !a.IsValid() || a.Addr().Is4In6() {
			return c, fault.New(fault.Invalid, "network: invalid range in the list of allowed private ranges: %v", a)
		}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c, nil
}
