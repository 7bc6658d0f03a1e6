package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/coder/websocket"
)

// previewSubject is what measures previews: our proxy beside nginx, both in front
// of the same port of the same sandbox, and the port itself.
const previewSubject = "previews"

const (
	previewPort  = 3100
	previewConns = 32
	downloadSize = 1 << 30
)

// serveInside is the program in the sandbox: this one, run with the argument
// "serve". It answers as fast as it can, so that what is in front of it shows.
func serveInside() error {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, strings.Repeat("hello world\n", 20))
	})
	mux.HandleFunc("/bytes", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(downloadSize))
		block := make([]byte, 256<<10)
		for left := downloadSize; left > 0; left -= len(block) {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	})
	mux.HandleFunc("/ws", func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true, CompressionMode: websocket.CompressionDisabled})
		if err != nil {
			return
		}
		defer func() { _ = conn.CloseNow() }()
		for {
			kind, data, err := conn.Read(r.Context())
			if err != nil || conn.Write(r.Context(), kind, data) != nil {
				return
			}
		}
	})
	server := &http.Server{Addr: fmt.Sprintf(":%d", previewPort), Handler: mux, ReadHeaderTimeout: time.Minute}
	return server.ListenAndServe()
}

// route is a way to the program.
type route struct {
	name, address, host, token string
}

func (r route) request(ctx context.Context, path string) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+r.host+path, nil)
	if err == nil && r.token != "" {
		req.Header.Set("X-Daytona-Preview-Token", r.token)
	}
	return req, err
}

func (r route) client() *http.Client {
	return &http.Client{Transport: &http.Transport{
		MaxIdleConnsPerHost: previewConns, DisableCompression: true, ReadBufferSize: 64 << 10,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, r.address)
		},
	}}
}

// previewResult are the figures of one route.
type previewResult struct {
	Requests float64 `json:"requestsPerSecond"`
	P50      float64 `json:"p50Ms"`
	P99      float64 `json:"p99Ms"`
	Download float64 `json:"downloadMiBPerSecond"`
	Messages float64 `json:"webSocketMessagesPerSecond"`
}

// measurePreviews measures each route in turn, round after round, so that what
// the machine does meanwhile hits all of them; the best round counts.
func measurePreviews(ctx context.Context, bin, dir string, quick bool, say func(string, ...any)) (results map[string]previewResult, err error) {
	s, err := startServer(ctx, bin, filepath.Join(dir, "data"), "runc", 0, say)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	id, err := s.Create(ctx, false)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Delete(context.WithoutCancel(ctx), id)) }()
	direct, err := s.serveInside(ctx, id)
	if err != nil {
		return nil, err
	}
	var link struct{ URL, Token string }
	if err := s.call(ctx, http.MethodGet, fmt.Sprintf("/api/sandbox/%s/ports/%d/preview-url", id, previewPort), nil, &link); err != nil {
		return nil, err
	}
	peerAddress, endPeer, err := startNginx(ctx, filepath.Join(dir, "nginx"), direct)
	if err != nil {
		return nil, err
	}
	defer endPeer()
	routes := []route{
		{"direct", direct, direct, ""},
		{"daytona", strings.TrimPrefix(s.url, "http://"), strings.TrimPrefix(link.URL, "http://"), link.Token},
		{"nginx", peerAddress, peerAddress, ""},
	}
	rounds, each := 5, 5*time.Second
	if quick {
		rounds, each = 2, 2*time.Second
	}
	results = map[string]previewResult{}
	for range rounds {
		for _, r := range routes {
			say("previews: %s", r.name)
			one, err := measureRoute(ctx, r, each)
			if err != nil {
				return results, fmt.Errorf("%s: %w", r.name, err)
			}
			best, had := results[r.name]
			if had {
				one.Requests, one.Download, one.Messages = max(one.Requests, best.Requests), max(one.Download, best.Download), max(one.Messages, best.Messages)
				one.P50, one.P99 = min(one.P50, best.P50), min(one.P99, best.P99)
			}
			results[r.name] = one
		}
	}
	return results, nil
}

