//go:build root

package e2e

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"daytona/internal/footprint"
)

// docsFile is the documentation whose samples are run. It is not part of this
// repository.
const docsFile = "../shared/spec/daytona-docs-2025-08-19.txt"

const (
	startPage      = "Getting Started"
	frontPage      = "Daytona Documentation"
	fileSystemPage = "File System Operations"
	processPage    = "Process and Code Execution"
	gitPage        = "Git Operations"
	analysisPage   = "Analyze Data with AI"
	streamingPage  = "Log Streaming"
)

// A fragment is a sample that presupposes a variable `sandbox` and some files.
type fragment struct {
	page, heading string
	local         map[string]string            // files in the program's directory
	setup         map[string]string            // by language: code before the sample
	before        string                       // command in the sandbox: what the text above the sample presupposes
	mend          map[string]map[string]string // by language: replacements for what is broken in the documentation itself
	want          map[string][]string          // by language: what must be printed
	after         string                       // command in the sandbox that must succeed afterwards
}

// both says what the samples of both languages print.
func both(want ...string) map[string][]string {
	return map[string][]string{"python": want, "typescript": want}
}

var fragments = []fragment{
	{page: fileSystemPage, heading: "Listing Files and Directories",
		before: "mkdir -p workspace/inner; echo 12345 > workspace/file.txt",
		want:   both("Name: file.txt", "Name: inner", "Size: 6")},
	{page: fileSystemPage, heading: "Creating Directories",
		before: "rm -rf workspace/new-dir",
		after:  "test $(stat -c %a workspace/new-dir) = 755"},
	{page: fileSystemPage, heading: "Uploading a Single File",
		local:  map[string]string{"local_file.txt": "Hello, World!"},
		before: "rm -f remote_file.txt data.txt",
		after:  "cat remote_file.txt data.txt 2>/dev/null | grep -qx 'Hello, World!'"},
	{page: fileSystemPage, heading: "Uploading Multiple Files",
		local:  map[string]string{"file1.txt": "Content of file 1", "file2.txt": "Content of file 2", "settings.json": `{"key": "value"}`},
		before: "rm -rf data config",
		after:  `grep -qx 'Content of file 1' data/file1.txt && grep -qx 'Content of file 2' data/file2.txt && grep -q '"value"' config/settings.json`},
	{page: fileSystemPage, heading: "Downloading Files",
		before: "echo 'to be fetched' > file1.txt",
		want:   both("to be fetched")},
	{page: fileSystemPage, heading: "Deleting files",
		before: "mkdir -p workspace; touch workspace/file.txt",
		after:  "test ! -e workspace/file.txt"},
	{page: fileSystemPage, heading: "File Permissions",
		before: "mkdir -p workspace; touch workspace/file.txt; chmod 600 workspace/file.txt",
		want:   both("Permissions: 0644")},
	{page: fileSystemPage, heading: "File Search and Replace",
		before: "mkdir -p workspace/src; printf 'a\\nb text-of-interest\\n' > workspace/src/x.txt; echo old_text | tee workspace/file1.txt > workspace/file2.txt",
		mend: map[string]map[string]string{"typescript": {
			// An object literal with "path=" does not parse, and findFiles takes two strings.
			"findFiles({\n    path=\"workspace/src\",\n    pattern: \"text-of-interest\"\n})": `findFiles("workspace/src", "text-of-interest")`,
		}},
		want:  both("Line number: 2", "text-of-interest"),
		after: "grep -qx new_text workspace/file1.txt && grep -qx new_text workspace/file2.txt"},
	{page: processPage, heading: "Running Code",
		want: map[string][]string{"python": {"Hello, Daytona!"}, "typescript": {"Hello, Daytona!", "FOO: BAR", "Done"}}},
	{page: processPage, heading: "Running Commands",
		before: "mkdir -p workspace/src; touch listed-by-ls",
		want:   both("listed-by-ls", "DAYTONA")},
	{page: processPage, heading: "Managing Long-Running Processes",
		setup: map[string]string{
			"python": `from daytona import SessionExecuteRequest
session_id = process_id = "docs-sample"
sandbox.process.create_session(session_id)
sandbox.process.execute_session_command(session_id, SessionExecuteRequest(command="(exit 7)"))
`,
			"typescript": `const sessionId = 'docs-sample'
await sandbox.process.createSession(sessionId)
await sandbox.process.executeSessionCommand(sessionId, { command: '(exit 7)' })
`,
		},
		mend: map[string]map[string]string{"python": {
			// A session has no such member.
			"session.id}": "session.session_id}",
		}},
		want: both("Session docs-sample:", "Command: (exit 7), Exit Code: 7", "PID: ")},
	{page: processPage, heading: "Best Practices",
		mend: map[string]map[string]string{"typescript": {
			// The variable belongs to the block before.
			"deleteSession(session.sessionId)": "deleteSession(sessionId)",
		}}},
	{page: gitPage, heading: "Cloning Repositories",
		before: gitHost,
		// The sample shows three ways to clone into one directory, of which only the first could succeed.
		mend: map[string]map[string]string{
			"python": {
				"path=\"workspace/repo\",\n    username": "path=\"workspace/private\",\n    username",
				"path=\"workspace/repo\",\n    branch":   "path=\"workspace/develop\",\n    branch",
			},
			"typescript": {
				"\"workspace/repo\",\n    undefined":   "\"workspace/private\",\n    undefined",
				"\"workspace/repo\",\n    \"develop\"": "\"workspace/develop\",\n    \"develop\"",
			},
		},
		after: "cd workspace && test $(git -C repo branch --show-current) = main && test $(git -C develop branch --show-current) = develop && test -e private/file1.txt"},
	{page: gitPage, heading: "Repository Status",
		before: "cd workspace/repo && git -c user.name=A -c user.email=a@b commit -q --allow-empty -m ahead && touch untracked.txt",
		want:   both("Current branch: main", "Commits ahead: 1", "Commits behind: 0", "File: untracked.txt", "Branch: main")},
	{page: gitPage, heading: "Managing Branches",
		before: "cd workspace/repo && git branch feature/old-feature",
		after:  "cd workspace/repo && test $(git branch --show-current) = feature/new-feature && ! git rev-parse -q --verify feature/old-feature"},
	{page: gitPage, heading: "Working with Changes",
		before: "cd workspace/repo && echo changed > file1.txt && echo new > file2.txt && echo more > file3.txt",
		after:  "cd workspace/repo && test \"$(git log -1 --format='%an %ae %s')\" = 'John Doe john@example.com feat: add new feature' && test -z \"$(git status --porcelain)\""},
	{page: gitPage, heading: "Working with Remotes",
		after: "test $(git -C workspace/repo rev-parse HEAD) = $(git -C /tmp/host/user/repo.git rev-parse feature/new-feature)"},
}

