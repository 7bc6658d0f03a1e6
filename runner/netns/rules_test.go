package netns

import (
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/nftables/expr"

	"daytona/internal/fault"
)

var testPlan = plan{
	prefix: "test", v6: true,
	outer4: netip.MustParsePrefix("10.211.0.0/16"), outer6: netip.MustParsePrefix("fd64:6179:7400::/64"),
}

func TestBaseDecision(t *testing.T) {
	opened := prefixes("172.20.0.0/16", "fd99::/16", "10.0.0.0/8", "169.254.0.0/16", "fe80::/10")
	tests := []struct {
		to           string
		plain, allow verdict // without and with ranges opened by the operator
	}{
		{"1.1.1.1", pass, pass},
		{"45.66.77.88", pass, pass},
		{"2606:4700::1111", pass, pass},
		{"64:ff9b::101:101", pass, pass},
		{"11.0.0.0", pass, pass},
		{"172.32.0.1", pass, pass},
		{"100.128.0.1", pass, pass},
		{"10.1.2.3", refuse, pass},
		{"172.20.3.4", refuse, pass},
		{"fd99::1", refuse, pass},
		{"172.16.0.1", refuse, refuse},
		{"172.31.255.255", refuse, refuse},
		{"192.168.1.1", refuse, refuse},
		{"100.64.0.1", refuse, refuse},
		{"198.18.0.1", refuse, refuse},
		{"198.19.255.255", refuse, refuse},
		{"240.0.0.1", refuse, refuse},
		{"fc00::1", refuse, refuse},
		{"2002:a00:1::1", refuse, refuse},
		{"64:ff9b::a01:203", refuse, refuse}, // 10.1.2.3 by NAT64
		{"64:ff9b::a9fe:a9fe", refuse, refuse},
		// never, whatever the operator says
		{"0.0.0.0", refuse, refuse},
		{"127.0.0.1", refuse, refuse},
		{"169.254.169.254", refuse, refuse},
		{"100.100.100.200", refuse, refuse},
		{"168.63.129.16", refuse, refuse},
		{"224.0.0.1", refuse, refuse},
		{"255.255.255.255", refuse, refuse},
		{"::1", refuse, refuse},
		{"::ffff:1.1.1.1", refuse, refuse},
		{"fe80::1", refuse, refuse},
		{"ff02::1", refuse, refuse},
		{"fd00:ec2::254", refuse, refuse},
		// other sandboxes
		{"10.211.0.1", refuse, refuse},
		{"10.211.0.2", refuse, refuse},
		{"10.211.255.255", refuse, refuse},
		{"10.200.0.2", refuse, refuse},
		{"fd64:6179:7400::2:1", refuse, refuse},
		{"fd64:6179:61::2", refuse, refuse},
	}
	plain, allow := baseDecision(testPlan, nil), baseDecision(testPlan, opened)
	for _, tt := range tests {
		to := netip.MustParseAddr(tt.to)
		if got := plain.of(to); got != tt.plain {
			t.Errorf("%s: verdict %d, want %d", tt.to, got, tt.plain)
		}
		if got := allow.of(to); got != tt.allow {
			t.Errorf("%s with opened ranges: verdict %d, want %d", tt.to, got, tt.allow)
		}
	}
}

func TestPolicyDecision(t *testing.T) {
	tests := []struct {
		policy Policy
		pass   []string
		refuse []string
	}{
		{Policy{}, []string{"1.1.1.1", "2606:4700::1111"}, nil},
		{Policy{BlockAll: true}, nil, []string{"1.1.1.1", "2606:4700::1111"}},
		{Policy{BlockAll: true, AllowList: []string{"1.1.1.0/24"}}, nil, []string{"1.1.1.1"}},
		{Policy{AllowList: []string{"1.1.1.0/24", "8.8.8.8"}}, []string{"1.1.1.1", "1.1.1.255", "8.8.8.8"}, []string{"1.1.2.1", "8.8.8.9", "2606:4700::1111"}},
		{Policy{AllowList: []string{"0.0.0.0/0"}}, []string{"1.1.1.1"}, []string{"2606:4700::1111"}},
	}
	for _, tt := range tests {
		pol, err := normalize(tt.policy)
		if err != nil {
			t.Errorf("%+v: %v", tt.policy, err)
		}
		d := policyDecision(pol)
		for _, a := range tt.pass {
			if d.of(netip.MustParseAddr(a)) != pass {
				t.Errorf("%+v refuses %s", tt.policy, a)
			}
		}
		for _, a := range tt.refuse {
			if d.of(netip.MustParseAddr(a)) != refuse {
				t.Errorf("%+v lets %s pass", tt.policy, a)
			}
		}
	}
}

