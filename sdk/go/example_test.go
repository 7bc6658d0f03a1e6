package daytona_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"daytona/api"
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
	defer sandbox.Delete(ctx) //nolint:errcheck // an example
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
	defer sandbox.Delete(ctx) //nolint:errcheck // an example
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
	defer terminal.Close() //nolint:errcheck // an example
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

// browser finds names below localhost on this machine, as browsers and curl do
// without asking the DNS.
var browser = &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
	if host, port, err := net.SplitHostPort(address); err == nil && strings.HasSuffix(host, ".localhost") {
		address = net.JoinHostPort("127.0.0.1", port)
	}
	return new(net.Dialer).DialContext(ctx, network, address)
}}}

func ExampleSandbox_SignedPreviewURL() {
	ctx, sandbox, done := create()
	defer done()
	session := must(sandbox.Process.CreateSession(ctx, "web"))
	must(session.Start(ctx, "mkdir -p site && echo seen > site/index.html && python3 -m http.server 3000 -d site"))
	for ports := must(sandbox.Ports(ctx)); !slices.Contains(ports, 3000); ports = must(sandbox.Ports(ctx)) {
		time.Sleep(50 * time.Millisecond)
	}
	link := must(sandbox.SignedPreviewURL(ctx, 3000, time.Minute))
	see := func() (int, string) {
		res := must(browser.Get(link.URL)) //nolint:bodyclose,noctx // closed in the next line
		defer res.Body.Close()
		return res.StatusCode, string(must(io.ReadAll(res.Body)))
	}
	status, text := see()
	fmt.Print(status, " ", text)
	check(sandbox.ExpireSignedPreviewURL(ctx, 3000, link.Token))
	status, _ = see()
	fmt.Println(status)
	// Output:
	// 200 seen
	// 401
}

func ExampleSandbox_SSHAccess() {
	ctx, sandbox, done := create()
	defer done()
	client := must(daytona.New())
	access := must(sandbox.SSHAccess(ctx, time.Hour))
	fmt.Println(strings.HasPrefix(access.SSHCommand, "ssh "), len(must(sandbox.SSHAccesses(ctx))))
	fmt.Println(must(client.ValidateSSHAccess(ctx, access.Token)).SandboxID == sandbox.ID)
	check(sandbox.RevokeSSHAccess(ctx, access.Token))
	fmt.Println(must(client.ValidateSSHAccess(ctx, access.Token)).Valid)
	// Output:
	// true 1
	// true
	// false
}

func ExampleSandbox_Metrics() {
	ctx, sandbox, done := create()
	defer done()
	used := must(sandbox.Metrics(ctx))
	fmt.Println(used.MemTotal > 0, used.DiskTotal >= used.DiskUsed)
	fmt.Println(must(sandbox.HomeDir(ctx)))
	check(sandbox.KeepAlive(ctx))
	check(sandbox.SetPublic(ctx, true))
	fmt.Println(must(sandbox.Refresh(ctx)).Public)
	// Output:
	// true true
	// /home/daytona
	// true
}

func ExampleInterpreter_Stream() {
	ctx, sandbox, done := create()
	defer done()
	own := must(sandbox.Interpreter.CreateContext(ctx, "/tmp", daytona.Python))
	for event, err := range sandbox.Interpreter.Stream(ctx, daytona.Piece{Context: own.ID, Code: "import os\nprint(os.getcwd())\n1/0"}) {
		check(err)
		switch event.Type {
		case "stdout":
			fmt.Print(event.Text)
		case "error":
			fmt.Println(event.Name)
		}
	}
	check(sandbox.Interpreter.DeleteContext(ctx, own.ID))
	// Output:
	// /tmp
	// ZeroDivisionError
}

func ExampleAPIKeys() {
	ctx := context.Background()
	client := must(daytona.New())
	made := must(client.APIKeys.Create(ctx, api.CreateAPIKey{
		Name: fmt.Sprint("example-", time.Now().UnixNano()), Permissions: []api.Permission{"write:sandboxes"}}))
	other := must(daytona.New(daytona.WithAPIKey(made.Value)))
	fmt.Println(must(other.APIKeys.Current(ctx)).Name == made.Name)
	check(client.APIKeys.Delete(ctx, made.Name))
	_, err := other.APIKeys.Current(ctx)
	fmt.Println(errors.Is(err, daytona.ErrUnauthorized))
	// Output:
	// true
	// true
}

func ExampleRegistries() {
	ctx := context.Background()
	client := must(daytona.New())
	made := must(client.Registries.Create(ctx, daytona.Registry{Name: fmt.Sprint("example-", time.Now().UnixNano()),
		URL: "https://registry.example.com", Username: "robot", Password: "secret"}))
	made.Username = "other"
	fmt.Println(must(client.Registries.Update(ctx, made.ID, made)).Username)
	check(client.Registries.Delete(ctx, made.ID))
	_, err := client.Registries.Get(ctx, made.ID)
	fmt.Println(errors.Is(err, daytona.ErrNotFound))
	// Output:
	// other
	// true
}

