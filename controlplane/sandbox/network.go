package sandbox

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strings"

	"go.opentelemetry.io/otel/trace"

	"daytona/api/runnerapi"
	"daytona/controlplane/fleet"
	"daytona/controlplane/org"
	"daytona/internal/domains"
	"daytona/internal/fault"
)

// Limits of the lists. The clients of the first era were promised 5 networks,
// those of today 10; who asks for more than five knows of ten.
const (
	maxAllowList = 10
	maxDomains   = 10
)

// Network is what a sandbox may reach; see runnerapi.NetworkPolicy for what the
// lists mean together. The lists are comma separated, as their owner wrote them,
// and nil when empty.
type Network struct {
	BlockAll  bool
	AllowList *string // IPv4 CIDRs
	Domains   *string // domain names and wildcards
}

// NetworkChange asks for other settings. Nil stays as it is; "" clears.
type NetworkChange struct {
	BlockAll           *bool
	AllowList, Domains *string
}

// Apply returns n with the change made. Blocking everything clears the list of
// networks; a list that is not empty ends the blocking, unless the same change
// asks for it; ending it without a list of networks clears the one there was.
// The error is Invalid and names each field that is wrong.
func (c NetworkChange) Apply(n Network) (Network, error) {
	var bad problems
	if c.BlockAll == nil && c.AllowList == nil && c.Domains == nil {
		return n, fault.New(fault.Invalid, "At least one of networkBlockAll, networkAllowList and domainAllowList must be set")
	}
	if c.AllowList != nil {
		list, err := ParseAllowList(*c.AllowList)
		bad.check("networkAllowList", err)
		n.AllowList = joined(list)
	}
	if c.Domains != nil {
		list, err := ParseDomains(*c.Domains)
		bad.check("domainAllowList", err)
		n.Domains = joined(list)
	}
	if c.AllowList != nil && n.AllowList != nil || c.Domains != nil && n.Domains != nil {
		n.BlockAll = false
	}
	if c.BlockAll != nil {
		n.BlockAll = *c.BlockAll
		if *c.BlockAll || c.AllowList == nil {
			n.AllowList = nil
		}
	}
	return n, bad.err()
}

// ParseAllowList splits a comma list of IPv4 CIDRs, without empty entries.
func ParseAllowList(s string) ([]string, error) {
	return split(s, maxAllowList, "networks", func(part string) (string, error) {
		p, err := netip.ParsePrefix(part)
		if err != nil || !p.Addr().Is4() {
			return "", fmt.Errorf("has %q, which is not an IPv4 network such as 10.1.0.0/16", shorten(part))
		}
		return part, nil
	})
}

// ParseDomains splits a comma list of domain names, without empty entries, and
// brings them to their canonical form.
func ParseDomains(s string) ([]string, error) {
	return split(s, maxDomains, "domains", func(part string) (string, error) {
		name, err := domains.Parse(part)
		if err != nil {
			return "", fmt.Errorf("has an entry that cannot be used: %w", err)
		}
		return name, nil
	})
}

func split(s string, most int, what string, parse func(string) (string, error)) ([]string, error) {
	var out []string
	for part := range strings.SplitSeq(s, ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		entry, err := parse(part)
		if err != nil {
			return nil, err
		}
		if out = append(out, entry); len(out) > most {
			return nil, fmt.Errorf("must have at most %d %s", most, what)
		}
	}
	return out, nil
}

func joined(list []string) *string {
	if len(list) == 0 {
		return nil
	}
	return ptr(strings.Join(list, ","))
}

// policy is what the runner is told.
func (n Network) policy() runnerapi.NetworkPolicy {
	out := runnerapi.NetworkPolicy{BlockAll: n.BlockAll}
	if n.AllowList != nil {
		list, _ := ParseAllowList(*n.AllowList) // checked when it was stored
		for _, s := range list {
			out.AllowList = append(out.AllowList, netip.MustParsePrefix(s).Masked().String())
		}
	}
	if n.Domains != nil {
		out.Domains, _ = ParseDomains(*n.Domains)
	}
	return out
}

// Network returns what the sandbox may reach.
func (s Sandbox) Network() Network {
	return Network{BlockAll: s.NetworkBlockAll, AllowList: s.NetworkAllowList, Domains: s.DomainAllowList}
}

