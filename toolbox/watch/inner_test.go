package watch

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The kernel gives up counting when nobody reads. What was made, moved and
// deleted meanwhile must be found again.
func TestKernelOverflow(t *testing.T) {
	dir := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	must(os.MkdirAll(at("a/b"), 0o755))
	must(os.MkdirAll(at("gone/below"), 0o755))
	out := newQueue(1 << 20)
	w, err := watchPath(dir, true, 100, out)
	must(err)
	many := 0
	if text, err := os.ReadFile("/proc/sys/fs/inotify/max_queued_events"); err == nil {
		many, err = strconv.Atoi(strings.TrimSpace(string(text)))
		must(err)
	}
	for range many/2 + 1 {
		must(os.WriteFile(at("f"), nil, 0o644))
		must(os.Remove(at("f")))
	}
	must(os.MkdirAll(at("new/deep"), 0o755))
	must(os.Rename(at("a"), at("moved")))
	must(os.RemoveAll(at("gone")))

	ended := make(chan error, 1)
	go func() { ended <- w.run() }()
	wait := func(want func(Event) bool) {
		t.Helper()
		for {
			select {
			case <-out.ready:
			case <-time.After(30 * time.Second):
				t.Fatal("it did not come")
			}
			events, _ := out.take()
			for _, e := range events {
				if want(e) {
					return
				}
			}
		}
	}
	if many > 0 {
		wait(func(e Event) bool { return e.Type == Overflow })
	}
	for _, name := range []string{"new/deep/x", "moved/b/x"} {
		must(os.WriteFile(at(name), nil, 0o644))
		wait(func(e Event) bool { return e.Type == Created && e.Path == at(name) })
	}
	must(w.close())
	must(<-ended)
	var left []string
	for _, n := range w.tree.nodes {
		left = append(left, strings.TrimPrefix(n.full(), dir))
	}
	if len(left) != 5 || len(w.tree.children) != 4 { // the root, moved, moved/b, new, new/deep
		t.Errorf("watched: %q, children %d", left, len(w.tree.children))
	}
}

func TestTreeMoves(t *testing.T) {
	tr := newTree()
	root := &node{watch: 1, path: "/r"}
	tr.nodes[1] = root
	a := tr.put(2, root, "a")
	b := tr.put(3, a, "b")
	if got := b.at("f"); got != "/r/a/b/f" {
		t.Errorf("path %s", got)
	}
	tr.move(a, root, "c")
	if got := b.full(); got != "/r/c/b" || tr.children[place{root, "a"}] != nil {
		t.Errorf("path %s", got)
	}
	tr.move(a, b, "inside") // into itself: cannot be
	if got := a.full(); got != "/r/c" {
		t.Errorf("path %s", got)
	}
	if n := tr.put(1, b, "loop"); n != root || root.full() != "/r" { // a mount of the root below itself
		t.Errorf("the root is at %s", root.full())
	}
	if gone := tr.remove(a); len(gone) != 2 || len(tr.nodes) != 1 || len(tr.children) != 0 {
		t.Errorf("gone %v, left %v %v", gone, tr.nodes, tr.children)
	}
}

func TestQueueTellsOfLoss(t *testing.T) {
	q := newQueue(2)
	for i := range 4 {
		q.push(Event{Type: Created, Path: strconv.Itoa(i)})
	}
	shape := func() string {
		events, more := q.take()
		var b strings.Builder
		for _, e := range events {
			fmt.Fprintf(&b, "%s %s;", e.Type, e.Path)
		}
		return fmt.Sprint(b.String(), more)
	}
	if got := shape(); got != "created 0;created 1;overflow ;true" {
		t.Error(got)
	}
	q.push(Event{Type: Modified, Path: "x"})
	q.push(Event{Type: Modified, Path: "x"})
	q.push(Event{Type: Modified, Path: "y"})
	q.close()
	if got := shape(); got != "modified x;modified y;false" {
		t.Error(got)
	}
	if got := shape(); got != "false" {
		t.Error(got)
	}
}

// raw is an event as the kernel writes it.
func raw(watch int32, mask, cookie uint32, name string) []byte {
	size := 0
	if name != "" {
		size = (len(name)/16 + 1) * 16
	}
	buf := binary.NativeEndian.AppendUint32(nil, uint32(watch))
	buf = binary.NativeEndian.AppendUint32(buf, mask)
	buf = binary.NativeEndian.AppendUint32(buf, cookie)
	buf = binary.NativeEndian.AppendUint32(buf, uint32(size))
	return append(append(buf, name...), make([]byte, size-len(name))...)
}

func TestParse(t *testing.T) {
	buf := append(raw(1, unix.IN_CREATE|unix.IN_ISDIR, 0, "a b"), raw(-1, unix.IN_Q_OVERFLOW, 0, "")...)
	buf = append(buf, raw(7, unix.IN_MOVED_TO, 9, "sixteen letters.")...)
	got := fmt.Sprint(parse(buf))
	if want := fmt.Sprint([]notice{{1, unix.IN_CREATE | unix.IN_ISDIR, 0, "a b"}, {-1, unix.IN_Q_OVERFLOW, 0, ""}, {7, unix.IN_MOVED_TO, 9, "sixteen letters."}}); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := parse(buf[:len(buf)-1]); len(got) != 2 {
		t.Errorf("of a buffer that is cut off: %v", got)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(raw(1, unix.IN_CREATE, 0, "name"))
	f.Add(append(raw(1, unix.IN_DELETE_SELF, 0, ""), 0xff, 0xff))
	f.Fuzz(func(t *testing.T, buf []byte) {
		for _, n := range parse(buf) {
			if len(n.name) > len(buf) || strings.ContainsRune(n.name, 0) {
				t.Errorf("%+v", n)
			}
		}
	})
}
