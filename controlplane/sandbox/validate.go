package sandbox

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"daytona/controlplane/org"
	"daytona/controlplane/snapshot"
	"daytona/internal/fault"
)

// Limits on what a request may carry.
const (
	maxNameLen    = 255
	maxUserLen    = 32
	maxEnvBytes   = 256 << 10 // all names and values together
	maxEnvCount   = 1000
	maxLabels     = 100
	maxLabelBytes = 1024 // of one key or value
	maxInterval   = 1<<31 - 1
)

// Defaults of a create request.
const (
	DefaultUser        = "daytona"
	DefaultAutoStop    = 15
	DefaultAutoArchive = 10080
	DefaultAutoDelete  = -1
)

// DefaultResources is what a sandbox gets that says nothing about it.
func DefaultResources() org.Resources { return org.Resources{CPU: 1, MemoryGiB: 1, DiskGiB: 3} }

// Plan is a request with every default filled in.
type Plan struct {
	Sandbox       Sandbox  // ID, names of places, resources of a snapshot and times still missing
	SnapshotName  string   // name or id as asked for; "" is the default one
	FromImage     string   // image of a Dockerfile that is nothing but a FROM, else ""
	Dockerfile    string   // as it was given; "" is none
	Contexts      []string // hashes, as they were given
	OwnsResources bool     // the request sets the resources, not the snapshot
}

// Validate checks every field and fills in defaults. The error is Invalid and
// names each field that is wrong. Which snapshot and target exist, and quotas,
// are not its business.
func (r CreateRequest) Validate() (Plan, error) {
	var bad problems
	p := Plan{Sandbox: Sandbox{
		Env: map[string]string{}, Labels: map[string]string{}, Class: "small", User: DefaultUser,
		AutoStop: DefaultAutoStop, AutoArchive: DefaultAutoArchive, AutoDelete: DefaultAutoDelete,
	}}
	sb := &p.Sandbox
	if r.Name != nil && *r.Name != "" {
		bad.check("name", checkName(*r.Name))
		sb.Name = *r.Name
	}
	if r.Snapshot != nil {
		bad.check("snapshot", checkText(*r.Snapshot, maxNameLen))
		p.SnapshotName = strings.TrimSpace(*r.Snapshot)
	}
	if r.User != nil && *r.User != "" {
		if !userName.MatchString(*r.User) || len(*r.User) > maxUserLen {
			bad.add("user", "must be a user name of at most %d letters, digits, '.', '_' and '-', or a numeric id", maxUserLen)
		}
		sb.User = *r.User
	}
	bad.check("env", CheckEnv(r.Env))
	for k, v := range r.Env {
		sb.Env[k] = v
	}
	bad.check("labels", CheckLabels(r.Labels))
	for k, v := range r.Labels {
		sb.Labels[k] = v
	}
	if r.Public != nil {
		sb.Public = *r.Public
	}
	if r.Class != nil && *r.Class != "" {
		if !slices.Contains([]string{"small", "medium", "large"}, *r.Class) {
			bad.add("class", "must be one of small, medium, large")
		}
		sb.Class = *r.Class
	}
	if r.Isolation != nil {
		bad.check("isolation", checkText(*r.Isolation, maxNameLen))
		sb.Isolation = *r.Isolation
	}
	if r.Target != nil {
		bad.check("target", checkText(*r.Target, maxNameLen))
		sb.Target = *r.Target
	}
	r.resources(&p, &bad)
	if r.NetworkBlockAll != nil {
		sb.NetworkBlockAll = *r.NetworkBlockAll
	}
	if r.NetworkAllowList != nil {
		list, err := ParseAllowList(*r.NetworkAllowList)
		bad.check("networkAllowList", err)
		sb.NetworkAllowList = joined(list)
	}
	if r.DomainAllowList != nil {
		list, err := ParseDomains(*r.DomainAllowList)
		bad.check("domainAllowList", err)
		sb.DomainAllowList = joined(list)
	}
	bad.check("autoStopInterval", interval(r.AutoStopInterval, false, &sb.AutoStop))
	bad.check("autoArchiveInterval", interval(r.AutoArchiveInterval, false, &sb.AutoArchive))
	sb.AutoArchive = archiveInterval(sb.AutoArchive)
	bad.check("autoDeleteInterval", interval(r.AutoDeleteInterval, true, &sb.AutoDelete))
	r.notYet(&bad)
	return p, bad.err()
}

