// Images that are declared, snapshots, and sandboxes of both.

import assert from 'node:assert/strict'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { Image } from '@daytonaio/sdk'
import { fails, OLD, run, unique } from './common.mjs'

const UNIQUE = unique()
const BASE = 'python:3.11.12-slim-bookworm'

async function sh(sandbox, command) {
  const got = await sandbox.process.executeCommand(command)
  assert.equal(got.exitCode, 0, `${command}: ${got.result}`)
  return got.result.trim()
}

function files(root) {
  fs.mkdirSync(path.join(root, 'tree', 'sub'), { recursive: true })
  fs.writeFileSync(path.join(root, 'tree', 'sub', 'run.sh'), '#!/bin/sh\necho ran\n', { mode: 0o755 })
  fs.writeFileSync(path.join(root, 'tree', 'data.txt'), 'data\n')
  fs.writeFileSync(path.join(root, 'hello.txt'), `hello ${UNIQUE}\n`)
  fs.writeFileSync(path.join(root, 'requirements.txt'), 'six==1.17.0\n')
  fs.writeFileSync(path.join(root, 'pyproject.toml'), '[project]\nname = "x"\nversion = "1"\ndependencies = ["toml==0.10.2"]\n')
  fs.mkdirSync(path.join(root, 'app'))
  fs.writeFileSync(path.join(root, 'app', 'part.txt'), 'part\n')
  fs.writeFileSync(path.join(root, 'app', 'Dockerfile'), `FROM ${BASE}\nCOPY part.txt /srv/part.txt\n`)
  fs.mkdirSync(path.join(root, 'more'))
  fs.writeFileSync(path.join(root, 'more', 'extra.txt'), 'extra\n')
}

async function dynamic(daytona, root) {
  const image = Image.debianSlim('3.13')
    .pipInstall('six==1.17.0')
    .runCommands('mkdir -p /srv/work', ['sh', '-c', 'echo printed by the build'])
    .addLocalFile(path.join(root, 'hello.txt'), '/srv/work/')
    .addLocalDir(path.join(root, 'tree'), '/srv/tree')
    .env({ GREETING: 'good morning', RUN_ID: UNIQUE })
    .workdir('/srv/work')
    .entrypoint(['sleep', 'infinity'])
  const logs = []
  const sandbox = await daytona.create({ image, resources: { cpu: 1, memory: 1, disk: 4 } }, { timeout: 0, onSnapshotCreateLogs: (l) => logs.push(l) })
  assert.match(logs.join('\n'), /printed by the build/)
  assert.equal(sandbox.disk, 4)
  assert.equal(await sh(sandbox, "python3 -c 'import six; print(six.__version__)'"), '1.17.0')
  assert.equal(await sh(sandbox, 'cat /srv/work/hello.txt'), `hello ${UNIQUE}`)
  assert.equal(await sh(sandbox, '/srv/tree/sub/run.sh'), 'ran')
  assert.equal(await sh(sandbox, 'echo $GREETING-$RUN_ID'), `good morning-${UNIQUE}`)

  const began = Date.now()
  const again = await daytona.create({ image, resources: { cpu: 1, memory: 1, disk: 4 } }, { timeout: 60 })
  console.error(`the same definition again: ${Date.now() - began} ms`)
  assert.equal(await sh(again, 'cat /srv/work/hello.txt'), `hello ${UNIQUE}`)
}

async function prebuilt(daytona, root) {
  const name = `e2e/images:${UNIQUE}`
  const image = Image.base(BASE).pipInstallFromRequirements(path.join(root, 'requirements.txt')).env({ RUN_ID: UNIQUE }).cmd(['sleep', 'infinity'])
  const logs = []
  const made = await daytona.snapshot.create({ name, image, resources: { cpu: 1, memory: 1, disk: 3 } }, { onLogs: (l) => logs.push(l) })
  const text = logs.join('\n')
  assert.equal(made.state, 'active')
  assert.ok(text.includes(`Creating snapshot ${name}`) && text.includes(`Created snapshot ${name}`), text)
  assert.match(text, /pip install -r/, 'the log of the build')
  assert.ok(made.size > 0 && made.cpu === 1 && made.disk === 3, JSON.stringify(made))
  const got = await daytona.snapshot.get(name)
  assert.equal(got.id, made.id)
  const listed = await daytona.snapshot.list()
  assert.ok((Array.isArray(listed) ? listed : listed.items).some((s) => s.name === name))
  await fails('Conflict', () => daytona.snapshot.create({ name, image }), 'already exists')

  const sandbox = await daytona.create({ snapshot: name })
  assert.equal(await sh(sandbox, "python -c 'import six; print(six.__version__)'"), '1.17.0')
  await deactivate(made.id)
  await fails(OLD ? '' : 'BadRequest', () => daytona.create({ snapshot: name }), 'inactive')
  await daytona.snapshot.activate(got)
  let back
  do {
    back = await daytona.snapshot.get(name)
    await new Promise((r) => setTimeout(r, 100))
  } while (back.state !== 'active' && back.state !== 'error')
  const second = await daytona.create({ snapshot: name })
  assert.equal(await sh(second, 'echo $RUN_ID'), UNIQUE)

  // What runs goes on without its snapshot, and what is stopped starts.
  await second.stop()
  await daytona.snapshot.delete(back)
  await fails('NotFound', () => daytona.snapshot.get(name), name)
  assert.equal(await sh(sandbox, "python -c 'import six; print(six.__version__)'"), '1.17.0')
  await second.start()
  assert.equal(await sh(second, 'echo $RUN_ID'), UNIQUE)
}