func measureRoute(ctx context.Context, r route, each time.Duration) (previewResult, error) {
	var out previewResult
	c := r.client()
	defer c.CloseIdleConnections()
	get := func() (int64, error) {
		req, err := r.request(ctx, "/")
		if err != nil {
			return 0, err
		}
		res, err := c.Do(req)
		if err != nil {
			return 0, err
		}
		defer res.Body.Close()
		if res.StatusCode != http.StatusOK {
			return 0, errors.New(res.Status)
		}
		return io.Copy(io.Discard, res.Body)
	}
	latencies, err := hammer(each, previewConns, get)
	if err != nil {
		return out, err
	}
	out.Requests = float64(len(latencies)) / each.Seconds()
	// Latency is taken with one caller: what the way adds, not what queues add.
	single, err := hammer(each/2, 1, get)
	if err != nil {
		return out, err
	}
	out.P50, out.P99 = percentile(single, .5), percentile(single, .99)

	req, err := r.request(ctx, "/bytes")
	if err != nil {
		return out, err
	}
	began := time.Now()
	res, err := c.Do(req)
	if err != nil {
		return out, err
	}
	n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, res.Body, make([]byte, 256<<10))
	res.Body.Close()
	if err != nil || n != downloadSize {
		return out, fmt.Errorf("download: %d bytes, %w", n, err)
	}
	out.Download = float64(n) / (1 << 20) / time.Since(began).Seconds()

	socks := make(chan *websocket.Conn, previewConns)
	for range previewConns {
		req, err := r.request(ctx, "/ws")
		if err != nil {
			return out, err
		}
		conn, res, err := websocket.Dial(ctx, "ws"+strings.TrimPrefix(req.URL.String(), "http"), &websocket.DialOptions{HTTPClient: c, HTTPHeader: req.Header, CompressionMode: websocket.CompressionDisabled})
		if err != nil {
			if res != nil && res.Body != nil {
				res.Body.Close()
			}
			return out, err
		}
		defer func() { _ = conn.CloseNow() }()
		socks <- conn
	}
	message := bytes.Repeat([]byte("m"), 64)
	all, err := hammer(each, previewConns, func() (int64, error) {
		conn := <-socks
		defer func() { socks <- conn }()
		if err := conn.Write(ctx, websocket.MessageText, message); err != nil {
			return 0, err
		}
		_, got, err := conn.Read(ctx)
		return int64(len(got)), err
	})
	out.Messages = float64(len(all)) / each.Seconds()
	return out, err
}

// hammer calls do from some callers at once for a while, and returns how long
// each call took, in milliseconds.
func hammer(how time.Duration, callers int, do func() (int64, error)) ([]float64, error) {
	var mu sync.Mutex
	var took []float64
	var errs []error
	var all sync.WaitGroup
	end := time.Now().Add(how)
	for range callers {
		all.Go(func() {
			var mine []float64
			var failed error
			for failed == nil {
				began := time.Now()
				if began.After(end) {
					break
				}
				var n int64
				if n, failed = do(); failed == nil && n == 0 {
					failed = errors.New("an empty answer")
				}
				mine = append(mine, float64(time.Since(began).Microseconds())/1000)
			}
			mu.Lock()
			defer mu.Unlock()
			took = append(took, mine...)
			if failed != nil {
				errs = append(errs, failed)
			}
		})
	}
	all.Wait()
	return took, errors.Join(errs...)
}