func TestNormalize(t *testing.T) {
	tests := []struct {
		in   []string
		want []string
		bad  bool
	}{
		{nil, nil, false},
		{[]string{"8.8.8.8", "1.1.1.7/24", "1.1.1.0/24"}, []string{"1.1.1.0/24", "8.8.8.8/32"}, false},
		{[]string{" 1.1.1.1/32 "}, []string{"1.1.1.1/32"}, false},
		{[]string{"2606:4700::/32"}, []string{"2606:4700::/32"}, false},
		{[]string{""}, nil, true},
		{[]string{"1.1.1.1/33"}, nil, true},
		{[]string{"example.org"}, nil, true},
		{[]string{"::ffff:1.1.1.1/120"}, nil, true},
		{[]string{"fe80::1%eth0"}, nil, true},
		{slices.Repeat([]string{"1.1.1.1"}, maxAllowList+1), nil, true},
	}
	for _, tt := range tests {
		got, err := normalize(Policy{AllowList: tt.in})
		if tt.bad {
			if !fault.Is(err, fault.Invalid) {
				t.Errorf("%q: %v, want a fault", tt.in, err)
			}
			continue
		}
		if err != nil || !slices.Equal(got.AllowList, tt.want) {
			t.Errorf("%q: %q, %v; want %q", tt.in, got.AllowList, err, tt.want)
		}
	}
}

func TestNarrows(t *testing.T) {
	open, block := Policy{}, Policy{BlockAll: true}
	one, two := Policy{AllowList: []string{"1.1.1.1/32"}}, Policy{AllowList: []string{"1.1.1.1/32", "8.8.8.8/32"}}
	tests := []struct {
		old, new Policy
		want     bool
	}{
		{open, open, false}, {open, block, true}, {open, one, true},
		{block, open, false}, {block, block, false}, {block, one, false},
		{one, open, false}, {one, block, true}, {one, two, false}, {two, one, true},
	}
	for _, tt := range tests {
		if got := narrows(tt.old, tt.new); got != tt.want {
			t.Errorf("%v to %v: %v", tt.old, tt.new, got)
		}
	}
}

