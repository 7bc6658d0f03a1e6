package certs

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"daytona/internal/localca"
	"daytona/internal/tlsport"
)

// pebble is an authority for tests: Let's Encrypt's own.
type pebble struct {
	directory, roots string // its address, and by which authority it is trusted
	issuer           *x509.CertPool
}

// startPebble starts bin/pebble, which looks at TLS challenges at a port and asks
// a name server.
func startPebble(t *testing.T, tlsPort int, nameServer string) pebble {
	t.Helper()
	program, err := filepath.Abs("../../bin/pebble")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(program); err != nil {
		t.Skip("there is no bin/pebble: run make bin/pebble")
	}
	dir := t.TempDir()
	authority, err := localca.Open(dir, []string{"127.0.0.1"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := authority.Certificate(&tls.ClientHelloInfo{})
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(leaf.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	listen, manage := freeAddress(t), freeAddress(t)
	config, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": listen, "managementListenAddress": manage, "tlsPort": tlsPort, "httpPort": 1, "keyAlgorithm": "ecdsa",
		"certificate": filepath.Join(dir, "leaf.pem"), "privateKey": filepath.Join(dir, "leaf.key"),
		"retryAfter": map[string]int{"authz": 1, "order": 1},
	}})
	if err != nil {
		t.Fatal(err)
	}
	var chain []byte
	for _, c := range leaf.Certificate {
		chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c})...)
	}
	for name, data := range map[string][]byte{
		"leaf.pem": chain, "leaf.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), "config.json": config,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), program, "-config", filepath.Join(dir, "config.json"), "-strict", "-dnsserver", nameServer)
	cmd.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1", "PEBBLE_WFE_NONCEREJECT=0")
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("pebble said:\n%s", said.String())
		}
	})
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(authority.PEM())
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trusted, MinVersion: tls.VersionTLS12}}}
	defer client.CloseIdleConnections()
	p := pebble{directory: "https://" + listen + "/dir", roots: filepath.Join(dir, localca.CertFile), issuer: x509.NewCertPool()}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		answer, err := get(t, client, "https://"+manage+"/roots/0")
		if err == nil {
			text, err := io.ReadAll(answer.Body)
			answer.Body.Close()
			if err != nil || !p.issuer.AppendCertsFromPEM(text) {
				t.Fatalf("pebble's root: %v %q", err, text)
			}
			return p
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

func get(t *testing.T, c *http.Client, address string) (*http.Response, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c.Do(req)
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// startNames starts a name server: every name leads here, and TXT records are
// the lines of files in a directory.
func startNames(t *testing.T, dir string) string {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &dns.Server{Listener: listener, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg)
		m.SetReply(q)
		name, head := q.Question[0].Name, dns.RR_Header{Name: q.Question[0].Name, Rrtype: q.Question[0].Qtype, Class: dns.ClassINET}
		switch q.Question[0].Qtype {
		case dns.TypeA:
			m.Answer = append(m.Answer, &dns.A{Hdr: head, A: net.IPv4(127, 0, 0, 1)})
		case dns.TypeTXT:
			text, _ := os.ReadFile(filepath.Join(dir, strings.TrimSuffix(name, "."))) // #nosec G304 -- of a test
			for value := range strings.FieldsSeq(string(text)) {
				m.Answer = append(m.Answer, &dns.TXT{Hdr: head, Txt: []string{value}})
			}
		}
		_ = w.WriteMsg(m)
	})}
	ready := make(chan struct{})
	server.NotifyStartedFunc = func() { close(ready) }
	go func() { _ = server.ActivateAndServe() }()
	<-ready
	t.Cleanup(func() { _ = server.Shutdown() })
	return listener.Addr().String()
}

const hookScript = `#!/bin/sh
case "$1" in
present) echo "$3" >> "%[1]s/$2" ;;
cleanup) grep -v "^$3\$" "%[1]s/$2" > "%[1]s/.new"; mv "%[1]s/.new" "%[1]s/$2" ;;
*) exit 1 ;;
esac
`

