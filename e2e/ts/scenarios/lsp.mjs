// Language servers: symbols and completions, of Python and of TypeScript.

import assert from 'node:assert/strict'
import { fails, run } from './common.mjs'

const python = `import os


class Greeter:
    def greet(self, name):
        return "Hello, " + name


os.path.jo
`

const typescript = `export class Greeter {
  greeting = 'Hello'
  greet(name: string): string {
    return this.greeting + name
  }
}

new Greeter().
`

const CLASS = 5
const METHOD = 6
const names = (symbols) => symbols.map((s) => `${s.kind} ${s.name}`)
const labels = (list) => list.items.map((item) => item.label.split('(')[0])

function has(all, ...wanted) {
  for (const one of wanted) assert.ok(all.includes(one), `${one} is not in ${all}`)
}

run(async (d) => {
  const sb = await d.create()
  const sh = (command) => sb.process.executeCommand(command)

  // Relative paths: the old package makes them absolute, the new one leaves that to the server.
  await sb.fs.uploadFile(Buffer.from(python), 'py-project/greeter.py')
  let lsp = await sb.createLspServer('python', 'py-project')
  const path = '/home/daytona/py-project/greeter.py'
  await fails('BadRequest', () => lsp.documentSymbols(path), 'server not initialized')
  await lsp.start()
  await lsp.didOpen(path)
  let symbols = await lsp.documentSymbols(path)
  has(names(symbols), `${CLASS} Greeter`, `${METHOD} greet`)
  assert.equal(symbols[0].location.uri.slice(0, 22), 'file:///home/daytona/p')
  has(names(await lsp.sandboxSymbols('Greeter')), `${CLASS} Greeter`)
  has(labels(await lsp.completions(path, { line: 8, character: 10 })), 'join')
  await fails('NotFound', () => lsp.didOpen('/home/daytona/py-project/none.py'), 'file not found')
  await lsp.didClose(path)
  await lsp.stop()
  await fails('BadRequest', () => lsp.stop(), 'server not initialized')

  await sb.fs.uploadFile(Buffer.from(typescript), 'ts-project/greeter.ts')
  lsp = await sb.createLspServer('typescript', 'ts-project')
  await lsp.start()
  // As the documentation has it: the project's path is in both.
  await lsp.didOpen('ts-project/greeter.ts')
  symbols = await lsp.documentSymbols('ts-project/greeter.ts')
  has(names(symbols), `${CLASS} Greeter`, `${METHOD} greet`)
  has(names(await lsp.workspaceSymbols('Greeter')), `${CLASS} Greeter`)
  has(labels(await lsp.completions('ts-project/greeter.ts', { line: 7, character: 14 })), 'greet', 'greeting')
  await sb.fs.uploadFile(Buffer.from(typescript.replace('greet(', 'welcome(')), 'ts-project/greeter.ts')
  has(labels(await lsp.completions('ts-project/greeter.ts', { line: 7, character: 14 })), 'welcome', 'greeting')
  await lsp.didClose('ts-project/greeter.ts')
  await lsp.stop()
  const left = await sh("for i in $(seq 50); do pgrep -f '[t]sserver.js' > /dev/null || exec echo none; sleep 0.1; done; ps aux")
  assert.equal(left.result, 'none\n')

  // A client that knows no other language refuses by itself.
  await assert.rejects(async () => (await sb.createLspServer('cobol', 'ts-project')).start())
})