// serveInside starts this very program in a sandbox and returns the address at
// which the host reaches it.
func (s *server) serveInside(ctx context.Context, id string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	file, err := os.Open(self) // #nosec G304 -- ourselves
	if err != nil {
		return "", err
	}
	defer file.Close()
	if err := s.Upload(ctx, id, 0, file, "/tmp/bench"); err != nil {
		return "", err
	}
	if err := s.Exec(ctx, id, "chmod +x /tmp/bench && (setsid nohup /tmp/bench serve > /tmp/bench.log 2>&1 < /dev/null &) ; for i in $(seq 100); do curl -s localhost:"+strconv.Itoa(previewPort)+" > /dev/null && exit 0; sleep 0.05; done; cat /tmp/bench.log; exit 1"); err != nil {
		return "", err
	}
	// The one address of this server's network at which it answers.
	out, err := exec.CommandContext(ctx, "ip", "-4", "route").Output()
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		if !strings.Contains(line, " dev "+benchPrefix) {
			continue
		}
		address := net.JoinHostPort(fields[0], strconv.Itoa(previewPort))
		try, cancel := context.WithTimeout(ctx, time.Second)
		conn, err := new(net.Dialer).DialContext(try, "tcp", address)
		cancel()
		if err == nil {
			conn.Close()
			return address, nil
		}
	}
	return "", fmt.Errorf("the program answers at none of the sandboxes' addresses:\n%s", out)
}

// startNginx starts Debian's nginx as a reverse proxy to an address, as one would
// set it up for this: connections are kept, sockets pass, nothing is buffered on
// the disk.
func startNginx(ctx context.Context, dir, upstream string) (address string, end func(), err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", nil, err
	}
	port, err := freePort(ctx)
	if err != nil {
		return "", nil, err
	}
	address = fmt.Sprintf("127.0.0.1:%d", port)
	config := fmt.Sprintf(`worker_processes auto;
daemon off;
pid %[1]s/pid;
error_log %[1]s/error.log;
events { worker_connections 4096; }
http {
  access_log off;
  keepalive_requests 1000000000;
  client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
  map $http_upgrade $connection_upgrade { default upgrade; '' ''; }
  upstream sandbox { server %[2]s; keepalive 64; keepalive_requests 1000000000; }
  server {
    listen %[3]s;
    location / {
      proxy_pass http://sandbox;
      proxy_http_version 1.1;
      proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
      proxy_buffering off;
      proxy_buffer_size 64k;
      proxy_buffers 8 64k;
      proxy_busy_buffers_size 128k;
    }
  }
}
`, dir, upstream, address)
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return "", nil, err
	}
	program, err := exec.LookPath("nginx")
	if err != nil {
		if program, err = exec.LookPath("/usr/sbin/nginx"); err != nil {
			return "", nil, errors.New("nginx is missing: run make deps-bench")
		}
	}
	cmd := exec.CommandContext(ctx, program, "-c", file, "-p", dir) // #nosec G204 -- nginx
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	end = func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err == nil {
			conn.Close()
			return address, end, nil
		}
		if time.Now().After(deadline) {
			end()
			return "", nil, fmt.Errorf("nginx does not answer: %w: %s", err, said.String())
		}
	}
}

// writePreviews prints a row for each way, and how ours compares with nginx.
func writePreviews(w io.Writer, results map[string]previewResult) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "\npreviews\trequests/s\tp50 ms\tp99 ms\tadded p99 ms\tdownload MiB/s\tWebSocket messages/s\t")
	direct := results["direct"]
	for _, name := range []string{"direct", "daytona", "nginx"} {
		r := results[name]
		fmt.Fprintf(table, "%s\t%.0f\t%.3f\t%.3f\t%.3f\t%.0f\t%.0f\t\n", name, r.Requests, r.P50, r.P99, max(0, r.P99-direct.P99), r.Download, r.Messages)
	}
	ours, peer := results["daytona"], results["nginx"]
	fmt.Fprintf(table, "daytona/nginx\t%.2f\t%.2f\t%.2f\t\t%.2f\t%.2f\t\n", ours.Requests/peer.Requests, ours.P50/peer.P50, ours.P99/peer.P99, ours.Download/peer.Download, ours.Messages/peer.Messages)
	return table.Flush()
}