async function fromFiles(daytona, root) {
  const image = Image.fromDockerfile(path.join(root, 'app', 'Dockerfile'))
    .pipInstallFromPyproject(path.join(root, 'pyproject.toml'), {})
    .dockerfileCommands(['COPY extra.txt /srv/extra.txt', `LABEL run=${UNIQUE}`], path.join(root, 'more'))
  const sandbox = await daytona.create({ image }, { timeout: 0 })
  assert.equal(await sh(sandbox, 'cat /srv/part.txt /srv/extra.txt'), 'part\nextra')
  assert.equal(await sh(sandbox, "python -c 'import toml; print(toml.__version__)'"), '0.10.2')
}

// A pool of the organization's own: filled, taken from, drained.
async function pool(daytona, snapshot) {
  const made = await daytona.warmPool.create({ snapshot, pool: 1 })
  assert.deepEqual([made.snapshot, made.pool, made.cpu, made.mem, made.disk, made.env], [snapshot, 1, 1, 1, 3, {}])
  const holds = async (size) => {
    for (const end = Date.now() + 120_000; ;) {
      const now = (await daytona.warmPool.list()).find((p) => p.id === made.id)
      if (now.currentSize === size) return
      assert.ok(Date.now() < end, JSON.stringify(now))
      await new Promise((resolve) => setTimeout(resolve, 200))
    }
  }
  await fails('Conflict', () => daytona.warmPool.create({ snapshot, pool: 1 }), 'already')
  await holds(1)
  const sandbox = await daytona.create({ snapshot, envVars: { MINE: 'yes' } })
  assert.equal(await sh(sandbox, 'echo $MINE'), 'yes')
  const metrics = await (await fetch(process.env.DAYTONA_API_URL.replace(/\/api$/, '') + '/metrics')).text()
  assert.ok(metrics.includes(`runner_warm_offers_total{outcome="hit",snapshot="${made.id}"} 1`), 'it did not come from the pool')
  assert.equal((await daytona.warmPool.update(made.id, { pool: 0 })).pool, 0)
  await holds(0)
  await daytona.warmPool.delete(made.id)
  await fails('NotFound', () => daytona.warmPool.delete(made.id))
}

async function byName(daytona) {
  const name = `e2e-plain:${UNIQUE}`
  const made = await daytona.snapshot.create({ name, image: BASE, entrypoint: ['sleep', 'infinity'] }, { onLogs: () => {} })
  assert.deepEqual(made.entrypoint, ['sleep', 'infinity'])
  const sandbox = await daytona.create({ snapshot: name })
  assert.equal(await sh(sandbox, "python3 -c 'print(6*7)'"), '42')
  if (!OLD) await pool(daytona, name)
  await daytona.snapshot.delete(made)
  for (const [bad, text] of [['python:latest', '1.2.3'], ['python', 'no tag'], ['Bad Name:1', 'not the name of an image']]) {
    await fails(OLD ? '' : 'BadRequest', () => daytona.snapshot.create({ name: `bad-${UNIQUE}`, image: bad }), text)
  }
}

async function failures(daytona) {
  const logs = []
  const image = Image.base(BASE).runCommands(`echo before ${UNIQUE}; exit 7`)
  const e = await fails('', () => daytona.create({ image }, { timeout: 120, onSnapshotCreateLogs: (l) => logs.push(l) }))
  assert.match(e.message, /7/)
  assert.ok(logs.some((l) => l.includes(`before ${UNIQUE}`)), logs.join('\n'))
  const e2 = await fails('', () => daytona.snapshot.create({ name: `fails-${UNIQUE}`, image }, { onLogs: () => {} }))
  assert.match(e2.message, /7/)
}

async function deactivate(id) {
  const res = await fetch(`${process.env.DAYTONA_API_URL}/snapshots/${id}/deactivate`, {
    method: 'POST',
    headers: { Authorization: `Bearer ${process.env.DAYTONA_API_KEY}` },
  })
  assert.equal(res.status, 204, await res.text())
}

await run(async (daytona) => {
  const root = fs.mkdtempSync(path.join(os.tmpdir(), 'e2e-images-'))
  try {
    files(root)
    await dynamic(daytona, root)
    await prebuilt(daytona, root)
    await fromFiles(daytona, root)
    await byName(daytona)
    await failures(daytona)
  } finally {
    fs.rmSync(root, { recursive: true, force: true })
  }
})
