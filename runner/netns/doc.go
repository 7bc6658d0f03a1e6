// Package netns gives every sandbox a network of its own.
//
// A slot is a network namespace with one end of a veth pair in it. Slots are
// made ahead and kept in a pool, so that taking one costs no more than writing
// down who has it.
//
// # Addresses
//
// Inside, every sandbox has the same addresses ([InnerAddr4], [InnerAddr6]) and
// the same gateway, so that a checkpoint taken in one slot runs in another. On
// the host each slot is known by an address of its own, out of Config.Outer4 and
// Config.Outer6. The host's end of the veth rewrites one into the other, both
// ways, without state (nftables netdev hooks), so that routes, connection
// tracking and masquerading see nothing but unique addresses. The first address
// of each outer range is the pool's own: sandboxes see it as their gateway, and
// the DNS forwarder listens on it.
//
// Neighbour entries are permanent on both sides and no ARP or neighbour
// discovery passes the veth: a sandbox cannot poison the host's tables. Frames
// whose source is not the inner address are dropped before the host's IP stack
// sees them.
//
// # What a sandbox may reach
//
// The world outside the host, by masquerading, and DNS at its gateway. Never
// other sandboxes, never an address of the host itself, link-local or metadata
// addresses; private and special-purpose ranges only where Config.AllowPrivate
// says so. A sandbox's [Policy] narrows this further. What is not allowed is
// refused (TCP reset, ICMP prohibited), not dropped. One sandbox holds at most
// maxConnections tracked connections.
//
// # Settings of the host
//
// Open sets net.ipv4.ip_forward and, where the host has IPv6,
// net.ipv6.conf.all.forwarding to 1, and logs the value that was there before.
// Neither is set back: others may have come to rely on them. A host that learns
// its IPv6 default route from router advertisements would stop listening to
// them once it forwards, so accept_ra goes from 1 to 2 on such devices first.
//
// Another firewall that drops forwarded packets (Docker sets the policy of its
// FORWARD chain to DROP) drops those of sandboxes too; no table can overrule
// another's drop.
//
// # Durability
//
// Who holds which slot is a small file per slot in Config.StateDir, replaced
// atomically. A slot that is complete carries a mark on its device. After kill
// -9 at any line Open finds held slots as they were, takes over complete ones
// as ready, and removes the rest.
package netns