// TestDecisionRules checks that the kernel is given the steps in order, and
// the fallback last.
func TestDecisionRules(t *testing.T) {
	d := decision{steps: []step{
		{netip.MustParsePrefix("1.1.1.0/24"), pass}, {netip.MustParsePrefix("2606::/16"), refuse}, {netip.MustParsePrefix("8.8.8.8/32"), pass},
	}, fallback: refuse}
	got := decisionRules(testPlan, d, accept)
	want := []rule{
		when(version(layout4), to(netip.MustParsePrefix("1.1.1.0/24")), accept),
		when(version(layout6), to(netip.MustParsePrefix("2606::/16")), proceed(chainRefuse)),
		when(version(layout4), to(netip.MustParsePrefix("8.8.8.8/32")), accept),
		proceed(chainRefuse),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	only4 := testPlan
	only4.v6 = false
	if got := decisionRules(only4, d, accept); len(got) != 3 {
		t.Errorf("a host without IPv6 gets %d rules", len(got))
	}
}

// TestChainsEnd checks that no packet of a slot falls through to a base
// chain's accept, and that every chain that is jumped to exists.
func TestChainsEnd(t *testing.T) {
	chains := make(map[string][]rule)
	for _, c := range append(sharedRules(testPlan, nil, 5353), slotRules(testPlan, 7, Policy{AllowList: []string{"1.1.1.1/32"}})...) {
		chains[c.chain] = c.rules
	}
	for _, name := range []string{chainToHost, chainOutbound, chainInbound, policyChain(7), chainRefuse} {
		rules := chains[name]
		last := rules[len(rules)-1]
		switch e := last[0].(type) {
		case *expr.Verdict:
			if e.Kind == expr.VerdictReturn || e.Kind == expr.VerdictJump {
				t.Errorf("chain %s goes back", name)
			}
		case *expr.Reject:
		default:
			t.Errorf("chain %s ends with %T", name, e)
		}
	}
	for name, rules := range chains {
		for _, r := range rules {
			for _, e := range r {
				if v, ok := e.(*expr.Verdict); ok && v.Chain != "" && chains[v.Chain] == nil {
					t.Errorf("chain %s goes to %s, which does not exist", name, v.Chain)
				}
			}
		}
	}
	for _, rules := range [][]rule{ingressRules(testPlan, 1), egressRules(testPlan, 1)} {
		if !reflect.DeepEqual(rules[len(rules)-1], drop) {
			t.Error("frames that are not translated are not dropped")
		}
	}
}

func TestPlan(t *testing.T) {
	if got := testPlan.gateway4(); got.String() != "10.211.0.1" {
		t.Errorf("gateway %s", got)
	}
	if got := testPlan.outer4Of(1); got.String() != "10.211.0.2" {
		t.Errorf("slot 1 is %s", got)
	}
	if got := testPlan.outer4Of(600); got.String() != "10.211.2.89" {
		t.Errorf("slot 600 is %s", got)
	}
	for _, name := range []string{"test", "test0", "test01", "testx1", "test-1", "test1x", "tes1", "test+1", "test99999999999999999999"} {
		if i, ok := testPlan.index(name); ok {
			t.Errorf("%q is taken for slot %d", name, i)
		}
	}
	if i, ok := testPlan.index("test42"); !ok || i != 42 {
		t.Errorf("test42: %d, %v", i, ok)
	}
}

// TestNeutral checks that outer IPv6 addresses are unique, in range, and weigh
// as much as the inner one.
func TestNeutral(t *testing.T) {
	seen := map[netip.Addr]bool{testPlan.gateway6(): true}
	want, gw := InnerAddr6.Addr().As16(), Gateway6.As16()
	if b := testPlan.gateway6().As16(); sum16(b[:]) != sum16(gw[:]) {
		t.Errorf("gateway %s is not neutral", testPlan.gateway6())
	}
	for _, in := range prefixes("fd64:6179:7400::/64", "fd00:ffff:ffff:ffff:ffff:ffff::/96", "2001:db8::/48") {
		p := testPlan
		p.outer6 = in
		for i := 1; i < 1<<16-2; i += 97 {
			a := p.outer6Of(i)
			b := a.As16()
			if sum16(b[:]) != sum16(want[:]) || !in.Contains(a) || seen[a] {
				t.Fatalf("slot %d in %s: %s", i, in, a)
			}
			seen[a] = true
		}
	}
}

func TestConfig(t *testing.T) {
	good := Config{Prefix: "dayt", StateDir: "/x"}
	if c, err := good.withDefaults(); err != nil || c.Max != 1000 || c.Log == nil {
		t.Errorf("%+v, %v", c, err)
	}
	for name, change := range map[string]func(*Config){
		"no prefix":        func(c *Config) { c.Prefix = "" },
		"long prefix":      func(c *Config) { c.Prefix = "toolong" },
		"digits in prefix": func(c *Config) { c.Prefix = "a1" },
		"no directory":     func(c *Config) { c.StateDir = "" },
		"inner range":      func(c *Config) { c.Outer4 = netip.MustParsePrefix("10.200.0.0/16") },
		"IPv6 as IPv4":     func(c *Config) { c.Outer4 = netip.MustParsePrefix("fd00::/64") },
		"IPv4 as IPv6":     func(c *Config) { c.Outer6 = netip.MustParsePrefix("10.0.0.0/16") },
		"too many":         func(c *Config) { c.Outer4, c.Max = netip.MustParsePrefix("10.1.0.0/24"), 254 },
		"negative":         func(c *Config) { c.Ready = -1 },
		"invalid private":  func(c *Config) { c.AllowPrivate = []netip.Prefix{{}} },
	} {
		c := good
		change(&c)
		if _, err := c.withDefaults(); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRecords(t *testing.T) {
	dir := t.TempDir()
	r, err := openRecords(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := r.close(); err != nil {
			t.Error(err)
		}
	}()
	if _, err := openRecords(dir); err == nil {
		t.Error("the directory was opened twice")
	}
	want := record{Index: 3, ID: "a", Policy: Policy{AllowList: []string{"1.1.1.1/32"}}}
	for _, rec := range []record{{Index: 3, ID: "old"}, want, {Index: 4, ID: "b"}} {
		if err := r.put(rec); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.remove(4); err != nil {
		t.Fatal(err)
	}
	if err := r.remove(4); err != nil {
		t.Errorf("removed twice: %v", err)
	}
	// What a crash may leave.
	for name, data := range map[string]string{
		"5.json": "", "6.json": `{"index":6,"id"`, "7.json": `{"index":8,"id":"x"}`, "9.json.tmp": "{", "-1.json": `{"index":-1,"id":"x"}`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := r.load()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[int]record{3: want}, got); diff != "" {
		t.Error(diff)
	}
	left, _ := filepath.Glob(filepath.Join(dir, "*"))
	if len(left) != 2 { // the record and the lock
		t.Errorf("left: %q", left)
	}
}

func TestUpstreams(t *testing.T) {
	if _, err := newUpstreams([]string{"resolver.example"}, ""); err == nil {
		t.Error("a name was taken for an address")
	}
	u, err := newUpstreams([]string{"1.1.1.1", "[2606:4700::1111]:5353", "2606:4700::1"}, "")
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(u.list(), " "); got != "1.1.1.1:53 [2606:4700::1111]:5353 [2606:4700::1]:53" {
		t.Error(got)
	}
	path := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(path, []byte("search x\nnameserver 9.9.9.9\nnameserver fd00::1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	u, err = newUpstreams(nil, path)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(u.list(), " "); got != "9.9.9.9:53 [fd00::1]:53" {
		t.Error(got)
	}
}
