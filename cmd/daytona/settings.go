//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"daytona/api/proxyapi"
	"daytona/controlplane/httpapi"
	"daytona/controlplane/org"
	"daytona/images"
	"daytona/internal/keyring"
	"daytona/internal/objectstore"
	"daytona/internal/options"
	"daytona/internal/ratelimit"
)

// settings are those of the server. declare says what each means.
type settings struct {
	TLS             tlsSettings
	Data, Config    string
	Listen          string
	PublicURL       string
	ProxyDomain     string
	ProxyTemplate   string
	PreviewWarning  bool
	PreviewIdle     time.Duration
	TrustedProxies  []string
	SSHListen       string
	SSHHost         string
	SSHHostKey      string
	Database        string
	KeyFile         string
	EncryptionKeys  string
	EncryptionFile  string
	Pprof           string
	LogLevel        string
	LogFormat       string
	CreateBudget    time.Duration
	ShutdownTimeout time.Duration

	Region          string
	DefaultSnapshot string
	Quota           org.Quota
	Rates           rateSettings

	StorageURL   string
	S3           objectstore.S3Config
	UploadBudget int // GiB, as UploadLimit
	UploadLimit  int
	PushLimit    int
	KeepPushed   time.Duration
	BackupEvery  time.Duration

	Isolation       string
	Isolations      []string
	Runsc           string
	GVisorPlatform  string
	Runc            string
	RuncPrivileges  bool
	Toolbox         string
	Warm            map[string]int
	CgroupParent    string
	Disk            string
	Snapshots       []string
	BaseImage       string
	RegistryMirrors map[string]string
	Build           buildSettings
	NetworkPrefix   string
	NetworkRange    string
	NetworkRange6   string
	AllowPrivate    []string
	DNS             []string
}

// rateSettings are requests a minute; 0 is no limit.
type rateSettings struct{ Organization, Key, Create, Lifecycle, List, FailedAuth int }

func (r rateSettings) limits() httpapi.RateLimits {
	minute := func(n int) ratelimit.Rate { return ratelimit.Rate{Limit: n, Per: time.Minute} }
	return httpapi.RateLimits{
		Organization: minute(r.Organization), Key: minute(r.Key), SandboxCreate: minute(r.Create),
		SandboxLifecycle: minute(r.Lifecycle), SandboxList: minute(r.List), FailedAuth: minute(r.FailedAuth),
	}
}

// buildSettings bound what making images takes.
type buildSettings struct {
	Jobs    int
	CPU     int
	Memory  int // GiB, as Disk and Cache
	Disk    int
	Cache   int
	Images  int // all of them
	Timeout time.Duration
}

// The isolations that a server can offer.
const (
	isolationGVisor = "gvisor"
	isolationRunc   = "runc"
	isolationFake   = "fake"
)

const defaultData = "/var/lib/daytona"