// SetNetwork changes what a sandbox may reach. For one that runs it returns when
// the change is in force, for open connections too; one that is stopped starts
// with it. When the runner cannot be reached in time the change is stored and
// carried out later, and the error, fault.Unavailable, says so.
func (m *Manager) SetNetwork(ctx context.Context, orgID, idOrName string, c NetworkChange) (Sandbox, error) {
	sb, err := m.storeNetwork(ctx, orgID, idOrName, c)
	if err != nil || sb.State != Started {
		return sb, err
	}
	m.await(ctx, m.kick(sb.ID, nudge{trace: trace.SpanContextFromContext(ctx)}))
	now, err := m.c.Store.Sandbox(context.WithoutCancel(ctx), sb.ID)
	if err != nil {
		return Sandbox{}, unknown(err, idOrName)
	}
	if now.NetworkPending && now.State == Started {
		return Sandbox{}, fault.New(fault.Unavailable,
			"The network settings are stored but not in force yet: the runner did not confirm them in time. It goes on trying; ask again to see")
	}
	return m.withActivity(now), nil
}

func (m *Manager) storeNetwork(ctx context.Context, orgID, idOrName string, c NetworkChange) (Sandbox, error) {
	for range 100 {
		sb, err := m.Get(ctx, orgID, idOrName)
		if err != nil {
			return Sandbox{}, err
		}
		switch shown := sb.Shown(); shown {
		case Started, Stopped, Archived:
		case Destroying, Destroyed, Error, BuildFailed:
			return Sandbox{}, fault.New(fault.Invalid, "Sandbox is %s, so its network settings cannot be changed", shown)
		default:
			return Sandbox{}, fault.New(fault.Conflict, "Sandbox is %s. Wait until it is started, stopped or archived, then change its network settings", shown)
		}
		n, err := c.Apply(sb.Network())
		if err != nil {
			return Sandbox{}, err
		}
		out, err := m.c.Store.SetSandboxNetwork(ctx, sb, n, true, egressOpen, m.now())
		if err == nil {
			m.targets.drop(sb.ID)
			return m.withActivity(out), nil
		}
		if !fault.Is(err, fault.Conflict) {
			return Sandbox{}, unknown(err, idOrName)
		}
	}
	return Sandbox{}, fault.New(fault.Conflict, "Sandbox %s changes all the time. Try again", shorten(idOrName))
}

// egressOpen refuses when the organization's egress is limited as a whole.
func egressOpen(o org.Organization, _ org.Usage) error {
	if o.LimitedNetworkEgress {
		return fault.New(fault.Invalid, "Network settings cannot be changed: the network access of this organization is limited by the operator")
	}
	return nil
}

// networkIt tells the runner what the row says, and notes that it was told.
func (m *Manager) networkIt(w *worker, sb Sandbox, member fleet.Member) error {
	ctx, done := m.interruptible(w)
	defer done()
	err := member.Runner.SetNetwork(ctx, sb.ID, sb.Network().policy())
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return nil
	case fault.Is(err, fault.Conflict): // the runner's, not the row's: wait, don't read again
		return fault.Wrap(err, fault.Unavailable, "the runner is busy with the sandbox")
	case err != nil:
		return err
	}
	_, err = m.c.Store.SetSandboxNetwork(m.life, sb, sb.Network(), false, nil, m.now())
	if fault.Is(err, fault.Conflict) {
		return errors.Join(err, m.networkOvertaken(sb))
	}
	return err
}

// networkOvertaken is called when the row changed while the runner was told what
// it said before. Another server may have told it the newer settings first and
// noted that they are in force: they must be told again.
func (m *Manager) networkOvertaken(told Sandbox) error {
	for range 100 {
		now, err := m.c.Store.Sandbox(m.life, told.ID)
		if err != nil || now.State != told.State || reflect.DeepEqual(now.Network().policy(), told.Network().policy()) {
			return err
		}
		_, err = m.c.Store.SetSandboxNetwork(m.life, now, now.Network(), true, nil, m.now())
		if !fault.Is(err, fault.Conflict) {
			return err
		}
	}
	return fault.New(fault.Conflict, "sandbox %s changes all the time", told.ID)
}