// resources also settles where the image comes from, because a snapshot brings
// its own resources.
func (r CreateRequest) resources(p *Plan, bad *problems) {
	want := DefaultResources()
	given := false
	for _, f := range []struct {
		name string
		v    *int
		to   *int
	}{{"cpu", r.CPU, &want.CPU}, {"memory", r.Memory, &want.MemoryGiB}, {"disk", r.Disk, &want.DiskGiB}} {
		if f.v == nil || *f.v == 0 { // clients send 0 for "not given"
			continue
		}
		if *f.v < 0 || *f.v > maxInterval {
			bad.add(f.name, "must be a positive integer")
			continue
		}
		*f.to, given = *f.v, true
	}
	if r.GPU != nil && *r.GPU != 0 {
		bad.add("gpu", "must be 0: GPUs are not available on this server")
	}
	p.Sandbox.CPU, p.Sandbox.MemoryGiB, p.Sandbox.DiskGiB = want.CPU, want.MemoryGiB, want.DiskGiB
	if r.BuildInfo == nil {
		if given {
			bad.add("cpu, memory, disk", "cannot be set together with a snapshot, which has its own: leave them out, or give an image")
		}
		return
	}
	p.OwnsResources = true
	if p.SnapshotName != "" {
		bad.add("buildInfo", "cannot be given together with snapshot")
	}
	text := r.BuildInfo.DockerfileContent
	p.FromImage, p.Dockerfile, p.Contexts = onlyFrom(text), text, r.BuildInfo.ContextHashes
	bad.check("buildInfo.dockerfileContent", snapshot.CheckDockerfile(text))
	bad.check("buildInfo.contextHashes", snapshot.CheckContexts(p.Contexts))
}

// notYet refuses by name what this server cannot do: a client that asks for a
// limit on its network, say, must not get a sandbox without one.
func (r CreateRequest) notYet(bad *problems) {
	for _, f := range []struct {
		name  string
		asked bool
		what  string
	}{
		{"volumes", len(r.Volumes) > 0, "volumes are"},
		{"gpuType", len(r.GPUType) > 0, "GPUs are"},
		{"linkedSandbox", set(r.LinkedSandbox), "linked sandboxes are"},
		{"outboundProxyUrl", set(r.OutboundProxyURL), "outbound proxies are"},
		{"otelEndpointOverride", set(r.OTelEndpointOverride), "telemetry endpoints per sandbox are"},
		{"spot", r.Spot != nil && *r.Spot, "spot sandboxes are"},
		{"kvm", r.KVM != nil && *r.KVM, "virtual machines are"},
		{"autoPauseInterval", r.AutoPauseInterval != nil && *r.AutoPauseInterval != 0, "pausing is"},
		{"ttlMinutes", r.TTLMinutes != nil && *r.TTLMinutes != 0, "lifetimes are"},
		{"secrets", len(r.Secrets) > 0, "secrets are"},
	} {
		if f.asked {
			bad.add(f.name, "%s not available yet on this server", f.what)
		}
	}
}

func set(s *string) bool { return s != nil && *s != "" }

var (
	userName  = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*$`)
	envName   = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]*$`)
	htmlTag   = regexp.MustCompile(`<[A-Za-z/!?][^>]*>?`)
	urlLike   = regexp.MustCompile(`(?i)([a-z][a-z0-9+.-]*://|\bwww\.|\b(mailto|javascript|data|tel):)`)
	fromLine  = regexp.MustCompile(`(?i)^FROM\s+([A-Za-z0-9][A-Za-z0-9._:/@-]*)$`)
	badInName = "must not contain %s"
)

func checkName(s string) error {
	if err := checkText(s, maxNameLen); err != nil {
		return err
	}
	switch {
	case strings.TrimSpace(s) != s || s == "":
		return fmt.Errorf("must not begin or end with a space")
	case htmlTag.MatchString(s):
		return fmt.Errorf(badInName, "HTML")
	case urlLike.MatchString(s):
		return fmt.Errorf(badInName, "URLs")
	}
	return nil
}