// gitHost stands for the documentation's GitHub, which cannot be reached: a
// server in the sandbox to which git is led by a setting of its own.
const gitHost = `
export GIT_AUTHOR_NAME=A GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=A GIT_COMMITTER_EMAIL=a@b
rm -rf workspace/repo && mkdir -p workspace /tmp/host/user
git init -q --bare -b main /tmp/host/user/repo.git && git init -q -b main /tmp/seed && cd /tmp/seed
echo first > file1.txt && git add . && git commit -q -m first && git branch develop
git push -q /tmp/host/user/repo.git main develop
nohup python3 /tmp/git_server.py /tmp/host > /tmp/git_server.log 2>&1 &
for i in $(seq 100); do test -s /tmp/git_server.port && break; sleep 0.1; done
git config --global url.http://127.0.0.1:$(cat /tmp/git_server.port)/.insteadOf https://github.com/`

// Each fragment gets what the page presupposes, and a sandbox that exists.
var preludes = map[string]string{
	"python": `import os
from daytona import Daytona, FileUpload

daytona = Daytona()
sandbox = daytona.get(os.environ["E2E_SANDBOX"])

`,
	"typescript": `import { Daytona } from '@daytonaio/sdk'

const daytona = new Daytona()
const sandbox = await daytona.get(process.env.E2E_SANDBOX)

`,
}

