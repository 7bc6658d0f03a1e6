package runner

import (
	"net/netip"
	"strings"

	"daytona/api/runnerapi"
	"daytona/internal/domains"
	"daytona/internal/fault"
	"daytona/internal/lazyregexp"
)

// idPattern is what an id may be: it becomes a host name, a directory and part
// of a cgroup's name.
var idPattern = lazyregexp.New(`^[a-zA-Z0-9][a-zA-Z0-9-]{0,62}$`)

// limits of a spec that no host can mean seriously, in the spec's units.
const (
	minMemoryMiB = 16
	minDiskMiB   = 16
	maxCPU       = 1024
	maxMiB       = 64 << 20 // 64 TiB
)

// complete fills the gaps of a spec with the runner's defaults.
func (c *Config) complete(spec runnerapi.Spec) runnerapi.Spec {
	spec.CPU = or(spec.CPU, c.Default.CPU)
	spec.MemoryMiB = or(spec.MemoryMiB, c.Default.MemoryMiB)
	spec.DiskMiB = or(spec.DiskMiB, c.Default.DiskMiB)
	spec.Isolation = or(spec.Isolation, c.Drivers[0].Name())
	return spec
}

// checkSpec refuses a complete spec that can never be carried out.
func checkSpec(spec runnerapi.Spec) error {
	invalid := func(format string, args ...any) error { return fault.New(fault.Invalid, format, args...) }
	switch {
	case !idPattern.MatchString(spec.ID):
		return invalid("sandbox id %q: must be 1 to 63 letters, digits or hyphens", spec.ID)
	case spec.Snapshot == "":
		return invalid("snapshot is required")
	case !(spec.CPU > 0 && spec.CPU <= maxCPU): // NaN too
		return invalid("cpu must be above 0 and at most %d", maxCPU)
	case spec.MemoryMiB < minMemoryMiB || spec.MemoryMiB > maxMiB:
		return invalid("memory must be %d MiB at least", minMemoryMiB)
	case spec.DiskMiB < minDiskMiB || spec.DiskMiB > maxMiB:
		return invalid("disk must be %d MiB at least", minDiskMiB)
	case strings.ContainsAny(spec.User, "\x00\n\r/"):
		return invalid("user %q: not a user name", spec.User)
	}
	for k, v := range spec.Env {
		if k == "" || strings.ContainsAny(k, "=\x00") || strings.ContainsRune(v, 0) {
			return invalid("environment variable %q: a name must not be empty or contain '=', and neither may contain NUL", k)
		}
	}
	return checkNetwork(spec.Network)
}

// checkNetwork refuses a policy that can never be enforced.
func checkNetwork(policy runnerapi.NetworkPolicy) error {
	for _, cidr := range policy.AllowList {
		if p, err := netip.ParsePrefix(cidr); err != nil || !p.Addr().Is4() {
			return fault.New(fault.Invalid, "network allow list: %q is not an IPv4 range", cidr)
		}
	}
	for _, name := range policy.Domains {
		if _, err := domains.Parse(name); err != nil {
			return fault.New(fault.Invalid, "domain allow list: %s", err)
		}
	}
	return nil
}

// fits says whether a waiting sandbox can become the one that is wanted. Both
// specs are complete. What a claim can still give (environment, owner, region,
// network policy) does not matter.
func fits(want runnerapi.Spec, waiting record) bool {
	have := waiting.Spec
	return waiting.Warm != nil && waiting.Phase == phaseRunning &&
		(waiting.Warm.OrgID == "" || waiting.Warm.OrgID == want.OrgID) &&
		want.Snapshot == have.Snapshot &&
		want.Isolation == waiting.Driver &&
		want.CPU == have.CPU &&
		want.MemoryMiB == have.MemoryMiB &&
		want.DiskMiB == have.DiskMiB &&
		(want.User == "" || want.User == waiting.User)
}
