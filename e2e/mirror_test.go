//go:build root

package e2e

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem"
	"github.com/sirupsen/logrus"
)

// mirror is a registry in this process that stands for Docker Hub, as in a place
// without a way to it. What it holds is kept between runs.
type mirror struct {
	url  string
	fill sync.Once
	err  error
}

var hub = &mirror{}

// mirrorArgs are the server's options for it.
func mirrorArgs() ([]string, error) {
	if hub.url == "" {
		c := &configuration.Configuration{
			Version: "0.1",
			Storage: configuration.Storage{"filesystem": configuration.Parameters{"rootdirectory": filepath.Join(cache, "hub")}},
		}
		c.Catalog.MaxEntries = 100
		c.HTTP.Secret = "of no use to anybody"
		c.Log.AccessLog.Disabled = true
		l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		logrus.SetOutput(io.Discard) // it speaks of each request
		app := handlers.NewApp(context.Background(), c)
		go func() { _ = http.Serve(l, app) }() //nolint:gosec // ends with the tests
		hub.url = "http://" + l.Addr().String()
	}
	return []string{"--registry-mirror", "docker.io=" + hub.url}, nil
}

// bases are the names under which clients ask for Python: those of the SDKs'
// builders, oldest and newest.
var bases = []string{"3.9.22", "3.10.17", "3.11.12", "3.12.10", "3.13.3"}

// withImages fills the mirror once with what the published clients build upon:
// Debian with its Python, as far as tests need it. It takes some minutes in a new
// checkout.
func withImages(t *testing.T) {
	t.Helper()
	if shared.external {
		t.Skip("the server under test is somebody else's; its registries are not ours to fill")
	}
	hub.fill.Do(func() { hub.err = hub.push() })
	if hub.err != nil {
		t.Fatal(hub.err)
	}
}

const hooks = `set -e
ln -sf python3 "$1/usr/bin/python"
rm -f "$1"/usr/lib/python3*/EXTERNALLY-MANAGED
cat /etc/ssl/certs/ca-certificates.crt > "$1/etc/ssl/certs/ca-certificates.crt"
`

func (h *mirror) push() error {
	if h.has("library/python", bases[len(bases)-1]+"-slim-bookworm") {
		return nil
	}
	dir, err := os.MkdirTemp(cache, "base-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	layer := filepath.Join(dir, "layer.tar")
	// What the builders install anyway is there already: it would take minutes
	// each time.
	if err := command("", "mmdebstrap", "-q", "--variant=minbase", `--aptopt=Acquire::Languages "none"`,
		"--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/locale/*",
		"--include=ca-certificates,python3,python3-pip,python3-venv,gcc,gfortran,build-essential",
		"--customize-hook="+hooks, "bookworm", layer); err != nil {
		return err
	}
	return h.publish(layer)
}

func (h *mirror) publish(layer string) error {
	packed := layer + ".gz"
	diff, err := pack(layer, packed)
	if err != nil {
		return err
	}
	size, digest, err := h.upload("library/python", packed)
	if err != nil {
		return err
	}
	config := fmt.Appendf(nil, `{"architecture":"amd64","os":"linux","config":{"Env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin","PIP_CERT=/etc/ssl/certs/ca-certificates.crt","SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt"],"Cmd":["python3"]},"rootfs":{"type":"layers","diff_ids":[%q]}}`, diff)
	file := filepath.Join(filepath.Dir(layer), "config.json")
	if err := os.WriteFile(file, config, 0o600); err != nil {
		return err
	}
	configSize, configDigest, err := h.upload("library/python", file)
	if err != nil {
		return err
	}
	manifest, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
		"config": map[string]any{"mediaType": "application/vnd.oci.image.config.v1+json", "digest": configDigest, "size": configSize},
		"layers": []any{map[string]any{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": digest, "size": size}},
	})
	if err != nil {
		return err
	}
	for _, version := range bases {
		res, err := h.send(http.MethodPut, h.url+"/v2/library/python/manifests/"+version+"-slim-bookworm", "application/vnd.oci.image.manifest.v1+json", bytes.NewReader(manifest), int64(len(manifest)))
		if err != nil {
			return err
		}
		res.Body.Close()
	}
	return nil
}

func (h *mirror) has(name, tag string) bool {
	res, err := h.send(http.MethodHead, h.url+"/v2/"+name+"/manifests/"+tag, "", nil, 0)
	if err != nil {
		return false
	}
	res.Body.Close()
	return true
}

// upload brings a file into a repository.
func (h *mirror) upload(name, file string) (size int64, digest string, err error) {
	f, err := os.Open(file)
	if err != nil {
		return 0, "", err
	}
	defer f.Close()
	sum := sha256.New()
	if size, err = io.Copy(sum, f); err != nil {
		return 0, "", err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return 0, "", err
	}
	digest = "sha256:" + hex.EncodeToString(sum.Sum(nil))
	res, err := h.send(http.MethodPost, h.url+"/v2/"+name+"/blobs/uploads/", "", nil, 0)
	if err != nil {
		return 0, "", err
	}
	res.Body.Close()
	at, err := res.Location()
	if err != nil {
		return 0, "", err
	}
	q := at.Query()
	q.Set("digest", digest)
	at.RawQuery = q.Encode()
	res, err = h.send(http.MethodPut, at.String(), "application/octet-stream", f, size)
	if err != nil {
		return 0, "", err
	}
	res.Body.Close()
	return size, digest, nil
}

func (h *mirror) send(method, url, kind string, body io.Reader, size int64) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return nil, err
	}
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	} else {
		req.Header.Set("Accept", "application/vnd.oci.image.manifest.v1+json")
	}
	req.ContentLength = size
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode >= 300 {
		text, _ := io.ReadAll(io.LimitReader(res.Body, 1<<10))
		res.Body.Close()
		return nil, errors.New(method + " " + url + ": " + strconv.Itoa(res.StatusCode) + " " + string(text))
	}
	return res, nil
}

// pack compresses a layer and returns its digest as it was before.
func pack(from, to string) (string, error) {
	in, err := os.Open(from)
	if err != nil {
		return "", err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return "", err
	}
	defer out.Close()
	sum := sha256.New()
	z, err := gzip.NewWriterLevel(out, gzip.BestSpeed)
	if err != nil {
		return "", err
	}
	if _, err := io.Copy(z, io.TeeReader(in, sum)); err != nil {
		return "", err
	}
	return "sha256:" + hex.EncodeToString(sum.Sum(nil)), errors.Join(z.Close(), out.Close())
}

// prepare makes ready what a scenario needs, and returns the command with which
// to run it. Python's client of object storage speaks TLS alone and goes by the
// system's certificates: the program gets a view of them in which our
// authority is one, as "daytona trust" makes it for a whole machine.
func prepare(t *testing.T, scenario, name string, args ...string) (string, []string) {
	t.Helper()
	if scenario != "images" {
		return name, args
	}
	withImages(t)
	const system = "/etc/ssl/certs/ca-certificates.crt"
	trusted := filepath.Join(t.TempDir(), "trusted.crt")
	var all []byte
	for _, file := range []string{system, filepath.Join(shared.dir, "ca", "ca.pem")} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, text...)
	}
	if err := os.WriteFile(trusted, all, 0o644); err != nil {
		t.Fatal(err)
	}
	return "unshare", append([]string{"-m", "sh", "-c", `mount --bind "$0" ` + system + ` && exec "$@"`, trusted, name}, args...)
}