func ExampleOrganizations_List() {
	ctx := context.Background()
	client := must(daytona.New())
	for _, organization := range must(client.Organizations.List(ctx)) {
		fmt.Println(organization.ID == must(client.Organizations.Get(ctx, organization.ID)).ID)
	}
	fmt.Println(len(must(client.Regions(ctx))) > 0, must(client.Me(ctx)).ID != "", must(client.Config(ctx)).Version != "")
	// Output:
	// true
	// true true true
}

// An image is described line by line; the files that it copies are sent along.
func ExampleSnapshots_Create() {
	ctx := context.Background()
	client := must(daytona.New())
	dir := must(os.MkdirTemp("", "example-"))
	defer os.RemoveAll(dir)
	name := fmt.Sprint("example-", time.Now().UnixNano())
	check(os.WriteFile(filepath.Join(dir, "greeting.txt"), []byte("hello from "+name+"\n"), 0o644))
	image := daytona.ImageFrom("scratch").
		AddLocalFile("/bin/busybox", "/bin/busybox").
		Lines(`RUN ["/bin/busybox", "--install", "-s", "/bin"]`).
		AddLocalFile(filepath.Join(dir, "greeting.txt"), "/srv/greeting.txt").
		Run("echo this is in the log").
		Env(map[string]string{"LANG": "C.UTF-8"}).
		Workdir("/srv").
		Entrypoint("sleep", "infinity")

	var log strings.Builder
	snapshot := must(client.Snapshots.Create(ctx, daytona.SnapshotParams{
		Name: name, Image: image, Resources: daytona.Resources{CPU: 1, Memory: 1, Disk: 3},
		OnLog: func(text string) { log.WriteString(text) },
	}))
	defer client.Snapshots.Delete(ctx, snapshot.ID) //nolint:errcheck // an example
	fmt.Println(snapshot.State, strings.Contains(log.String(), "this is in the log"))

	sandbox := must(client.Create(ctx, daytona.CreateParams{Snapshot: name}))
	defer sandbox.Delete(ctx) //nolint:errcheck // an example
	run := must(sandbox.Process.Run(ctx, "cat /srv/greeting.txt"))
	fmt.Println(run.Output == "hello from "+name+"\n")

	_, err := client.Snapshots.Create(ctx, daytona.SnapshotParams{Name: name + "-bad", Image: image.Run("exit 3 # " + name)})
	fmt.Println(errors.Is(err, daytona.ErrFailed))
	check(client.Snapshots.Delete(ctx, must(client.Snapshots.Get(ctx, name+"-bad")).ID))
	// Output:
	// active true
	// true
	// true
}

// A sandbox of an image needs no snapshot: the server builds it, or finds it
// already built.
func ExampleImageFromDockerfile() {
	ctx := context.Background()
	client := must(daytona.New())
	dir := must(os.MkdirTemp("", "example-"))
	defer os.RemoveAll(dir)
	check(os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(`FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
ENTRYPOINT ["sh", "-c", "echo ready; sleep 1000"]
`), 0o644))
	check(os.WriteFile(filepath.Join(dir, "busybox"), must(os.ReadFile("/bin/busybox")), 0o755))
	sandbox := must(client.Create(ctx, daytona.CreateParams{Image: daytona.ImageFromDockerfile(filepath.Join(dir, "Dockerfile"), "")}))
	defer sandbox.Delete(ctx) //nolint:errcheck // an example
	for chunk, err := range sandbox.Process.FollowEntrypoint(ctx) {
		check(err)
		fmt.Print(string(chunk.Text))
		break
	}
	// Output: ready
}

// What the server was built without is told apart from what is not there.
func ExampleVolumes_GetOrCreate() {
	ctx := context.Background()
	client := must(daytona.New())
	volume, err := client.Volumes.GetOrCreate(ctx, "shared")
	if errors.Is(err, daytona.ErrUnsupported) {
		fmt.Println("this server has no volumes")
		return
	}
	check(err)
	must(client.Create(ctx, daytona.CreateParams{Volumes: []api.SandboxVolume{{VolumeID: volume.ID, MountPath: "/shared"}}}))
}

// The snapshot must have a desktop.
func ExampleComputer() {
	ctx := context.Background()
	client := must(daytona.New())
	sandbox := must(client.Create(ctx, daytona.CreateParams{Snapshot: "daytona-desktop"}))
	defer sandbox.Delete(ctx) //nolint:errcheck // an example
	computer := sandbox.Computer
	check(computer.Start(ctx))
	check(computer.MoveMouse(ctx, daytona.Point{X: 40, Y: 50}))
	fmt.Println(must(computer.Cursor(ctx)))
	picture := must(computer.Screenshot(ctx, daytona.Screenshot{Format: "png"}))
	fmt.Println(string(picture[1:4]), len(must(computer.Displays(ctx))))
	check(computer.Stop(ctx))
	// Output:
	// {40 50}
	// PNG 1
}
