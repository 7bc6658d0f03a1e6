// Sandboxes made with defaults and with every option of the SDK.

import assert from 'node:assert/strict'
import { OLD, run, unique } from './common.mjs'

async function defaults(d) {
  const sb = await d.create()
  assert.match(sb.id, /^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$/)
  assert.equal(sb.state, 'started')
  assert.deepEqual([sb.cpu, sb.gpu, sb.memory, sb.disk], [1, 0, 1, 3])
  assert.equal(sb.user, 'daytona')
  assert.equal(sb.public, false)
  assert.deepEqual(sb.env, {})
  assert.deepEqual([sb.autoStopInterval, sb.autoArchiveInterval, sb.autoDeleteInterval], [15, 10080, -1])
  assert.equal(sb.labels['code-toolbox-language'], 'python')
  assert.ok(sb.snapshot && sb.organizationId && sb.target && sb.createdAt)
  if (!OLD) assert.ok(sb.name && sb.toolboxProxyUrl)
  const r = await sb.process.codeRun('print(6 * 7)')
  assert.deepEqual([r.exitCode, r.result.trim()], [0, '42'])
}

async function options(d) {
  const envVars = { GREETING: 'hello', SPACES: 'a b  c', ODD: 'it\'s "odd" $HOME `id` \\ ünï' }
  const labels = { e2e: unique(), purpose: 'options' }
  const name = OLD ? {} : { name: `e2e-${unique()}` }
  const sb = await d.create({
    language: 'python', envVars, labels, public: true,
    autoStopInterval: 30, autoArchiveInterval: 60, autoDeleteInterval: 120, ...name,
  })
  assert.equal(sb.public, true)
  for (const [k, v] of Object.entries(labels)) assert.equal(sb.labels[k], v)
  assert.deepEqual([sb.autoStopInterval, sb.autoArchiveInterval, sb.autoDeleteInterval], [30, 60, 120])
  assert.deepEqual(sb.env, envVars)
  if (!OLD) assert.equal(sb.name, name.name)
  for (const [k, v] of Object.entries(envVars)) {
    assert.equal((await sb.process.executeCommand(`printenv ${k}`)).result, v + '\n')
  }
  const r = await sb.process.codeRun("import os; print(os.environ['ODD'])")
  assert.equal(r.result.trim(), envVars.ODD)
}

async function userAndHome(d) {
  const sb = await d.create()
  const r = await sb.process.executeCommand('id -u; id -un; echo $HOME; pwd; hostname')
  assert.deepEqual(r.result.trim().split(/\s+/), ['1000', 'daytona', '/home/daytona', '/home/daytona', sb.id])
  assert.equal((await sb.getUserRootDir()).replace(/\/$/, ''), '/home/daytona')
  if (!OLD) assert.equal(await sb.getWorkDir(), '/home/daytona')
}

async function ephemeral(d) {
  const sb = await d.create({ ephemeral: true })
  assert.equal(sb.autoDeleteInterval, 0)
  await sb.stop()
  assert.ok(['stopped', 'destroying', 'destroyed'].includes(sb.state), sb.state)
}

run(async (d) => {
  await defaults(d)
  await options(d)
  await userAndHome(d)
  await ephemeral(d)
})
