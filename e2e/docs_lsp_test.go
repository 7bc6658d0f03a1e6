//go:build root

package e2e

import (
	"strings"
	"testing"
)

const lspPage = "Language Server Protocol"

// Between creating a server and asking it, the page leaves out that there must
// be a file, and that the server must be started. The position that it asks
// about is line 10, character 15.
var lspGlue = map[string]string{
	"python": `
sandbox.fs.upload_file(b"""import os
# 1
# 2
# 3
# 4
# 5
# 6
# 7
# 8
# 9
x_1 = os.path.jo
""", "workspace/project/main.py")
lsp_server.start()
lsp_server.did_open("workspace/project/main.py")
`,
	"typescript": `
await sandbox.fs.uploadFile(Buffer.from(` + "`" + `const gr = { greeting: 1 }
// 1
// 2
// 3
// 4
// 5
// 6
// 7
// 8
// 9
const x = gr.gr
` + "`" + `), 'workspace/project/main.ts')
await lspServer.start()
await lspServer.didOpen('workspace/project/main.ts')
`,
}

// TestDocsLSP runs the samples of the page on language servers, one after the
// other in one program. It leaves its sandbox behind, so that nothing else may
// create any meanwhile.
func TestDocsLSP(t *testing.T) {
	all := documentation(t)
	for _, era := range []string{"old", "new"} {
		for language, want := range map[string]string{"python": "label='join", "typescript": "label: 'greeting'"} {
			t.Run(era+"/"+language, func(t *testing.T) {
				removeNewSandboxes(t)
				create := mustFind(t, all, lspPage, "Creating LSP Servers", language)[0].Code
				ask := mustFind(t, all, lspPage, "Code Completion", language)[0].Code
				// Each sample has its imports; a program may have them once.
				known := strings.ReplaceAll(mustFind(t, all, lspPage, "Supported Languages", language)[0].Code,
					"import { LspLanguageId } from '@daytonaio/sdk'\n", "")
				if era == "new" && language == "python" {
					// The newest client takes an object where the page has a dictionary.
					const dictionary = `{"line": 10, "character": 15}`
					if !strings.Contains(ask, dictionary) {
						t.Errorf("the sample no longer has %s", dictionary)
					}
					ask = "from daytona import LspCompletionPosition\n" +
						strings.ReplaceAll(ask, dictionary, "LspCompletionPosition(line=10, character=15)")
				}
				out := runSample(t, era, language, t.TempDir(), create+known+lspGlue[language]+ask)
				wantPrinted(t, out, "Completions: ", want)
			})
		}
	}
}