// declare returns the settings with their defaults, and the options that read
// them: the one table behind flags, environment, configuration file and help.
func declare() (*settings, *options.Set) {
	s := &settings{
		Data: defaultData, Listen: "127.0.0.1:3986", ProxyDomain: "proxy.localhost",
		PreviewWarning: true, PreviewIdle: 15 * time.Minute,
		LogLevel: "info", LogFormat: "text", CreateBudget: 2 * time.Second, ShutdownTimeout: 10 * time.Second,
		Region: "us", DefaultSnapshot: "daytona-slim", Quota: org.DefaultQuota(),
		UploadBudget: 50, UploadLimit: 20, PushLimit: 50, KeepPushed: 7 * 24 * time.Hour,
		Rates:     rateSettings{Organization: 120000, Key: 60000, Create: 3000, Lifecycle: 30000, List: 12000, FailedAuth: 300},
		Build:     buildSettings{CPU: 2, Memory: 4, Disk: 20, Timeout: time.Hour, Cache: 20},
		Isolation: isolationGVisor, GVisorPlatform: "systrap", CgroupParent: "/daytona", Disk: "auto", NetworkPrefix: "dtn",
	}
	set := options.New("DAYTONA_")
	set.Add(
		options.Option{Group: "Server", Name: "data", NotInFile: true, Value: options.String(&s.Data),
			Help: "directory for everything that is kept", Check: notEmpty(&s.Data)},
		options.Option{Group: "Server", Name: "config", NotInFile: true, Value: options.String(&s.Config),
			Help: "YAML file with options by these names (default <data>/config.yaml if it exists)"},
		options.Option{Group: "Server", Name: "listen", Value: options.String(&s.Listen),
			Help: "host:port to serve on; port 0 takes a free one", Check: func() error { return checkAddress(s.Listen) }},
		options.Option{Group: "Server", Name: "public-url", Value: options.String(&s.PublicURL),
			Help: "origin at which clients reach the server (default http://<listen>)", Check: func() error { return checkOrigin(s.PublicURL) }},
		options.Option{Group: "Server", Name: "proxy-domain", Value: options.String(&s.ProxyDomain),
			Help:  "host below which previews live, as {port}-{sandbox}.<host>; without a port that of the public URL counts",
			Check: notEmpty(&s.ProxyDomain)},
		options.Option{Group: "Previews", Name: "proxy-template", Value: options.String(&s.ProxyTemplate),
			Help:  "address of previews with {{PORT}} and {{sandboxId}}, in the place of --proxy-domain",
			Check: func() error { return checkTemplate(s.ProxyTemplate) }},
		options.Option{Group: "Previews", Name: "preview-warning", Value: options.Bool(&s.PreviewWarning),
			Help: "show browsers a warning before the first preview"},
		options.Option{Group: "Previews", Name: "preview-idle", Value: options.Duration(&s.PreviewIdle),
			Help: "how long an open connection without data keeps a sandbox from its auto-stop", Check: options.Positive(&s.PreviewIdle)},
		options.Option{Group: "Previews", Name: "trusted-proxies", Value: options.Strings(&s.TrustedProxies),
			Help: "addresses, as CIDRs, of proxies in front of this server whose X-Forwarded-For is believed", Check: func() error { return checkCIDRs(s.TrustedProxies) }},
		options.Option{Group: "TLS", Name: "tls-cert", Value: options.String(&s.TLS.Cert),
			Help: "PEM file with the certificate of the server's names, the wildcard of previews among them; read again when it changes", Check: func() error { return s.TLS.check() }},
		options.Option{Group: "TLS", Name: "tls-key", Value: options.String(&s.TLS.Key), Help: "PEM file with its key"},
		options.Option{Group: "TLS", Name: "acme", Value: options.String(&s.TLS.ACME),
			Help: "get certificates by ACME: letsencrypt, whose terms you then agree to, or the directory of another authority"},
		options.Option{Group: "TLS", Name: "acme-email", Value: options.String(&s.TLS.Email), Help: "whom the authority writes to"},
		options.Option{Group: "TLS", Name: "acme-dns-hook", Value: options.String(&s.TLS.Hook),
			Help: "program that sets TXT records, for wildcards; run as: HOOK present|cleanup NAME VALUE"},
		options.Option{Group: "TLS", Name: "acme-roots", Value: options.String(&s.TLS.Roots),
			Help: "PEM file with the authorities by which the ACME directory is trusted (default those of the system)"},
		options.Option{Group: "SSH", Name: "ssh-listen", Value: options.String(&s.SSHListen),
			Help:  "host:port at which people log in to sandboxes by SSH, or off (default port 2222 of the host of --listen, or a free port if it is taken)",
			Check: func() error { return checkSSHListen(s.SSHListen) }},
		options.Option{Group: "SSH", Name: "ssh-host", Value: options.String(&s.SSHHost),
			Help: "host, or host:port, that people are told for SSH (default that of the public URL)"},
		options.Option{Group: "SSH", Name: "ssh-host-key", Value: options.String(&s.SSHHostKey),
			Help: "file with the SSH host key; made if there is none (default <data>/ssh_host_key)"},
		options.Option{Group: "Server", Name: "database", Value: options.String(&s.Database),
			Help: "postgres:// address (default SQLite in the data directory)", Check: func() error { return checkDatabase(s.Database) }},
		options.Option{Group: "Server", Name: "bootstrap-key-file", Value: options.String(&s.KeyFile),
			Help: "file for the API key that the first start makes; a key that is in it already is used (default <data>/admin.key)"},
		options.Option{Group: "Server", Name: "encryption-key-file", Value: options.String(&s.EncryptionFile),
			Help: "file with the keys that seal passwords in the database, the newest first (default <data>/encryption.keys, made by the first start)"},
		options.Option{Group: "Server", Name: "encryption-keys", Value: options.String(&s.EncryptionKeys),
			Help: "those keys themselves, 32 bytes each in base64, separated by commas; better in the variable than in a flag", Check: s.checkEncryption},
		options.Option{Group: "Server", Name: "create-budget", Value: options.Duration(&s.CreateBudget),
			Help: "how long create, start, stop and delete wait for the outcome before they answer", Check: options.Positive(&s.CreateBudget)},
		options.Option{Group: "Server", Name: "shutdown-timeout", Value: options.Duration(&s.ShutdownTimeout),
			Help: "how long requests may go on after the server was told to end", Check: options.Positive(&s.ShutdownTimeout)},
		options.Option{Group: "Server", Name: "log-level", Value: options.String(&s.LogLevel),
			Help: "debug, info, warn or error", Check: options.OneOf(&s.LogLevel, "debug", "info", "warn", "error")},
		options.Option{Group: "Server", Name: "log-format", Value: options.String(&s.LogFormat),
			Help: "text or json", Check: options.OneOf(&s.LogFormat, "text", "json")},
		options.Option{Group: "Server", Name: "pprof", Value: options.String(&s.Pprof),
			Help: "loopback host:port for profiles of the server itself (default off)", Check: func() error { return checkLoopback(s.Pprof) }},

		options.Option{Group: "Organizations", Name: "region", Value: options.String(&s.Region),
			Help: "id of this server's region", Check: notEmpty(&s.Region)},
		options.Option{Group: "Organizations", Name: "default-snapshot", Value: options.String(&s.DefaultSnapshot),
			Help: "snapshot for requests that name none", Check: notEmpty(&s.DefaultSnapshot)},
		quota("quota-cpu", "vCPUs in use, for a new organization", &s.Quota.TotalCPU),
		quota("quota-memory", "GiB of memory in use, for a new organization", &s.Quota.TotalMemoryGiB),
		quota("quota-disk", "GiB of disk in use, for a new organization", &s.Quota.TotalDiskGiB),
		quota("quota-sandbox-cpu", "vCPUs of one sandbox at most", &s.Quota.MaxCPU),
		quota("quota-sandbox-memory", "GiB of memory of one sandbox at most", &s.Quota.MaxMemoryGiB),
		quota("quota-sandbox-disk", "GiB of disk of one sandbox at most", &s.Quota.MaxDiskGiB),
		quota("quota-snapshots", "snapshots, for a new organization", &s.Quota.Snapshots),
		quota("quota-snapshot-size", "GB of one snapshot at most", &s.Quota.MaxSnapshotSizeGB),
		quota("quota-volumes", "volumes, for a new organization", &s.Quota.Volumes),
		quota("rate-limit", "requests a minute of one organization, without those to toolboxes; 0, here and below: no limit", &s.Rates.Organization),
		quota("rate-limit-key", "requests a minute with one API key", &s.Rates.Key),
		quota("rate-limit-create", "requests a minute of one organization that create sandboxes", &s.Rates.Create),
		quota("rate-limit-lifecycle", "requests a minute of one organization that start, stop, delete and otherwise change sandboxes", &s.Rates.Lifecycle),
		quota("rate-limit-list", "requests a minute of one organization that list sandboxes", &s.Rates.List),
		quota("rate-limit-failed-auth", "requests a minute from one address with credentials that are not valid", &s.Rates.FailedAuth),

		options.Option{Group: "Storage", Name: "storage-url", Value: options.String(&s.StorageURL),
			Help: "origin at which clients reach object storage (default that of the server; over TLS for clients that refuse plain HTTP)", Check: func() error { return checkOrigin(s.StorageURL) }},
		options.Option{Group: "Storage", Name: "s3-bucket", Value: options.String(&s.S3.Bucket),
			Help: "bucket of an S3 in which objects are kept (default a store in the data directory)", Check: s.checkS3},
		options.Option{Group: "Storage", Name: "s3-endpoint", Value: options.String(&s.S3.Endpoint),
			Help: "origin of that S3 (default Amazon's of the region)", Check: func() error { return checkOrigin(s.S3.Endpoint) }},
		options.Option{Group: "Storage", Name: "s3-region", Value: options.String(&s.S3.Region), Help: "its region (default us-east-1)"},
		options.Option{Group: "Storage", Name: "s3-access-key", Value: options.String(&s.S3.Key), Help: "access key for it"},
		options.Option{Group: "Storage", Name: "s3-secret-key", Value: options.String(&s.S3.Secret), Help: "secret key for it; better in the variable or the file than in a flag"},

		options.Option{Group: "Storage", Name: "upload-budget", Value: options.Int(&s.UploadBudget),
			Help: "GiB that files for builds may take; what no snapshot and no image needs goes beyond that, the least recently used first; 0 is no limit", Check: options.AtLeast(&s.UploadBudget, 0)},
		options.Option{Group: "Storage", Name: "upload-limit", Value: options.Int(&s.UploadLimit),
			Help: "GiB of files for builds that one organization may have; 0 is no limit", Check: options.AtLeast(&s.UploadLimit, 0)},
		options.Option{Group: "Storage", Name: "push-limit", Value: options.Int(&s.PushLimit),
			Help: "GiB of pushed images that one organization may have; 0 is no limit", Check: options.AtLeast(&s.PushLimit, 0)},
		options.Option{Group: "Storage", Name: "keep-pushed", Value: options.Duration(&s.KeepPushed),
			Help: "how long an image that a client pushed stays when no snapshot and no image needs it; 0 is for ever"},
		options.Option{Group: "Storage", Name: "backup-every", Value: options.Duration(&s.BackupEvery),
			Help: "how often sandboxes that run are backed up to object storage unasked, such as 1h, and once when they have stopped; 0 is never", Check: func() error {
				if s.BackupEvery != 0 && s.BackupEvery < time.Minute {
					return errors.New("must be 0 or at least 1m")
				}
				return nil
			}},

		options.Option{Group: "Sandboxes", Name: "isolation", Value: options.String(&s.Isolation),
			Help:  "what guards a sandbox by default: gvisor or runc (fake guards nothing: for tests of programs that call the API)",
			Check: options.OneOf(&s.Isolation, isolationGVisor, isolationRunc, isolationFake)},
		options.Option{Group: "Sandboxes", Name: "isolations", Value: options.Strings(&s.Isolations),
			Help: "isolations on offer beside the default, such as gvisor,runc", Check: s.checkIsolations},
		options.Option{Group: "Sandboxes", Name: "warm", Value: options.Map(&s.Warm, options.Count),
			Help: "booted sandboxes to keep ready, by snapshot and, other than 1-1-3, size in vCPUs, GiB of memory and of disk, such as daytona-slim=4,daytona-slim@2-4-10=1 (default two of the default snapshot, none with isolation fake)"},
		options.Option{Group: "Sandboxes", Name: "runsc", Value: options.String(&s.Runsc),
			Help: "path of gVisor's runsc (default beside this program, then PATH)"},
		options.Option{Group: "Sandboxes", Name: "gvisor-platform", Value: options.String(&s.GVisorPlatform),
			Help: "systrap works everywhere; kvm is faster on bare metal", Check: options.OneOf(&s.GVisorPlatform, "systrap", "kvm", "ptrace")},
		options.Option{Group: "Sandboxes", Name: "runc", Value: options.String(&s.Runc),
			Help: "path of runc (default beside this program, then PATH)"},
		options.Option{Group: "Sandboxes", Name: "runc-allow-new-privileges", Value: options.Bool(&s.RuncPrivileges),
			Help: "let sudo work under runc, within the sandbox's own user namespace"},
		options.Option{Group: "Sandboxes", Name: "toolbox", Value: options.String(&s.Toolbox),
			Help: "path of the program that serves inside sandboxes (default beside this program, then PATH)"},
		options.Option{Group: "Sandboxes", Name: "cgroup-parent", Value: options.String(&s.CgroupParent),
			Help: "control group in which sandboxes get theirs", Check: func() error { return checkCgroup(s.CgroupParent) }},
		options.Option{Group: "Sandboxes", Name: "disk", Value: options.String(&s.Disk),
			Help: "kind of writable layer: auto probes, loop or btrfs", Check: options.OneOf(&s.Disk, "auto", "loop", "btrfs")},

		options.Option{Group: "Images", Name: "snapshots", Value: options.Strings(&s.Snapshots),
			Help:  "snapshots that the server makes itself: daytona-slim, daytona-desktop for computer use, which takes a minute or more and 300 MB, and daytona-full with many Python packages, see docs/default-snapshots.md (default daytona-slim)",
			Check: func() error { _, err := images.Named(s.Snapshots...); return err }},
		options.Option{Group: "Images", Name: "base-image", Value: options.String(&s.BaseImage),
			Help: "image from which the default snapshot is made (default that of its definition)"},
		options.Option{Group: "Images", Name: "registry-mirror", Value: options.Map(&s.RegistryMirrors, func(v string) (string, error) { return v, checkMirror(v) }),
			Help: "mirror to ask first, by registry host, such as docker.io=https://mirror.example.org"},

		options.Option{Group: "Images", Name: "image-jobs", Value: options.Int(&s.Build.Jobs),
			Help: "images pulled or built at the same time; the rest wait their turn, one organization after the other (default half the processors, at least 2)", Check: options.AtLeast(&s.Build.Jobs, 0)},
		options.Option{Group: "Images", Name: "build-cpu", Value: options.Int(&s.Build.CPU),
			Help: "vCPUs of one step of a build", Check: options.AtLeast(&s.Build.CPU, 1)},
		options.Option{Group: "Images", Name: "build-memory", Value: options.Int(&s.Build.Memory),
			Help: "GiB of memory of one step of a build", Check: options.AtLeast(&s.Build.Memory, 1)},
		options.Option{Group: "Images", Name: "build-disk", Value: options.Int(&s.Build.Disk),
			Help: "GiB that one step of a build may write, and that its context may take", Check: options.AtLeast(&s.Build.Disk, 1)},
		options.Option{Group: "Images", Name: "build-timeout", Value: options.Duration(&s.Build.Timeout),
			Help: "how long one build may take"},
		options.Option{Group: "Images", Name: "build-cache", Value: options.Int(&s.Build.Cache),
			Help: "GiB that the build cache may hold beyond what images use; what was used least recently goes first", Check: options.AtLeast(&s.Build.Cache, 1)},

		options.Option{Group: "Images", Name: "image-budget", Value: options.Int(&s.Build.Images),
			Help: "GiB that images may take on a runner; what no snapshot and no sandbox needs goes beyond that, the least recently used first (default no limit but 24 hours)", Check: options.AtLeast(&s.Build.Images, 0)},

		options.Option{Group: "Network", Name: "network-prefix", Value: options.String(&s.NetworkPrefix),
			Help: "start of the names of network devices, namespaces and firewall tables: 1 to 6 letters a-z", Check: func() error { return checkPrefix(s.NetworkPrefix) }},
		options.Option{Group: "Network", Name: "network-range", Value: options.String(&s.NetworkRange),
			Help: "IPv4 range, as a CIDR, from which the host addresses sandboxes (default 10.211.0.0/16, or another by the prefix)", Check: func() error { return checkRange(s.NetworkRange, false) }},
		options.Option{Group: "Network", Name: "network-range6", Value: options.String(&s.NetworkRange6),
			Help: "the same for IPv6 (default one of fd64:6179::/32)", Check: func() error { return checkRange(s.NetworkRange6, true) }},
		options.Option{Group: "Network", Name: "allow-private", Value: options.Strings(&s.AllowPrivate),
			Help: "private ranges, as CIDRs, that sandboxes may reach (default none)", Check: func() error { return checkCIDRs(s.AllowPrivate) }},
		options.Option{Group: "Network", Name: "dns", Value: options.Strings(&s.DNS),
			Help: "name servers that answer for sandboxes (default those of the host)", Check: func() error { return checkServers(s.DNS) }},
	)
	return s, set
}

