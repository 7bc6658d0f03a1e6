package daytona_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	daytona "daytona/sdk/go"
)

func Example() {
	ctx := context.Background()
	client, err := daytona.New()
	if err != nil {
		log.Fatal(err)
	}
	sandbox, err := client.Create(ctx, daytona.CreateParams{})
	if err != nil {
		log.Fatal(err)
	}
	defer sandbox.Delete(ctx)
	run, err := sandbox.Process.RunCode(ctx, `print(sum(range(10)))`)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Print(run.Output)
	// Output: 45
}

// create makes a sandbox for an example.
func create() (context.Context, *daytona.Sandbox, func()) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	client, err := daytona.New()
	if err != nil {
		log.Fatal(err)
	}
	sandbox, err := client.Create(ctx, daytona.CreateParams{Labels: map[string]string{"example": "go"}})
	if err != nil {
		log.Fatal(err)
	}
	return ctx, sandbox, func() {
		if err := sandbox.Delete(ctx); err != nil {
			log.Print(err)
		}
		cancel()
	}
}

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func ExampleClient_Create() {
	ctx := context.Background()
	client := must(daytona.New())
	sandbox := must(client.Create(ctx, daytona.CreateParams{
		Language: daytona.TypeScript,
		Env:      map[string]string{"GREETING": "hello"},
		Labels:   map[string]string{"team": "docs"},
		AutoStop: new(30),
	}))
	defer sandbox.Delete(ctx)
	info := sandbox.Info()
	fmt.Println(info.State, info.Labels["team"], info.AutoStopInterval)
	fmt.Print(must(sandbox.Process.Run(ctx, "echo $GREETING")).Output)
	// Output:
	// started docs 30
	// hello
}

func ExampleClient_List() {
	ctx, sandbox, done := create()
	defer done()
	client := must(daytona.New())
	check(sandbox.SetLabels(ctx, map[string]string{"for": sandbox.ID}))
	for item, err := range client.List(ctx, daytona.Filter{Labels: map[string]string{"for": sandbox.ID}}) {
		check(err)
		fmt.Println(item.ID == sandbox.ID, item.State)
	}
	found := must(client.Find(ctx, daytona.Filter{Labels: map[string]string{"for": sandbox.ID}}))
	fmt.Println(found.ID == sandbox.ID)
	_, err := client.Get(ctx, "no-such-sandbox")
	fmt.Println(errors.Is(err, daytona.ErrNotFound))
	// Output:
	// true started
	// true
	// true
}

func ExampleSandbox_Stop() {
	ctx, sandbox, done := create()
	defer done()
	check(sandbox.Files.WriteFile(ctx, "kept.txt", []byte("still here")))
	check(sandbox.Stop(ctx, false))
	fmt.Println(sandbox.State())
	check(sandbox.Start(ctx))
	fmt.Println(sandbox.State())
	fmt.Println(string(must(sandbox.Files.ReadFile(ctx, "kept.txt"))))
	check(sandbox.SetAutoStop(ctx, 5))
	check(sandbox.SetAutoDelete(ctx, 60))
	info := must(sandbox.Refresh(ctx))
	fmt.Println(info.AutoStopInterval, info.AutoDeleteInterval)
	// Output:
	// stopped
	// started
	// still here
	// 5 60
}

func ExampleProcess_Run() {
	ctx, sandbox, done := create()
	defer done()
	run := must(sandbox.Process.Run(ctx, `echo "$NAME"; echo oh >&2; exit 3`,
		daytona.InDir("/tmp"), daytona.WithEnv(map[string]string{"NAME": "it's me"}), daytona.SplitOutput()))
	fmt.Printf("%d %q %q\n", run.ExitCode, run.Stdout, run.Stderr)
	_, err := sandbox.Process.Run(ctx, "sleep 60", daytona.WithTimeout(time.Second))
	fmt.Println(errors.Is(err, daytona.ErrTimeout))
	// Output:
	// 3 "it's me\n" "oh\n"
	// true
}

func ExampleProcess_RunCode() {
	ctx, sandbox, done := create()
	defer done()
	run := must(sandbox.Process.RunCode(ctx, `
import matplotlib.pyplot as plt
plt.plot([1, 2, 3], [1, 4, 9], label="squares")
plt.title("Growth")
plt.show()
`))
	for _, chart := range run.Charts {
		fmt.Println(chart.Type, chart.Title, string(chart.PNG[1:4]))
	}
	run = must(sandbox.Process.RunCode(ctx, `console.log(process.argv.slice(1).join("-"))`,
		daytona.InLanguage(daytona.JavaScript), daytona.WithArgs("a", "b")))
	fmt.Print(run.Output)
	// Output:
	// line Growth PNG
	// a-b
}

func ExampleSession_Follow() {
	ctx, sandbox, done := create()
	defer done()
	session := must(sandbox.Process.CreateSession(ctx, "build"))
	must(session.Run(ctx, "cd /tmp && export STEP=two"))
	id := must(session.Start(ctx, "echo one; echo $STEP >&2; read line; echo got $line"))
	check(session.Input(ctx, id, "three"))
	var out, errs strings.Builder
	check(session.CopyLogs(ctx, id, &out, &errs))
	command := must(session.Command(ctx, id))
	fmt.Println(strings.Contains(out.String(), "got three"), strings.TrimSpace(errs.String()), *command.ExitCode)
	check(session.Delete(ctx))
	// Output: true two 0
}