func documentation(t *testing.T) []sample {
	t.Helper()
	all, err := readSamples(filepath.Join(repo, docsFile))
	if os.IsNotExist(err) {
		t.Skipf("the documentation is not there: %s", docsFile)
	}
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestDocs runs the documentation's samples as they stand.
func TestDocs(t *testing.T) {
	all := documentation(t)
	for _, era := range []string{"old", "new"} {
		for _, language := range []string{"python", "typescript"} {
			t.Run(era+"/"+language, func(t *testing.T) {
				for _, page := range []struct{ title, heading, want string }{
					{startPage, "Run Code Inside a Sandbox", "Sum of 3 and 4 is 7"},
					{frontPage, "3. Write Your Code", "Hello World from code!"},
				} {
					t.Run(page.heading, func(t *testing.T) {
						t.Parallel()
						samples := mustFind(t, all, page.title, page.heading, language)
						key := strings.NewReplacer("YOUR_API_KEY", shared.api.key, "your-api-key", shared.api.key)
						out := runSample(t, era, language, t.TempDir(), key.Replace(samples[0].Code))
						wantPrinted(t, out, page.want)
					})
				}
				t.Run("fragments", func(t *testing.T) {
					t.Parallel()
					runFragments(t, all, era, language)
				})
			})
		}
	}
}

// runFragments runs every fragment in one sandbox of the language.
func runFragments(t *testing.T, all []sample, era, language string) {
	sb := mustCreate(t, shared.api, map[string]any{"labels": map[string]string{"code-toolbox-language": language}})
	server, err := os.ReadFile(filepath.Join(repo, "e2e", "testdata", "git_server.py"))
	if err != nil {
		t.Fatal(err)
	}
	inSandbox(t, sb.ID, "cat > /tmp/git_server.py <<'END'\n"+string(server)+"\nEND")
	for _, f := range fragments {
		t.Run(f.heading, func(t *testing.T) {
			code := mustFind(t, all, f.page, f.heading, language)[0].Code
			for broken, mended := range f.mend[language] {
				if !strings.Contains(code, broken) {
					t.Errorf("the sample no longer has the error %q", broken)
				}
				code = strings.ReplaceAll(code, broken, mended)
			}
			dir := t.TempDir()
			for name, content := range f.local {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			inSandbox(t, sb.ID, f.before)
			out := runSample(t, era, language, dir, preludes[language]+f.setup[language]+code, "E2E_SANDBOX="+sb.ID)
			wantPrinted(t, out, f.want[language]...)
			inSandbox(t, sb.ID, f.after)
		})
	}
}

// streams are the samples of the page on log streaming: whole programs, which
// show an error and go on. Replacements, by era and language, are for what is
// broken in the documentation or has another signature now.
var streams = []struct {
	heading string
	mend    map[string]map[string]string
	want    []string // printed
	logs    []string // in the file that the sample writes
}{
	{
		heading: "Asynchronous",
		mend: map[string]map[string]string{
			// A callback for standard error has been added since.
			"new/python": {`lambda chunk: print(f"Log chunk: {chunk}")`: `lambda chunk: print(f"Log chunk: {chunk}"), print`},
			// There is no such function.
			"old/typescript": {"sleep(1)": "await new Promise((r) => setTimeout(r, 1000))"},
			"new/typescript": {"sleep(1)": "await new Promise((r) => setTimeout(r, 1000))"},
		},
		want: []string{"Continuing execution", "Other operations completed!", "Processing step 1...", "Processing step 10...", "Cleaning up sandbox..."},
	},
	{
		heading: "Synchronous",
		mend: map[string]map[string]string{
			"new/python": {"cmd_id, handle_chunk": "cmd_id, handle_chunk, print"},
			// Imports are missing, and what is awaited does not exist.
			"old/typescript": {"async function main": "import * as fs from 'fs'\nimport * as path from 'path'\nasync function main", "await logTask": ""},
			"new/typescript": {"async function main": "import * as fs from 'fs'\nimport * as path from 'path'\nasync function main", "await logTask": ""},
		},
		want: []string{"Cleaning up sandbox..."},
		logs: []string{"Count: 1", "Count: 5"},
	},
}

// TestDocsStreaming runs the page on log streaming.
func TestDocsStreaming(t *testing.T) {
	all := documentation(t)
	for _, era := range []string{"old", "new"} {
		for _, language := range []string{"python", "typescript"} {
			for _, s := range streams {
				t.Run(era+"/"+language+"/"+s.heading, func(t *testing.T) {
					t.Parallel()
					code := mustFind(t, all, streamingPage, s.heading, language)[0].Code
					for broken, mended := range s.mend[era+"/"+language] {
						if !strings.Contains(code, broken) {
							t.Errorf("the sample no longer has %q", broken)
						}
						code = strings.ReplaceAll(code, broken, mended)
					}
					dir := t.TempDir()
					out := runSample(t, era, language, dir, code)
					wantPrinted(t, out, s.want...)
					if strings.Contains(out, "Error:") {
						t.Errorf("an error was shown:\n%s", tail(out, 4<<10))
					}
					if len(s.logs) == 0 {
						return
					}
					files, err := filepath.Glob(filepath.Join(dir, "logs", "*.log"))
					if err != nil || len(files) != 1 {
						t.Fatalf("files of logs: %v %v", files, err)
					}
					content, err := os.ReadFile(files[0])
					if err != nil {
						t.Fatal(err)
					}
					wantPrinted(t, string(content), s.logs...)
				})
			}
		}
	}
}

func inSandbox(t *testing.T, id, command string) {
	t.Helper()
	if command == "" {
		return
	}
	if r := mustExec(t, shared.api, id, "cd && { "+command+"\n}"); r.ExitCode != 0 {
		t.Fatalf("%s: exit code %d\n%s", command, r.ExitCode, r.Result)
	}
}

// TestDocsAnalysis runs the page on data analysis, step by step and whole, with
// the model's answer canned. Its programs leave their sandboxes behind, so that
// nothing else may create any meanwhile.
func TestDocsAnalysis(t *testing.T) {
	all := documentation(t)
	for _, era := range []string{"old", "new"} {
		for _, language := range []string{"python", "typescript"} {
			steps := ""
			for _, heading := range []string{"2.2 Initialize Sandbox", "3.1 Code Execution Handler",
				"3.2 Creating the Analysis Prompt", "3.3 Tool Calling Setup", "3.4 Response Processing"} {
				steps += mustFind(t, all, analysisPage, heading, language)[0].Code + "\n"
			}
			for name, code := range map[string]string{
				"steps": steps,
				"whole": mustFind(t, all, analysisPage, "5. Complete Implementation", language)[0].Code,
			} {
				t.Run(era+"/"+language+"/"+name, func(t *testing.T) {
					removeNewSandboxes(t)
					dir := t.TempDir()
					writeDataset(t, filepath.Join(dir, "dataset.csv"))
					out := runSample(t, era, language, dir, code,
						"PYTHONPATH="+filepath.Join(repo, "e2e", "testdata"),
						"ANTHROPIC_API_KEY=not-used",
						"E2E_MODEL_ANSWER="+filepath.Join(repo, "e2e", "testdata", "analysis.py"))
					wantPrinted(t, out, "Chart saved to chart-0.png")
					png, err := os.ReadFile(filepath.Join(dir, "chart-0.png"))
					if err != nil || !strings.HasPrefix(string(png), "\x89PNG\r\n\x1a\n") {
						t.Errorf("chart-0.png is not a picture: %d bytes, %v", len(png), err)
					}
				})
			}
		}
	}
}

// TestDocsPreview runs the sample of a Flask app and looks at what it serves. Its
// programs leave their sandboxes behind, so that nothing else may create any
// meanwhile.
func TestDocsPreview(t *testing.T) {
	all := documentation(t)
	for _, era := range []string{"old", "new"} {
		for _, language := range []string{"python", "typescript"} {
			t.Run(era+"/"+language, func(t *testing.T) {
				removeNewSandboxes(t)
				key := strings.NewReplacer("YOUR_API_KEY", shared.api.key, "python /app.py", "python app.py") // it was uploaded as app.py
				out := runSample(t, era, language, t.TempDir(), key.Replace(mustFind(t, all, startPage, "Preview Your App", language)[0].Code))
				_, link, ok := strings.Cut(strings.TrimSpace(out), "Flask app is available at: ")
				id := footprint.ID.FindString(link)
				if !ok || id == "" {
					t.Fatalf("no link in %q", out)
				}
				p := previewed{sandbox: sandbox{ID: id}}
				if p.link(t); p.url != link {
					t.Errorf("the sample printed %s, the API says %s", link, p.url)
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				c := previewClient(t)
				for { // the sample does not wait for it
					req, err := p.request(ctx, "GET", "/", nil)
					if err != nil {
						t.Fatal(err)
					}
					res, err := c.Do(req)
					if err != nil {
						t.Fatal(err)
					}
					text, err := io.ReadAll(res.Body)
					res.Body.Close()
					if err == nil && strings.Contains(string(text), "This web app is running in a Daytona sandbox!") {
						return
					}
					if pause(ctx) != nil {
						t.Fatalf("%s: %s", res.Status, text)
					}
				}
			})
		}
	}
}

// removeNewSandboxes deletes what is created from here to the end of the test.
func removeNewSandboxes(t *testing.T) {
	t.Helper()
	had := map[string]bool{}
	before, err := shared.api.list(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, sb := range before {
		had[sb.ID] = true
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		now, err := shared.api.list(ctx)
		if err != nil {
			t.Error(err)
		}
		for _, sb := range now {
			if !had[sb.ID] {
				if err := shared.api.delete(ctx, sb.ID); err != nil {
					t.Error(err)
				}
			}
		}
	})
}

// writeDataset makes data with the columns that the page names, flaws included.
func writeDataset(t *testing.T, file string) {
	t.Helper()
	var b strings.Builder
	b.WriteString("brand,model,year,price_in_euro\n")
	for i := range 2000 {
		year := 1995 + i%29
		fmt.Fprintf(&b, "brand%d,model%d,%d,%d\n", i%7, i%31, year, 800*(year-1990)+i%500)
	}
	b.WriteString("x,y,,5000\nx,y,2001,\nx,y,not a year,7000\nx,y,2005,999999999\n")
	if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

func mustFind(t *testing.T, all []sample, page, heading, language string) []sample {
	t.Helper()
	found := find(all, page, heading, language)
	if len(found) == 0 {
		t.Fatalf("no %s sample below %q on the page %q", language, heading, page)
	}
	return found
}

// runSample runs a program in dir. TypeScript is put where the SDK can be found.
func runSample(t *testing.T, era, language, dir, code string, env ...string) string {
	t.Helper()
	if language == "python" {
		kit := pythonKit(t, era)
		file := filepath.Join(dir, "main.py")
		if err := os.WriteFile(file, []byte(code), 0o644); err != nil {
			t.Fatal(err)
		}
		return runProgram(t, dir, env, kit.python, file)
	}
	kit := nodeKit(t, era)
	work, err := os.MkdirTemp(kit.dir, "sample-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(work) })
	scope := filepath.Join(work, "node_modules", "@anthropic-ai")
	if err := os.MkdirAll(scope, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(repo, "e2e", "testdata", "anthropic-ai-sdk"), filepath.Join(scope, "sdk")); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(work, "index.mts")
	if err := os.WriteFile(file, []byte(code), 0o644); err != nil {
		t.Fatal(err)
	}
	return runProgram(t, dir, env, kit.node, filepath.Join(kit.dir, "node_modules", "tsx", "dist", "cli.mjs"), file)
}

func wantPrinted(t *testing.T, out string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(out, w) {
			t.Errorf("%q was not printed in\n%s", w, tail(out, 4<<10))
		}
	}
}