func quota(name, help string, p *int) options.Option {
	return options.Option{Group: "Organizations", Name: name, Help: help, Value: options.Int(p), Check: options.AtLeast(p, 0)}
}

// defaultWarm is how many sandboxes of the default snapshot wait booted where
// the operator does not say.
const defaultWarm = 2

// warm is how many sandboxes of each snapshot wait booted.
func (s *settings) warm() map[string]int {
	if s.Warm == nil && s.Isolation != isolationFake { // those would be processes of this user
		return map[string]int{s.DefaultSnapshot: defaultWarm}
	}
	return s.Warm
}

// offered lists the isolations, the default first.
func (s *settings) offered() []string {
	out := []string{s.Isolation}
	for _, name := range s.Isolations {
		if !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

// checkS3 wants all of an S3 or nothing.
func (s *settings) checkS3() error {
	switch {
	case s.S3.Bucket == "" && (s.S3.Endpoint != "" || s.S3.Key != "" || s.S3.Secret != ""):
		return errors.New("is needed with the other options of an S3")
	case s.S3.Bucket != "" && (s.S3.Key == "" || s.S3.Secret == ""):
		return errors.New("needs s3-access-key and s3-secret-key")
	}
	return nil
}

func (s *settings) checkIsolations() error {
	for _, name := range s.Isolations {
		if name != isolationGVisor && name != isolationRunc && name != isolationFake {
			return fmt.Errorf("%q is not one of gvisor, runc, fake", name)
		}
	}
	if all := s.offered(); slices.Contains(all, isolationFake) && len(all) > 1 {
		return errors.New("fake cannot be offered beside an isolation that guards")
	}
	return nil
}

func notEmpty(p *string) func() error {
	return func() error {
		if strings.TrimSpace(*p) == "" {
			return errors.New("must not be empty")
		}
		return nil
	}
}

func checkAddress(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("%q is not of the form host:port", address)
	}
	if n, err := net.DefaultResolver.LookupPort(context.Background(), "tcp", port); err != nil || n < 0 || n > 65535 {
		return fmt.Errorf("%q has no valid port", address)
	}
	if strings.ContainsAny(host, " /") {
		return fmt.Errorf("%q has no valid host", address)
	}
	return nil
}

func checkLoopback(address string) error {
	if address == "" {
		return nil
	}
	if err := checkAddress(address); err != nil {
		return err
	}
	host, _, _ := net.SplitHostPort(address)
	if ip, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !ip.IsLoopback()) {
		return fmt.Errorf("%q is not a loopback address: profiles must not be reachable from elsewhere", address)
	}
	return nil
}