// TestACME gets certificates from a real authority: by TXT records, the wildcard
// of previews among them, and by the connection itself.
func TestACME(t *testing.T) {
	for _, tt := range []struct {
		name  string
		hook  bool
		names []string
		ask   []string
	}{
		{"TXT records", true, []string{"daytona.example.org", "*.preview.example.org"}, []string{"daytona.example.org", "3000-0f3c.preview.example.org", "22222-77.preview.example.org"}},
		{"connection", false, []string{"daytona.example.org"}, []string{"daytona.example.org"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inner, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			port := inner.Addr().(*net.TCPAddr).Port
			records := t.TempDir()
			authority := startPebble(t, port, startNames(t, records))
			log := &logBuffer{}
			c := ACMEConfig{
				Directory: authority.directory, Roots: authority.roots, Email: "operator@example.org", Names: tt.names, Port: port,
				Dir: filepath.Join(t.TempDir(), "acme"), Log: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
			}
			if tt.hook {
				c.Hook = filepath.Join(t.TempDir(), "hook")
				if err := os.WriteFile(c.Hook, fmt.Appendf(nil, hookScript, records), 0o700); err != nil { // #nosec G306 -- a program
					t.Fatal(err)
				}
			}
			serve := func() (end func()) {
				source, err := ACME(c)
				if err != nil {
					t.Fatal(err)
				}
				if inner == nil {
					if inner, err = new(net.ListenConfig).Listen(t.Context(), "tcp", fmt.Sprintf("127.0.0.1:%d", port)); err != nil {
						t.Fatal(err)
					}
				}
				protocols := new(http.Protocols)
				protocols.SetHTTP1(true)
				protocols.SetHTTP2(true)
				server := &http.Server{ReadHeaderTimeout: time.Minute, Protocols: protocols, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					_, _ = io.WriteString(w, r.Proto+" "+r.TLS.ServerName)
				})}
				listener := tlsport.New(inner, source.TLS(), "", c.Log)
				go func() { _ = server.Serve(listener) }()
				ctx, cancel := context.WithCancel(t.Context())
				ended := make(chan error, 1)
				go func() { ended <- source.Run(ctx) }()
				return func() {
					_ = server.Close()
					cancel()
					if err := <-ended; err != nil {
						t.Error(err)
					}
					inner = nil
				}
			}
			end := serve()
			first := map[string]string{}
			for _, name := range tt.ask {
				first[name] = ask(t, authority.issuer, port, name, log)
			}
			end()
			if entries, _ := filepath.Glob(filepath.Join(records, "*")); tt.hook {
				for _, file := range entries {
					if text, err := os.ReadFile(file); err != nil || len(text) > 0 { // #nosec G304 -- of a test
						t.Errorf("records stay behind: %s %q %v", file, text, err)
					}
				}
			}
			// A restart uses what there is.
			end = serve()
			defer end()
			for _, name := range tt.ask {
				if again := ask(t, authority.issuer, port, name, log); again != first[name] {
					t.Errorf("%s: another certificate after a restart", name)
				}
			}
		})
	}
}

// ask asks by HTTP/2 for a name until its certificate is there, and returns the
// certificate's serial number.
func ask(t *testing.T, roots *x509.CertPool, port int, name string, log *logBuffer) string {
	t.Helper()
	transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: name, MinVersion: tls.VersionTLS12}}
	defer transport.CloseIdleConnections()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		answer, err := get(t, &http.Client{Transport: transport}, fmt.Sprintf("https://127.0.0.1:%d/", port))
		if err == nil {
			text, err := io.ReadAll(answer.Body)
			answer.Body.Close()
			if err != nil || string(text) != "HTTP/2.0 "+name {
				t.Errorf("%s: %q, %v", name, text, err)
			}
			return answer.TLS.PeerCertificates[0].SerialNumber.String()
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v\n%s", name, err, log)
		}
	}
}

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}
func (b *logBuffer) String() string { b.mu.Lock(); defer b.mu.Unlock(); return b.b.String() }
