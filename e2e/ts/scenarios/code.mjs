// codeRun: languages, output, exit codes, argv, env, time-outs.

import assert from 'node:assert/strict'
import { OLD, fails, run } from './common.mjs'

async function python(d) {
  const p = (await d.create({ language: 'python' })).process
  let r = await p.codeRun('print("Sum of 3 and 4 is " + str(3 + 4))')
  assert.deepEqual([r.exitCode, r.result.trimEnd(), r.artifacts.stdout.trimEnd()], [0, 'Sum of 3 and 4 is 7', 'Sum of 3 and 4 is 7'])

  r = await p.codeRun("def greet(n):\n    return f'Hello, {n}!'\n\nprint(greet('Wörld ☃ \\'\"\\\\ $HOME `x`'))")
  assert.deepEqual([r.exitCode, r.result.trimEnd()], [0, 'Hello, Wörld ☃ \'"\\ $HOME `x`!'])

  r = await p.codeRun("print('before')\nraise ValueError('boom')")
  assert.equal(r.exitCode, 1)
  assert.match(r.result, /before[^]*Traceback[^]*ValueError: boom/)

  r = await p.codeRun('import sys; sys.exit(7)')
  assert.equal(r.exitCode, 7)

  r = await p.codeRun('import sys; print(sys.argv[1:])', { argv: ['one', 'two'] })
  assert.equal(r.result.trim(), "['one', 'two']")

  r = await p.codeRun("import os; print(os.environ['A'], os.environ['B'])", { env: { A: '1', B: 'two words' } })
  assert.equal(r.result.trim(), '1 two words')

  r = await p.codeRun("for i in range(20000): print('line', i)")
  const lines = r.result.trimEnd().split('\n')
  assert.deepEqual([lines.length, lines.at(-1)], [20000, 'line 19999'])

  await fails('Timeout', () => p.codeRun('import time; time.sleep(120)', undefined, 2), 'timeout')
  r = await p.executeCommand('pgrep -c python3 || true')
  assert.equal(r.result.trim().split('\n').at(-1), '0', 'python processes left after the time-out')
}

async function node(d, language, typed) {
  const p = (await d.create({ language })).process
  // The old client runs JavaScript as TypeScript, which wants to know the type.
  let r = await p.codeRun(`const f = (${typed ? 'n: string' : "n = ''"}) => \`Hello, \${n}!\`;\nconsole.log(f('Daytona'));`)
  assert.deepEqual([r.exitCode, r.result.trimEnd()], [0, 'Hello, Daytona!'])

  // Where the arguments begin has changed between the two.
  r = await p.codeRun(`console.log(process.argv[${OLD ? 2 : 1}], process.env.FOO)`, { argv: ['Daytona'], env: { FOO: 'BAR' } })
  assert.equal(r.result.trim(), 'Daytona BAR')

  r = await p.codeRun('setTimeout(() => console.log("Done"), 1000);', undefined, 60)
  assert.equal(r.result.trim(), 'Done')

  r = await p.codeRun("console.log('before'); throw new Error('boom')")
  assert.match(r.result, /boom/)
  if (!OLD) {
    // The old client pipes into grep, whose exit code it reports.
    assert.equal(r.exitCode, 1)
    assert.equal((await p.codeRun('process.exit(5)')).exitCode, 5)
  }
}

run(async (d) => {
  await python(d)
  await node(d, 'typescript', true)
  await node(d, 'javascript', false)
})
