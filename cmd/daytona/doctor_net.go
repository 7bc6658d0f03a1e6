//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"daytona/runner/netns"
)

// lookWithin bounds what waits for somebody else.
const lookWithin = 3 * time.Second

// offers says whether sandboxes can have an isolation.
func (s *settings) offers(isolation string) bool {
	for _, name := range s.offered() {
		if name == isolation {
			return true
		}
	}
	return false
}

// lookNetwork tries the rules of a sandbox in a namespace that goes at once.
func lookNetwork(context.Context, *settings) finding { return judgeNetwork(netns.Probe()) }

func judgeNetwork(err error) finding {
	advice := "the server must be root, and may not be in a container without privileges"
	switch {
	case err == nil:
		return well("namespaces, devices and firewall rules (nftables) work")
	case os.Geteuid() != 0:
	case errors.Is(err, netns.ErrDevice):
		advice = "type: modprobe veth"
	case errors.Is(err, netns.ErrRules):
		advice = "type: modprobe -a nf_tables nft_ct nft_nat nft_masq nft_connlimit nf_conntrack"
	}
	return finding{bad, err.Error(), advice}
}

// lookRanges looks for devices of others in the ranges of sandboxes' addresses.
func lookRanges(_ context.Context, s *settings) finding {
	if s.NetworkRange == "" {
		return well("by the prefix %s; the server looks whether they are free", s.NetworkPrefix)
	}
	all, err := net.Interfaces()
	if err != nil {
		return finding{doubtful, err.Error(), ""}
	}
	taken := map[string][]netip.Prefix{}
	for _, i := range all {
		addresses, err := i.Addrs()
		if err != nil {
			continue // gone meanwhile
		}
		for _, a := range addresses {
			if p, err := netip.ParsePrefix(a.String()); err == nil {
				taken[i.Name] = append(taken[i.Name], p)
			}
		}
	}
	return judgeRange(netip.MustParsePrefix(s.NetworkRange), s.NetworkPrefix, taken)
}

func judgeRange(wanted netip.Prefix, prefix string, taken map[string][]netip.Prefix) finding {
	for name, ranges := range taken {
		for _, r := range ranges {
			if !strings.HasPrefix(name, prefix) && wanted.Contains(r.Addr()) {
				return finding{bad, fmt.Sprintf("%s is in use: %s has %s", wanted, name, r), "name another range with --network-range"}
			}
		}
	}
	return well("%s", wanted)
}

func lookForwarding(context.Context, *settings) finding {
	const path = "/proc/sys/net/ipv4/ip_forward"
	text, err := os.ReadFile(path)
	if err != nil {
		return finding{bad, err.Error(), "the server needs /proc of the host"}
	}
	if strings.TrimSpace(string(text)) == "1" {
		return well("on")
	}
	if file, err := os.OpenFile(path, os.O_WRONLY, 0); err == nil {
		_ = file.Close()
		return well("off; the server turns it on")
	}
	return finding{bad, "off, and " + path + " cannot be written", "type on the host: sysctl -w net.ipv4.ip_forward=1"}
}

func lookNames(_ context.Context, s *settings) finding {
	text, err := os.ReadFile("/etc/resolv.conf")
	if err != nil && len(s.DNS) == 0 {
		return finding{doubtful, err.Error(), "sandboxes would resolve no names: name servers with --dns"}
	}
	return judgeNames(s.DNS, string(text))
}

func judgeNames(given []string, resolvConf string) finding {
	servers := given
	if len(given) == 0 {
		for line := range strings.Lines(resolvConf) {
			if words := strings.Fields(line); len(words) > 1 && words[0] == "nameserver" {
				servers = append(servers, words[1])
			}
		}
	}
	if len(servers) == 0 {
		return finding{doubtful, "/etc/resolv.conf names none", "sandboxes would resolve no names: name servers with --dns"}
	}
	return well("%s", strings.Join(servers, ", "))
}

// lookDatabase looks whether something answers at the database's address.
func lookDatabase(ctx context.Context, s *settings) finding {
	if s.Database == "" {
		return well("SQLite in %s", s.Data)
	}
	u, err := url.Parse(s.Database)
	if err != nil || u.Hostname() == "" { // the value may hold a password
		return well("PostgreSQL, at a socket")
	}
	port := u.Port()
	if port == "" {
		port = "5432"
	}
	address := net.JoinHostPort(u.Hostname(), port)
	ctx, cancel := context.WithTimeout(ctx, lookWithin)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return finding{bad, "PostgreSQL: " + err.Error(), "start it, or mend --database"}
	}
	_ = conn.Close()
	return well("PostgreSQL answers at %s", address)
}

// lookPort looks whether the server could listen.
func lookPort(ctx context.Context, s *settings) finding {
	err := listens(ctx, s.Listen)
	if err == nil {
		return well("%s is free", s.Listen)
	}
	if runs(s) {
		return well("%s is in use, and a server runs on %s", s.Listen, s.Data)
	}
	return finding{bad, err.Error(), "another program listens there: name another address with --listen"}
}

func lookSSHPort(ctx context.Context, s *settings) finding {
	address, advice := s.SSHListen, "another program listens there: name another address with --ssh-listen"
	if address == sshOff {
		return well("off")
	}
	trouble := bad
	if address == "" {
		host, _, err := net.SplitHostPort(s.Listen)
		if err != nil {
			return finding{bad, err.Error(), ""}
		}
		address, trouble = net.JoinHostPort(host, sshPort), doubtful
		advice = "SSH would get another port with each start: choose one with --ssh-listen, or turn it off with --ssh-listen off"
	}
	err := listens(ctx, address)
	switch {
	case err == nil:
		return well("%s is free", address)
	case runs(s):
		return well("%s is in use, and a server runs on %s", address, s.Data)
	}
	return finding{trouble, err.Error(), advice}
}

func listens(ctx context.Context, address string) error {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err == nil {
		err = listener.Close()
	}
	return err
}

// runs says whether a server runs on the data directory.
func runs(s *settings) bool {
	if _, err := os.Stat(s.Data); err != nil {
		return false
	}
	lock, err := lockData(s.Data)
	if err == nil {
		lock.release()
	}
	return errors.Is(err, errLocked)
}

// lookPreviews looks whether names below the domain of previews lead anywhere.
func lookPreviews(ctx context.Context, s *settings) finding {
	if s.ProxyTemplate != "" {
		return well("%s", s.ProxyTemplate)
	}
	host := s.ProxyDomain
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	ctx, cancel := context.WithTimeout(ctx, lookWithin)
	defer cancel()
	_, err := net.DefaultResolver.LookupHost(ctx, "3000-doctor."+host)
	return judgePreviews(host, err)
}

func judgePreviews(host string, err error) finding {
	switch {
	case err == nil:
		return well("names below %s resolve", host)
	case host == "localhost" || strings.HasSuffix(host, ".localhost"):
		return well("names below %s resolve in browsers of this machine, and in curl", host)
	}
	return finding{doubtful, "names below " + host + " do not resolve: " + err.Error(),
		"add a DNS record for *." + host + " that leads to this server, or set --proxy-domain"}
}
