// Sessions: one shell for many commands, logs whole and streamed, input, the entrypoint.

import assert from 'node:assert/strict'
import { OLD, fails, run } from './common.mjs'

const pause = (ms) => new Promise((r) => setTimeout(r, ms))

run(async (d) => {
  const p = (await d.create()).process
  await p.createSession('s')
  await fails('Conflict', () => p.createSession('s'), 'already exists')

  const sync = (command) => p.executeSessionCommand('s', { command })
  const begin = async (command, more = {}) => {
    const r = await p.executeSessionCommand('s', { command, runAsync: true, ...more })
    assert.ok(r.cmdId && r.exitCode == null, JSON.stringify(r))
    return r.cmdId
  }
  const ended = async (id) => {
    for (let i = 0; i < 300; i++) {
      const c = await p.getSessionCommand('s', id)
      if (c.exitCode != null) return c
      await pause(100)
    }
    assert.fail('the command did not end')
  }
  // Both streams are kept apart by both packages, by different means.
  const text = (r) => [r.exitCode, r.stdout ?? '', r.stderr ?? '']

  assert.deepEqual(text(await sync('pwd')), [0, '/home/daytona\n', ''])
  await sync('cd /tmp; export A=1; f() { echo f$A; }')
  assert.deepEqual(text(await sync('pwd; f')), [0, '/tmp\nf1\n', ''])
  assert.deepEqual(text(await sync('cat <<\'X\'\na \'b\' "c"\nX\n(exit 3)')), [3, 'a \'b\' "c"\n', ''])
  assert.deepEqual(text(await sync('echo out; echo err >&2')), [0, 'out\n', 'err\n'])
  assert.deepEqual(text(await sync('sleep 1000 & echo front')), [0, 'front\n', ''])

  const s = await p.getSession('s')
  assert.deepEqual([s.sessionId, s.commands[0].command, s.commands[0].exitCode], ['s', 'pwd', 0])
  assert.deepEqual((await p.listSessions()).map((x) => x.sessionId), ['s'])
  assert.equal((await p.getSessionCommand('s', s.commands[2].id)).command, 'pwd; f')

  // Logs as they come, each stream for itself.
  let id = await begin('for i in 1 2 3; do echo line $i; sleep 0.5; done; echo oops ünïcödé >&2')
  const began = Date.now()
  const out = []
  let err = ''
  await p.getSessionCommandLogs('s', id, (x) => out.push([Date.now() - began, x]), (x) => (err += x))
  assert.equal(out.map((x) => x[1]).join(''), 'line 1\nline 2\nline 3\n')
  assert.equal(err, 'oops ünïcödé\n')
  assert.ok(out.length >= 3 && out[0][0] < out.at(-1)[0] - 400, `output did not come as it was printed: ${JSON.stringify(out)}`)
  assert.equal((await ended(id)).exitCode, 0)
  const logs = await p.getSessionCommandLogs('s', id)
  assert.deepEqual([logs.stdout, logs.stderr], ['line 1\nline 2\nline 3\n', 'oops ünïcödé\n'])

  // Readers that come late, and several at once.
  id = await begin('seq 1 20000')
  await ended(id)
  await Promise.all([1, 2, 3].map(async () => {
    let all = ''
    await p.getSessionCommandLogs('s', id, (x) => (all += x), () => {})
    const lines = all.split('\n')
    assert.deepEqual([lines.length, lines.at(-2)], [20001, '20000'])
  }))

  if (!OLD) {
    id = await begin('read -r a; read -r b; echo "got $a and $b"', { suppressInputEcho: true })
    await p.sendSessionCommandInput('s', id, 'one')
    await p.sendSessionCommandInput('s', id, 'two\n')
    await ended(id)
    assert.equal((await p.getSessionCommandLogs('s', id)).stdout, 'got one and two\n')
    await fails('Gone', () => p.sendSessionCommandInput('s', id, 'late'), 'completed')
  }

  await p.createSession('t')
  await fails('', () => p.executeSessionCommand('t', { command: 'exit 3' }), 'session cancelled')
  await p.deleteSession('t')
  const pid = (await p.executeCommand('pgrep -x sleep | head -1')).result.trim()
  assert.ok(pid, 'the process that was left behind is gone')
  await p.deleteSession('s')
  assert.equal((await p.executeCommand(`kill -0 ${pid} 2>/dev/null; echo $?`)).result.trim(), '1')
  await fails('NotFound', () => p.getSession('s'), 'not found')
  assert.deepEqual(await p.listSessions(), [])

  if (!OLD) {
    assert.equal((await p.getEntrypointSession()).sessionId, 'entrypoint')
    const logs = await p.getEntrypointLogs()
    assert.deepEqual([logs.output, logs.stdout, logs.stderr], ['', '', ''])
  }
})
