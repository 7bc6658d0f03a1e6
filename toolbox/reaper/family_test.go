package reaper

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestFamilyMembers(t *testing.T) {
	all := []process{
		{1, 0, 1, 'S'}, {5, 1, 5, 'S'}, // the toolbox would be 5
		{10, 5, 10, 'S'}, {11, 10, 10, 'S'}, {12, 11, 12, 'S'}, // the root, what is below it, a session of its own
		{13, 1, 12, 'S'},                   // a daemon whose leader is 12
		{14, 1, 14, 'S'}, {15, 14, 9, 'S'}, // marked, and below
		{16, 14, 16, 'S'}, {17, 16, 16, 'S'},
		{20, 5, 20, 'S'}, {21, 20, 20, 'S'}, // somebody else's child
		{30, 1, 30, 'S'}, {31, 30, 30, 'S'}, // strangers
	}
	var asked []int
	got := family(10, map[int]bool{20: true}, all, func(pid int) bool {
		asked = append(asked, pid)
		return pid == 14
	})
	if want := "[10 11 12 14 15 16 17 13]"; fmt.Sprint(got) != want {
		t.Errorf("got %v, want %v", got, want)
	}
	if slices.Contains(asked, 21) || slices.Contains(asked, 11) || len(asked) > len(all) {
		t.Errorf("asked for the marks of %v", asked)
	}
	if got := family(0, nil, all, func(int) bool { return false }); len(got) != 0 {
		t.Errorf("without root and mark: %v", got)
	}
	if got := family(7, nil, []process{{7, 8, 7, 'S'}, {8, 7, 8, 'S'}, {9, 9, 9, 'S'}}, func(int) bool { return false }); len(got) != 2 {
		t.Errorf("parents in a circle: %v", got)
	}
}

// brood is a child that leaves processes of every kind behind, and waits or not.
// Each writes its number to a file in dir.
func brood(t *testing.T, table *Table, dir, mark, last string) *Child {
	t.Helper()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	text := `cd '` + dir + `'
sleep 1000 & echo $! > plain
setsid sh -c 'echo $$ > session; sleep 1000 & echo $! > below; wait' &
(setsid sh -c 'sleep 1000 & echo $! > orphan' &)
sh -c 'trap "" TERM; echo $$ > stubborn; while :; do sleep 0.05; done' &
until [ -s plain ] && [ -s session ] && [ -s below ] && [ -s orphan ] && [ -s stubborn ]; do sleep 0.01; done
` + last
	child, err := table.Start(Command{
		Path: "/bin/sh", Args: []string{"sh", "-c", text}, Env: append(os.Environ(), mark),
		Stdin: null, Stdout: null, Stderr: null,
	})
	if err != nil {
		t.Fatal(err)
	}
	return child
}

func TestFamilyEnds(t *testing.T) {
	for name, last := range map[string]string{"root lives": "echo > ready; wait", "root has ended": "echo > ready"} {
		t.Run(name, func(t *testing.T) {
			table := New()
			dir, mark := t.TempDir(), "REAPER_TEST_MARK="+t.Name()+strconv.Itoa(os.Getpid())
			child := brood(t, table, dir, mark, last)
			other := brood(t, table, t.TempDir(), mark+"other", "wait")
			t.Cleanup(func() { Family{other, mark + "other"}.End(t.Context(), 0) })
			if err := within(20*time.Second, "the brood is there", func() bool {
				_, err := os.Stat(filepath.Join(dir, "ready"))
				return err == nil
			}); err != nil {
				t.Fatal(err)
			}
			if last == "echo > ready" {
				<-child.Done()
			}
			if left := (Family{child, mark}).End(t.Context(), 50*time.Millisecond); left != 0 {
				t.Errorf("%d left", left)
			}
			for _, file := range []string{"plain", "session", "below", "orphan", "stubborn"} {
				content, err := os.ReadFile(filepath.Join(dir, file))
				if err != nil {
					t.Fatal(err)
				}
				pid, err := strconv.Atoi(strings.TrimSpace(string(content)))
				if err != nil {
					t.Fatal(err)
				}
				if slices.ContainsFunc(living(), func(p process) bool { return p.pid == pid }) {
					t.Errorf("%s: %d lives on", file, pid)
				}
			}
			if syscall.Kill(other.PID(), 0) != nil {
				t.Error("another family was ended")
			}
		})
	}
}
