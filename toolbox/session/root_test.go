//go:build root

package session

import (
	"os"
	"strings"
	"syscall"
	"testing"
)

// A full disk neither hangs a command nor keeps anyone from making room, and
// what is lost is told.
func TestFullDisk(t *testing.T) {
	disk := t.TempDir()
	if err := syscall.Mount("session-test", disk, "tmpfs", 0, "size=2m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(disk, syscall.MNT_DETACH) })
	b := newBox(t, func(c *Config) { c.Dirs = []string{disk + "/sessions"} })
	b.create("s")
	got := b.run("s", "head -c 8000000 /dev/zero | tr '\\0' x; echo err >&2; echo end; (exit 3)")
	if *got.ExitCode != 3 || !strings.HasPrefix(*got.Output, "xxxxxxxx") || !strings.Contains(*got.Output, "[output lost: no space left on the disk; ") {
		t.Errorf("exit %d, %d bytes, ends in %.200q", *got.ExitCode, len(*got.Output), (*got.Output)[max(0, len(*got.Output)-200):])
	}
	if c := b.command("s", got.CmdID); !strings.Contains(c.OutputLost, "no space left on the disk") {
		t.Errorf("%+v", c)
	}
	if frames, code := b.follow("/process/session/s/command/" + got.CmdID + "/logs?follow=true"); code != 1000 || !strings.Contains(string(join(frames)), "output lost") {
		t.Errorf("closed with %d", code)
	}
	// Not a byte is free, and commands are run all the same.
	if f, err := os.Create(disk + "/rest"); err != nil {
		t.Fatal(err)
	} else {
		for _, size := range []int{1 << 16, 1} {
			for {
				if _, err := f.Write(make([]byte, size)); err != nil {
					break
				}
			}
		}
		f.Close()
	}
	if got := b.run("s", "echo out; echo err >&2; df -P "+disk+" | awk 'NR == 2 { print $4 }'"); *got.Stdout != "out\n0\n" || *got.Stderr != "err\n" {
		t.Errorf("%q %q", *got.Stdout, *got.Stderr)
	}
	b.create("another")
	if got := b.run("another", "echo hello; rm "+disk+"/rest"); *got.Output != "hello\n" || *got.ExitCode != 0 {
		t.Errorf("%+v", got)
	}
	b.want(204, "DELETE", "/process/session/s", nil, nil)
	if got := b.run("another", "seq 1 1000"); !strings.HasSuffix(*got.Output, "\n1000\n") {
		t.Errorf("with room again: %.80q", *got.Output)
	}
}

// A command that prints without end leaves room for everything else.
func TestReserve(t *testing.T) {
	disk := t.TempDir()
	if err := syscall.Mount("session-test", disk, "tmpfs", 0, "size=100m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(disk, syscall.MNT_DETACH) })
	b := newBox(t, func(c *Config) { c.Dirs = []string{disk + "/sessions"} })
	b.create("s")
	id := b.begin("s", "head -c 150000000 /dev/zero")
	if c := b.finished("s", id); !strings.Contains(c.OutputLost, "almost full") || *c.ExitCode != 0 {
		t.Errorf("%+v", c)
	}
	var stat syscall.Statfs_t
	if err := syscall.Statfs(disk, &stat); err != nil {
		t.Fatal(err)
	}
	if free := int64(stat.Bavail) * stat.Bsize; free < 1<<20 || free > 10<<20 {
		t.Errorf("%d bytes are free", free)
	}
}