func checkOrigin(text string) error {
	if text == "" {
		return nil
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		return fmt.Errorf("%q is not an origin such as https://daytona.example.org", text)
	case strings.TrimRight(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil:
		return fmt.Errorf("%q must be an origin alone, without path, query or user; the API is served below it at /api", text)
	}
	return nil
}

func checkSSHListen(text string) error {
	if text == "" || text == sshOff {
		return nil
	}
	return checkAddress(text)
}

func checkTemplate(text string) error {
	if text == "" {
		return nil
	}
	_, err := proxyapi.ParseTemplate(text)
	return err
}

func checkDatabase(dsn string) error {
	if dsn == "" || strings.HasPrefix(dsn, "postgres://") || strings.HasPrefix(dsn, "postgresql://") {
		return nil
	}
	return errors.New("must start with postgres:// or be empty for SQLite") // the value may hold a password
}

func checkCgroup(path string) error {
	if path == "" || path == "/" || strings.Contains(path, "..") || strings.ContainsAny(path, " \n:") {
		return fmt.Errorf("%q is not the path of a control group", path)
	}
	return nil
}

var networkPrefix = regexp.MustCompile(`^[a-z]{1,6}$`)

func checkPrefix(text string) error {
	if !networkPrefix.MatchString(text) {
		return fmt.Errorf("%q is not 1 to 6 letters a-z", text)
	}
	return nil
}

// checkRange accepts an empty text, which leaves the choice to the network.
func checkRange(text string, v6 bool) error {
	if text == "" {
		return nil
	}
	if p, err := netip.ParsePrefix(text); err != nil || p.Addr().Is6() != v6 {
		return fmt.Errorf("%q is not an %s range such as %s", text, map[bool]string{false: "IPv4", true: "IPv6"}[v6], map[bool]string{false: "10.99.0.0/16", true: "fd12:3456::/64"}[v6])
	}
	return nil
}

func checkMirror(text string) error {
	if u, err := url.Parse(text); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return fmt.Errorf("%q is not an http or https URL", text)
	}
	return nil
}

