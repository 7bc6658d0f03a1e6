// List, find, get, labels, intervals, preview links, stop, start, delete.

import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { OLD, collect, fails, run, unique } from './common.mjs'

const ids = (list) => list.map((s) => s.id).sort()

async function finding(d, a, b, group) {
  const listed = (labels, limit) => collect(OLD ? d.list(labels) : d.list({ labels, limit }))
  assert.deepEqual(ids(await listed({ group })), [a.id, b.id].sort())
  assert.deepEqual(ids(await listed({ group, n: '2' })), [b.id])
  assert.deepEqual(await listed({ group: 'nobody' }), [])
  const all = ids(await collect(d.list()))
  assert.ok(all.includes(a.id) && all.includes(b.id))
  if (OLD) {
    assert.equal((await d.findOne({ id: a.id })).id, a.id)
    assert.equal((await d.findOne({ labels: { group, n: '2' } })).id, b.id)
    await fails('', () => d.findOne({ labels: { group: 'nobody' } }))
  } else {
    assert.deepEqual(ids(await listed({ group }, 1)), [a.id, b.id].sort(), 'pages of one, each once')
    assert.equal((await d.get(a.name)).id, a.id)
  }
  assert.equal((await d.get(a.id)).id, a.id)
}

async function settings(d, a, group) {
  const labels = { group, n: '1', changed: 'yes', 'code-toolbox-language': 'python' }
  assert.deepEqual(await a.setLabels(labels), labels)
  await a.setAutostopInterval(0)
  await a.setAutoArchiveInterval(1440)
  await a.setAutoDeleteInterval(2880)
  const again = await d.get(a.id)
  assert.deepEqual([again.autoStopInterval, again.autoArchiveInterval, again.autoDeleteInterval], [0, 1440, 2880])
  assert.deepEqual(again.labels, labels)
  await fails(OLD ? '' : 'BadRequest', () => a.setAutostopInterval(-1))
  if (!OLD) await a.refreshActivity()

  const link = await a.getPreviewLink(3000)
  assert.ok(link.url.startsWith('http') && link.url.includes('3000') && link.url.includes(a.id), link.url)
  assert.ok(link.token)
}

async function stopping(d, a) {
  await a.fs.uploadFile(Buffer.from('kept'), 'kept.txt')
  await a.stop()
  assert.equal(a.state, 'stopped')
  assert.equal((await d.get(a.id)).state, 'stopped')
  await fails(OLD ? '' : 'BadRequest', () => a.process.executeCommand('true'))
  await a.start()
  assert.equal(a.state, 'started')
  assert.equal((await a.fs.downloadFile('kept.txt')).toString(), 'kept')
  await a.refreshData()
  assert.equal(a.state, 'started')
  await d.stop(a)
  await d.start(a)
  assert.equal((await a.process.executeCommand('echo again')).result, 'again\n')
}

async function deleting(d, a, b) {
  await a.delete()
  await a.delete() // twice is no error
  const deadline = Date.now() + 30_000
  for (;;) {
    let state
    try {
      state = (await d.get(a.id)).state
    } catch (e) {
      assert.match(e.message, /not found/i)
      break
    }
    assert.ok(['destroying', 'destroyed'].includes(state), state)
    if (state === 'destroyed') break
    assert.ok(Date.now() < deadline, state)
    await sleep(200)
  }
  await b.stop()
  await d.delete(b)
}

run(async (d) => {
  const group = unique()
  const a = await d.create({ labels: { group, n: '1' } })
  const b = await d.create({ labels: { group, n: '2' } })
  await finding(d, a, b, group)
  await settings(d, a, group)
  await stopping(d, a)
  await deleting(d, a, b)
})
