package pty_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// open starts a full-screen program in a terminal of 80 by 24, or skips.
func openProgram(t *testing.T, program, arguments string) (*sandbox, *terminal) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Skipf("%s is not installed", program)
	}
	s := newSandbox(t, "unset LESS; exec "+program+" "+arguments)
	var lines strings.Builder
	for i := range 500 {
		fmt.Fprintf(&lines, "line %d\n", i+1)
	}
	if err := os.WriteFile(filepath.Join(s.dir, "text"), []byte(lines.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	s.create("x")
	return s, s.connect("x")
}

// resized tells the program its new size and forgets what was printed so far.
func (s *sandbox) resized(c *terminal, cols, rows int) {
	s.t.Helper()
	c.forget()
	s.want(200, "POST", "/process/pty/x/resize", map[string]int{"cols": cols, "rows": rows}, nil)
}

func (c *terminal) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.output = nil
}

const (
	alternate = "\x1b[?1049h" // the program takes the whole screen
	original  = "\x1b[?1049l" // and gives it back
)

func TestVi(t *testing.T) {
	s, c := openProgram(t, "vi", "-u NONE -i NONE text")
	c.see(alternate)
	c.see("line 23") // the screen is full
	if strings.Contains(c.all(), "line 24") {
		t.Error("more than the screen holds")
	}
	s.resized(c, 60, 10)
	c.see("line 9") // drawn anew
	c.send(":set lines? columns?\r")
	c.see("lines=10")
	c.see("columns=60")
	c.send("\x1bgg0cwsnow ☃\x1b:wq\r")
	c.see(original)
	if status, reason := c.end(); status != 1000 || reason != `{"exitCode":0}` {
		t.Errorf("%d %q", status, reason)
	}
	b, err := os.ReadFile(filepath.Join(s.dir, "text"))
	if err != nil || !strings.HasPrefix(string(b), "snow ☃ 1\nline 2\n") {
		t.Errorf("%.40q %v", b, err)
	}
}

func TestLess(t *testing.T) {
	s, c := openProgram(t, "less", "text")
	c.see("line 23")
	c.forget()
	c.send("G")
	c.see("line 500")
	s.resized(c, 80, 5)
	c.see("line 481\r\n:") // drawn anew
	c.forget()
	c.send("g")
	c.see("line 1\r\n")
	if strings.Contains(c.all(), "line 5\r") {
		t.Error("more than the smaller screen holds")
	}
	c.send("/line 321\n")
	c.see("line 324")
	c.send("q")
	if status, _ := c.end(); status != 1000 {
		t.Errorf("%d", status)
	}
}

func TestTop(t *testing.T) {
	s, c := openProgram(t, "top", "-d 60")
	c.see("COMMAND")
	c.see("%Cpu")
	s.resized(c, 132, 40)
	c.see("COMMAND") // drawn anew, for the size, without waiting
	c.send("q")
	if status, _ := c.end(); status != 1000 {
		t.Errorf("%d", status)
	}
}

func TestHtop(t *testing.T) {
	_, c := openProgram(t, "htop", "")
	c.see(alternate)
	c.see("Mem")
	c.send("q")
	if status, _ := c.end(); status != 1000 {
		t.Errorf("%d", status)
	}
}
