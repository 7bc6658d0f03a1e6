// Archive, start from archive, its files there; fork and recover where the SDK has them.

import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { OLD, fails, run } from './common.mjs'

const PREPARE = 'cd ~ && echo kept > kept && ln kept linked && ln -s /nowhere dangling && head -c 3000000 /dev/urandom > noise && sha256sum noise > sum && sudo rm /etc/profile'
const LOOK = 'cd ~; cat linked; readlink dangling; sha256sum -c --quiet sum && echo same; ls /etc/profile 2>/dev/null; true'
const WANT = 'kept\n/nowhere\nsame\n'

async function settled(d, id, want) {
  for (let i = 0; i < 600; i++) {
    const box = await d.get(id)
    if (box.state === want) return box
    assert.ok(!['error', 'build_failed'].includes(box.state), box.errorReason)
    await sleep(100)
  }
  assert.fail(`the sandbox does not become ${want}`)
}

const look = async (box) => (await box.process.executeCommand(LOOK)).result

run(async (d) => {
  const a = await d.create()
  assert.equal((await a.process.executeCommand(PREPARE)).exitCode, 0)
  await fails(OLD ? '' : 'BadRequest', () => a.archive())
  await a.stop()
  await a.archive()
  const box = await settled(d, a.id, 'archived')
  assert.equal(box.backupState, 'Completed')
  assert.ok(box.backupCreatedAt)
  await a.start()
  assert.equal(a.state, 'started')
  assert.equal(await look(a), WANT)
  if (!OLD) {
    const fork = a.fork ?? a._experimental_fork
    const make = (name) => fork.call(a, typeof name === 'string' ? { name } : undefined)
    await fails('BadRequest', () => make())
    await a.stop()
    const copy = await make(`fork-${a.id.slice(0, 8)}`)
    assert.equal(copy.state, 'started')
    assert.equal(await look(copy), WANT)
    await copy.delete()
    await fails('BadRequest', () => a.recover())
  }
  await d.delete(a)
})
