// Resize of a started and of a stopped sandbox, and snapshots of both: only the newer SDK has them.

import assert from 'node:assert/strict'
import { OLD, fails, run, unique } from './common.mjs'

const size = (box) => [box.state, box.cpu, box.memory, box.disk]
const exec = async (box, command) => (await box.process.executeCommand(command)).result

run(async (d) => {
  if (OLD) return
  const a = await d.create()
  await a.resize({ cpu: 2, memory: 2 })
  assert.deepEqual(size(a), ['started', 2, 2, 3])
  await fails('BadRequest', () => a.resize({ memory: 1 }), 'larger')
  await fails('BadRequest', () => a.resize({ disk: 4 }), 'stop')
  await fails('BadRequest', () => a.resize({}), 'at least one')
  await exec(a, 'echo kept > ~/kept; sudo rm /etc/profile')
  await a.stop()
  await a.resize({ cpu: 1, memory: 1, disk: 4 })
  assert.deepEqual(size(a), ['stopped', 1, 1, 4])

  const name = `of-sandbox-${unique()}`
  await a.createSnapshot(name)
  assert.equal(a.state, 'stopped')
  const snapshot = await d.snapshot.get(name)
  try {
    assert.equal(snapshot.state, 'active')
    const b = await d.create({ snapshot: name })
    assert.deepEqual(size(b), ['started', 1, 1, 4])
    assert.equal(await exec(b, 'cat ~/kept; ls /etc/profile 2>/dev/null; id -un'), 'kept\ndaytona\n')
    await d.delete(b)
  } finally {
    await d.snapshot.delete(snapshot)
  }
  await a.start()
  assert.equal(await exec(a, 'cat ~/kept'), 'kept\n')
  await d.delete(a)
})
