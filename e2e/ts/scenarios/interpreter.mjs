// runCode: state, contexts, callbacks, errors, variables, time-outs.

import assert from 'node:assert/strict'
import { OLD, fails, run } from './common.mjs'

run(async (d) => {
  if (OLD) return // its package knows no interpreter
  const sb = await d.create()
  const ci = sb.codeInterpreter

  const got = { out: '', err: '', errors: [] }
  let r = await ci.runCode("import sys\nx = 41\nprint('out ☃')\nprint('err', file=sys.stderr)", {
    onStdout: (m) => void (got.out += m.output),
    onStderr: (m) => void (got.err += m.output),
    onError: (e) => void got.errors.push(e),
  })
  assert.deepEqual([r.stdout, r.stderr, r.error], ['out ☃\n', 'err\n', undefined])
  assert.deepEqual(got, { out: 'out ☃\n', err: 'err\n', errors: [] })
  r = await ci.runCode('def f(n):\n    return x + n\nf(1)')
  assert.equal(r.stdout, '')
  assert.equal((await ci.runCode('print(f(1))')).stdout, '42\n')

  r = await ci.runCode("def fail():\n    raise ValueError('boom')\nfail()", { onError: (e) => void got.errors.push(e) })
  assert.deepEqual([r.error.name, r.error.value, got.errors.length], ['ValueError', 'boom', 1])
  assert.match(r.error.traceback, /^Traceback[^]*in fail[^]*ValueError: boom/)
  assert.doesNotMatch(r.error.traceback, /stdin|toolbox/)

  r = await ci.runCode("import os; print(os.environ['A'])", { envs: { A: 'two words' } })
  assert.equal(r.stdout, 'two words\n')
  assert.equal((await ci.runCode("print(os.environ.get('A'))")).stdout, 'None\n')

  await sb.fs.createFolder('sub', '755')
  const a = await ci.createContext()
  const b = await ci.createContext('/home/daytona/sub')
  assert.deepEqual([a.cwd, b.cwd, a.language, a.active], ['/home/daytona', '/home/daytona/sub', 'python', true])
  assert.deepEqual((await ci.listContexts()).map((c) => c.id), [a.id, b.id])
  await ci.runCode("x = 'a'", { context: a })
  r = await ci.runCode("print(globals().get('x')); import os; print(os.getcwd())", { context: b })
  assert.equal(r.stdout, 'None\n/home/daytona/sub\n')
  assert.equal((await ci.runCode('print(x)', { context: a })).stdout, 'a\n')

  await fails('Timeout', () => ci.runCode('while True: pass', { context: a, timeout: 2 }), 'timed out')
  assert.equal((await ci.runCode('print(x)', { context: a })).stdout, 'a\n')

  await ci.deleteContext(a)
  assert.deepEqual((await ci.listContexts()).map((c) => c.id), [b.id])
  await fails('', () => ci.runCode('1', { context: a }), `context not found: ${a.id}`)
  await fails('NotFound', () => ci.deleteContext(a))

  await fails('', () => ci.runCode('import os; os._exit(3)', { context: b }), 'exit code 3')
  r = await ci.runCode("for i in range(20000): print('line', i)", { context: b })
  const lines = r.stdout.trimEnd().split('\n')
  assert.deepEqual([lines.length, lines.at(-1)], [20000, 'line 19999'])
})
