// Commands: output, exit codes, directory, environment, time-outs.

import assert from 'node:assert/strict'
import { OLD, fails, run } from './common.mjs'

run(async (d) => {
  const p = (await d.create()).process
  const sh = (...args) => p.executeCommand(...args)

  let r = await sh("echo 'Hello, World!'")
  assert.deepEqual([r.exitCode, r.result, r.artifacts.stdout], [0, 'Hello, World!\n', 'Hello, World!\n'])
  for (const code of [1, 42, 255]) assert.equal((await sh(`exit ${code}`)).exitCode, code)
  r = await sh('no-such-command-at-all')
  assert.equal(r.exitCode, 127)
  assert.match(r.result, /not found/)

  r = await sh('echo out; echo err >&2; exit 3')
  assert.equal(r.exitCode, 3)
  assert.deepEqual(r.result.trim().split('\n').sort(), ['err', 'out'])

  assert.equal((await sh('pwd', '/tmp')).result.trim(), '/tmp')
  await sh('mkdir -p /home/daytona/w/src')
  assert.equal((await sh('pwd', 'w/src')).result.trim(), '/home/daytona/w/src')

  r = await sh('echo $CUSTOM_SECRET-$TWO', undefined, { CUSTOM_SECRET: 'DAYTONA', TWO: 'it\'s "2" & $HOME' })
  assert.equal(r.result, 'DAYTONA-it\'s "2" & $HOME\n')
  assert.equal((await sh('echo ${CUSTOM_SECRET:-gone}')).result, 'gone\n')

  r = await sh(`printf '%s|' "a b" 'c"d' $((1+2)) "$(echo sub)"`)
  assert.equal(r.result.trim(), 'a b|c"d|3|sub|')
  assert.equal((await sh('for i in 1 2 3; do\n  echo line $i\ndone | tac')).result, 'line 3\nline 2\nline 1\n')
  assert.equal((await sh("printf 'ünïcödé ☃ 漢字'")).result.trimEnd(), 'ünïcödé ☃ 漢字')
  assert.equal((await sh('cat; echo after')).result, 'after\n')
  const lines = (await sh('seq 1 200000')).result.trimEnd().split('\n')
  assert.deepEqual([lines.length, lines.at(-1)], [200000, '200000'])

  assert.equal((await sh('sleep 1; echo done', undefined, undefined, 20)).result, 'done\n')
  await fails('Timeout', () => sh('sleep 300 & echo $! > /tmp/bg; sleep 301', undefined, undefined, 2), 'timeout')
  r = await sh('for i in $(seq 20); do kill -0 $(cat /tmp/bg) 2>/dev/null || exec echo dead; sleep 0.1; done; echo alive')
  assert.equal(r.result.trim(), 'dead', 'the whole process group ends at the time-out')

  if (!OLD) {
    await fails('BadRequest', () => sh('   '))
    await fails('BadRequest', () => sh('true', undefined, { 'NOT A NAME': 'x' }), 'NOT A NAME')
  }
})