func ExampleProcess_OpenPTY() {
	ctx, sandbox, done := create()
	defer done()
	terminal := must(sandbox.Process.OpenPTY(ctx, daytona.PTYOptions{Cols: 100, Rows: 30}))
	defer terminal.Close()
	must(io.WriteString(terminal, "stty size; exit 7\n"))
	shown := must(io.ReadAll(terminal))
	code, err := terminal.Wait()
	fmt.Println(strings.Contains(string(shown), "30 100"), code, err)
	// Output: true 7 <nil>
}

func ExampleInterpreter_Run() {
	ctx, sandbox, done := create()
	defer done()
	must(sandbox.Interpreter.Run(ctx, daytona.Piece{Code: "x = 6"}))
	run := must(sandbox.Interpreter.Run(ctx, daytona.Piece{Code: "print(x * 7)\n1/0"}))
	fmt.Print(run.Stdout)
	fmt.Println(run.Error)
	// Output:
	// 42
	// ZeroDivisionError: division by zero
}

func ExampleFiles() {
	ctx, sandbox, done := create()
	defer done()
	files := sandbox.Files
	check(files.MkdirAll(ctx, "work/in", 0o755))
	check(files.Write(ctx, "work/in/a.txt", strings.NewReader("first\nsecond\n")))
	check(files.WriteAll(ctx, func(yield func(daytona.Upload) bool) {
		for _, name := range []string{"b.txt", "c.txt"} {
			if !yield(daytona.Upload{Path: path.Join("work/in", name), From: strings.NewReader("second " + name)}) {
				return
			}
		}
	}))
	for _, info := range must(files.List(ctx, "work/in", 1)) {
		fmt.Println(info.Name, info.Size, info.Permissions)
	}
	matches := must(files.Find(ctx, "work", "second"))
	fmt.Println(len(matches), "matches")
	must(files.Replace(ctx, []string{"work/in/a.txt"}, "second", "2nd"))
	check(files.Move(ctx, "work/in/a.txt", "work/a.txt"))
	check(files.SetPermissions(ctx, "work/a.txt", daytona.Permissions{Mode: "0600"}))
	check(files.Read(ctx, "work/a.txt", os.Stdout))
	for download, err := range files.ReadAll(ctx, []string{"work/in/b.txt", "work/in/missing.txt"}) {
		if err != nil {
			fmt.Println(download.Path, errors.Is(err, daytona.ErrNotFound))
			continue
		}
		text := must(io.ReadAll(download))
		fmt.Println(download.Path, download.Size, string(text))
	}
	names := must(files.Search(ctx, "work", "*.txt"))
	slices.Sort(names)
	fmt.Println(len(names))
	check(files.Remove(ctx, "work", true))
	_, err := files.Info(ctx, "work")
	fmt.Println(errors.Is(err, daytona.ErrNotFound))
	// Output:
	// a.txt 13 0644
	// b.txt 12 0644
	// c.txt 12 0644
	// 3 matches
	// first
	// 2nd
	// work/in/b.txt 12 second b.txt
	// work/in/missing.txt true
	// 3
	// true
}

func ExampleGit() {
	ctx, sandbox, done := create()
	defer done()
	git := sandbox.Git
	check(git.Init(ctx, "repo", "main", false))
	check(sandbox.Files.WriteFile(ctx, "repo/readme.md", []byte("# Hello\n")))
	check(git.Add(ctx, "repo", "."))
	must(git.Commit(ctx, "repo", daytona.NewCommit{Message: "first", Author: "Ann", Email: "ann@example.com"}))
	check(git.CreateBranch(ctx, "repo", "topic"))
	check(sandbox.Files.WriteFile(ctx, "repo/new.md", nil))
	status := must(git.Status(ctx, "repo"))
	fmt.Println(status.Branch, status.Files[0].Name, status.Files[0].Worktree)
	for _, commit := range must(git.History(ctx, "repo")) {
		fmt.Println(commit.Author, strings.TrimSpace(commit.Message))
	}
	check(git.Clone(ctx, "file:///home/daytona/repo", "copy", daytona.CloneOptions{Branch: "main"}))
	fmt.Println(must(git.Branches(ctx, "copy")))
	// Output:
	// topic new.md Untracked
	// Ann first
	// [main]
}

func ExampleLSP() {
	ctx, sandbox, done := create()
	defer done()
	check(sandbox.Files.WriteFile(ctx, "project/greet.py", []byte("class Greeter:\n    def greet(self):\n        return 'hi'\n")))
	server := sandbox.LSP(daytona.Python, "project")
	check(server.Start(ctx))
	check(server.Open(ctx, "project/greet.py"))
	for _, symbol := range must(server.Symbols(ctx, "project/greet.py")) {
		fmt.Println(symbol.Name)
	}
	check(server.Stop(ctx))
	// Output:
	// Greeter
	// greet
}

func ExampleSandbox_PreviewURL() {
	ctx, sandbox, done := create()
	defer done()
	preview := must(sandbox.PreviewURL(ctx, 3000))
	fmt.Println(strings.Contains(preview.URL, "3000-"+sandbox.ID), preview.Token != "")
	// Output: true true
}

func ExampleSnapshots_List() {
	ctx := context.Background()
	client := must(daytona.New())
	found := false
	for snapshot, err := range client.Snapshots.List(ctx) {
		check(err)
		found = found || snapshot.Name == "daytona-slim"
	}
	fmt.Println(found)
	// Output: true
}
