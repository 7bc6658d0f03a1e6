//go:build root

package e2e

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"mime/multipart"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// largeSize is how large a large file is: 2 GiB with DAYTONA_E2E_LARGE=full,
// else an eighth of it. Under gVisor an upload does some 70 MB a second.
func largeSize() int64 {
	if os.Getenv("DAYTONA_E2E_LARGE") == "full" {
		return 2 << 30
	}
	return 256 << 20
}

// What the server and the toolbox may hold more while they pass a file on. It is
// far less than the file, and leaves room for what the Go runtime has not given
// back yet.
const (
	moreServerKiB  = 48 << 10
	moreToolboxKiB = 16 << 10
)

// TestLargeFile uploads and downloads a file that is larger than what the server
// and the toolbox may hold in memory.
func TestLargeFile(t *testing.T) {
	if shared.external {
		t.Skip("the memory of a server that is not ours cannot be seen")
	}
	size := largeSize()
	box := &toolboxClient{client: shared.api, id: mustCreate(t, shared.api, nil).ID}
	const path = "/home/daytona/large"
	server := fmt.Sprintf("/proc/%d", shared.cmd.Process.Pid)
	// 5 sets the highest value so far back to the present one.
	if err := os.WriteFile(server+"/clear_refs", []byte("5"), 0); err != nil {
		t.Fatal(err)
	}
	before := peakKiB(t, server)
	toolbox := watchToolbox(t, box)

	began := time.Now()
	sent := upload(t, box, path, size)
	t.Logf("upload: %.0f MB/s", float64(size)/1e6/time.Since(began).Seconds())
	if r, err := box.exec(t.Context(), box.id, "sha256sum "+path, 300); err != nil || !strings.HasPrefix(r.Result, sent) {
		t.Errorf("inside it is %+v, %v; sent was %s", r, err, sent)
	}
	began = time.Now()
	if got := download(t, box, path, size); got != sent {
		t.Errorf("downloaded %s, sent was %s", got, sent)
	}
	t.Logf("download: %.0f MB/s", float64(size)/1e6/time.Since(began).Seconds())

	first, highest := toolbox()
	after := peakKiB(t, server)
	t.Logf("server: %d KiB before, %d KiB at most; toolbox: %d KiB and %d KiB", before, after, first, highest)
	if after > before+moreServerKiB {
		t.Errorf("the server had %d KiB and came to %d KiB", before, after)
	}
	if highest > first+moreToolboxKiB {
		t.Errorf("the toolbox had %d KiB and came to %d KiB", first, highest)
	}
}

// peakKiB is the most memory that a process has had.
func peakKiB(t *testing.T, proc string) int {
	t.Helper()
	text, err := os.ReadFile(proc + "/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			n, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("%s has no VmHWM", proc)
	return 0
}

// watchToolbox looks at the toolbox's memory again and again until the function
// that it returns is called, which tells the first and the highest value.
func watchToolbox(t *testing.T, box *toolboxClient) (stop func() (first, highest int)) {
	t.Helper()
	look := func() (int, error) {
		r, err := box.exec(t.Context(), box.id, "awk '/^VmRSS:/ {print $2}' /proc/1/status", 60)
		if err != nil {
			return 0, err
		}
		return strconv.Atoi(strings.TrimSpace(r.Result))
	}
	first, err := look()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	highest := first
	var failed error
	var watching sync.WaitGroup
	watching.Go(func() {
		for pause(ctx) == nil && failed == nil {
			n, err := look()
			highest, failed = max(highest, n), err
		}
	})
	return func() (int, int) {
		t.Helper()
		cancel()
		watching.Wait()
		if failed != nil {
			t.Errorf("looking at the toolbox: %v", failed)
		}
		return first, highest
	}
}

// upload sends a file of random bytes, made as they are sent, and returns their
// hash.
func upload(t *testing.T, box *toolboxClient, path string, size int64) string {
	t.Helper()
	sum := sha256.New()
	content := io.TeeReader(io.LimitReader(rand.NewChaCha8([32]byte{1}), size), sum)
	body, feed := io.Pipe()
	form := multipart.NewWriter(feed)
	go func() {
		err := form.WriteField("files[0].path", path)
		var part io.Writer
		if err == nil {
			part, err = form.CreateFormFile("files[0].file", "large")
		}
		if err == nil {
			_, err = io.CopyBuffer(struct{ io.Writer }{part}, content, make([]byte, 256<<10))
		}
		feed.CloseWithError(errors.Join(err, form.Close()))
	}()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, box.base()+"/files/bulk-upload", body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+box.key)
	req.Header.Set("Content-Type", form.FormDataContentType())
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if want := fmt.Sprintf(`"bytes":%d`, size); err != nil || res.StatusCode != http.StatusOK || !strings.Contains(string(text), want) {
		t.Fatalf("upload: %s: %s, %v", res.Status, text, err)
	}
	return hexSum(sum)
}

// download reads a file and returns its hash.
func download(t *testing.T, box *toolboxClient, path string, size int64) string {
	t.Helper()
	res, err := box.request(t.Context(), http.MethodGet, "/files/download?path="+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	sum := sha256.New()
	n, err := io.Copy(sum, res.Body)
	if err != nil || res.StatusCode != http.StatusOK || n != size {
		t.Fatalf("download: %s, %d bytes of %d, %v", res.Status, n, size, err)
	}
	return hexSum(sum)
}

func hexSum(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)) }
