package netns

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// What Probe could not do.
var (
	ErrNamespace = errors.New("no network namespace can be made")
	ErrDevice    = errors.New("no virtual network device (veth) can be made")
	ErrRules     = errors.New("the kernel does not take the firewall's rules (nftables)")
)

// Probe finds out whether a pool could work on this host: in a network namespace
// of its own, which is gone when it returns, it makes a device and a slot's rules.
// The host's network is not touched, but the kernel may load modules. It needs
// root. Its errors are ErrNamespace, ErrDevice or ErrRules, with the reason.
func Probe() error {
	return onOwnThread(func(netns.NsHandle) error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("%w: %w", ErrNamespace, err)
		}
		p := plan{
			prefix: "probe", outer4: netip.MustParsePrefix("10.0.0.0/16"), outer6: netip.MustParsePrefix("fd64:6179::/64"), v6: hasIPv6(),
		}
		h, err := netlink.NewHandle(unix.NETLINK_ROUTE) // this thread is inside
		if err != nil {
			return fmt.Errorf("%w: %w", ErrDevice, err)
		}
		defer h.Close()
		attrs := netlink.NewLinkAttrs()
		attrs.Name = p.name(0)
		if err := h.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: InnerDevice}); err != nil {
			return fmt.Errorf("%w: %w", ErrDevice, err)
		}
		fw, err := newFirewall(p, "probe", nil)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrRules, err)
		}
		err = fw.sync(func() (map[int]Policy, error) { return map[int]Policy{0: {}}, nil })
		if err = errors.Join(err, fw.close()); err != nil {
			return fmt.Errorf("%w: %w", ErrRules, err)
		}
		return nil
	})
}
