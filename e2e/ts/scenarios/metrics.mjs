// What a sandbox uses, as the newest SDK reads it.

import assert from 'node:assert/strict'
import { OLD, run } from './common.mjs'

const MIB = 1 << 20

run(async (d) => {
  if (OLD) return // that package has no such call
  const s = await d.create()
  const first = await s.getMetricsLatest()
  assert.equal(first.cpuCount, 1)
  assert.equal(first.memTotal, 1024 * MIB)
  assert.ok(first.diskTotal > 2700 * MIB && first.diskTotal < 3100 * MIB, JSON.stringify(first))
  assert.ok(first.memUsed > 0 && first.memUsed < first.memTotal && first.memCache >= 0, JSON.stringify(first))
  assert.ok(first.cpuUsedPct >= 0 && first.cpuUsedPct <= 100, JSON.stringify(first))
  assert.ok(Math.abs(Date.now() - first.timestamp.getTime()) < 60_000, JSON.stringify(first))

  await s.process.executeCommand('head -c 100M /dev/urandom > filling && sync')
  const then = await s.getMetricsLatest()
  assert.ok(then.diskUsed >= first.diskUsed + 95 * MIB, JSON.stringify([first, then]))
})