func checkCIDRs(texts []string) error {
	for _, text := range texts {
		if _, err := netip.ParsePrefix(text); err != nil {
			return fmt.Errorf("%q is not a range such as 10.1.0.0/16", text)
		}
	}
	return nil
}

// trusted are the proxies in front of this server.
func (s *settings) trusted() []netip.Prefix {
	var out []netip.Prefix
	for _, text := range s.TrustedProxies {
		out = append(out, netip.MustParsePrefix(text)) // checked
	}
	return out
}

func checkServers(texts []string) error {
	for _, text := range texts {
		if _, err := netip.ParseAddr(text); err == nil {
			continue
		}
		if _, err := netip.ParseAddrPort(text); err != nil {
			return fmt.Errorf("%q is not an address, or an address with a port", text)
		}
	}
	return nil
}

func (s *settings) checkEncryption() error {
	if s.EncryptionKeys == "" {
		return nil
	}
	_, err := keyring.Parse(s.EncryptionKeys)
	return err
}

// keys are those that seal secrets in the database.
func (s *settings) keys() (*keyring.Ring, error) {
	if s.EncryptionKeys != "" {
		return keyring.Parse(s.EncryptionKeys)
	}
	if s.EncryptionFile != "" {
		return keyring.OpenFile(s.EncryptionFile)
	}
	return keyring.OpenFile(filepath.Join(s.Data, "encryption.keys"))
}