func checkText(s string, most int) error {
	switch {
	case !utf8.ValidString(s):
		return fmt.Errorf("must be valid UTF-8")
	case utf8.RuneCountInString(s) > most:
		return fmt.Errorf("must have at most %d characters", most)
	case strings.ContainsFunc(s, unicode.IsControl):
		return fmt.Errorf(badInName, "control characters")
	}
	return nil
}

// CheckEnv checks names and sizes of environment variables. Values are any text
// without NUL, which no process can receive.
func CheckEnv(env map[string]string) error {
	if len(env) > maxEnvCount {
		return fmt.Errorf("must have at most %d variables", maxEnvCount)
	}
	size := 0
	for _, k := range sortedKeys(env) {
		v := env[k]
		size += len(k) + len(v) + 2
		switch {
		case !envName.MatchString(k):
			return fmt.Errorf("has a variable with the invalid name %q", shorten(k))
		case strings.HasPrefix(k, "DAYTONA_") && reservedEnv[k]:
			return fmt.Errorf("must not set %s, which the server sets", k)
		case !utf8.ValidString(v) || strings.ContainsRune(v, 0):
			return fmt.Errorf("variable %s must be text without NUL", k)
		}
	}
	if size > maxEnvBytes {
		return fmt.Errorf("must have at most %d bytes in all", maxEnvBytes)
	}
	return nil
}

// reservedEnv are the variables by which programs inside learn who they are.
var reservedEnv = map[string]bool{
	"DAYTONA_SANDBOX_ID": true, "DAYTONA_SANDBOX_SNAPSHOT": true, "DAYTONA_SANDBOX_USER": true,
	"DAYTONA_ORGANIZATION_ID": true, "DAYTONA_REGION_ID": true,
}

// CheckLabels checks keys and values of labels.
func CheckLabels(labels map[string]string) error {
	if len(labels) > maxLabels {
		return fmt.Errorf("must have at most %d entries", maxLabels)
	}
	for _, k := range sortedKeys(labels) {
		switch v := labels[k]; {
		case k == "":
			return fmt.Errorf("must not have an empty key")
		case len(k) > maxLabelBytes || len(v) > maxLabelBytes:
			return fmt.Errorf("entry %q must have at most %d bytes in key and value", shorten(k), maxLabelBytes)
		case !utf8.ValidString(k) || !utf8.ValidString(v) || strings.ContainsRune(k+v, 0):
			return fmt.Errorf("entry %q must be text without NUL", shorten(k))
		}
	}
	return nil
}

func interval(v *int, negative bool, to *int) error {
	if v == nil {
		return nil
	}
	if *v > maxInterval || *v < -maxInterval {
		return fmt.Errorf("must be at most %d minutes", maxInterval)
	}
	if *v < 0 && !negative {
		return fmt.Errorf("must be a non-negative integer")
	}
	*to = *v
	return nil
}

func archiveInterval(minutes int) int {
	if minutes <= 0 || minutes > MaxAutoArchive {
		return MaxAutoArchive
	}
	return minutes
}

// onlyFrom returns the image of a Dockerfile that is one FROM, comments and
// blank lines aside, else "". Nothing need be built for such a one.
func onlyFrom(dockerfile string) string {
	image := ""
	for line := range strings.Lines(dockerfile) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		m := fromLine.FindStringSubmatch(line)
		if m == nil || image != "" {
			return ""
		}
		image = m[1]
	}
	return image
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func shorten(s string) string {
	if len(s) > 64 {
		return strings.ToValidUTF8(s[:64], "") + "…"
	}
	return s
}

// problems gathers what is wrong, so that a caller can mend all of it at once.
type problems []string

func (p *problems) add(field, format string, args ...any) {
	*p = append(*p, field+": "+fmt.Sprintf(format, args...))
}

func (p *problems) check(field string, err error) {
	if err != nil {
		p.add(field, "%s", err)
	}
}

func (p problems) err() error {
	if len(p) == 0 {
		return nil
	}
	return fault.New(fault.Invalid, "%s", strings.Join(p, ", "))
}
