package process

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"daytona/toolbox/launch"
	"daytona/toolbox/reaper"
)

func TestPlainWords(t *testing.T) {
	for command, want := range map[string]bool{
		"true": true, "node -v": true, "/usr/bin/env": true, " ls  -la /tmp ": true, "git log --format=%H a..b": true,
		"": false, "echo x": false, "A=1 ls": false, "ls *": false, "ls; ls": false, "ls\nls": false, "ls ~": false,
		"ls $A": false, "ls 'a'": false, "ls > f": false, "ls &": false, "if": false, "[ a ]": false, "cd /": false,
		"ls {a,b}": false, "ls\tx": false, "! ls": false, "ls # x": false, "ls é": false, "exit 3": false, ".": false,
	} {
		if _, got := plainWords(command); got != want {
			t.Errorf("plainWords(%q) = %v", command, got)
		}
	}
}

// Every command gives the same with the shell and without.
func TestDirectIsLikeTheShell(t *testing.T) {
	const shell = "/bin/bash"
	if launch.Executable(shell) != nil {
		t.Skip("bash is not installed")
	}
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"code":    "#!/bin/sh\necho out; echo err >&2; exit 42\n",
		"input":   "#!/bin/sh\nread x; echo $? got:$x\n",
		"bare":    "echo run by a shell $0\n",
		"missing": "#!/no/interpreter\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "unexecutable"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	commands := []string{
		"true", "false", "env", "code", "input", "bare", "missing", "unexecutable", "nowhere",
		dir + "/code", dir, "cat", "uname -s", "ls -la /nonexistent", "sleep 0", "/no/such/program x",
	}
	for number := range 64 {
		if sig := syscall.Signal(number + 1); sig != syscall.SIGSTOP && sig != syscall.SIGTSTP && sig != syscall.SIGTTIN && sig != syscall.SIGTTOU {
			name := fmt.Sprintf("sig%d", sig)
			commands = append(commands, name)
			script := fmt.Sprintf("#!/bin/sh\nulimit -c 0\nkill -%d $$\n", sig)
			if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	space := &launch.Space{Table: reaper.New(), WorkDir: dir}
	number := regexp.MustCompile(`line 1: +\d+ `)
	for _, command := range commands {
		j := job{
			path: shell, args: []string{shell}, dir: dir, limit: 1 << 20, input: []byte(command + "\n"),
			env: launch.Vars{"PATH": dir + ":/usr/bin:/bin", "A": "1", "SHLVL": "3", "LANG": "C"},
		}
		want, err := run(t.Context(), space, j)
		if err != nil {
			t.Fatal(err)
		}
		if plain, ok := direct(j, shell, command); ok {
			plain.shell, plain.command = shell, command
			j.direct = &plain
		}
		got, err := run(t.Context(), space, j)
		if err != nil {
			t.Fatal(err)
		}
		show := func(o outcome) string {
			lines := strings.Split(number.ReplaceAllString(string(o.output), "line 1: PID "), "\n")
			if command == "env" {
				lines = sorted(lines)
			}
			return strings.Join(lines, "\n")
		}
		if got.exitCode != want.exitCode || show(got) != show(want) {
			t.Errorf("%s:\n without shell %d %q\n    with shell %d %q", command, got.exitCode, show(got), want.exitCode, show(want))
		}
	}
}

func sorted(lines []string) []string {
	slices.Sort(lines)
	return lines
}
