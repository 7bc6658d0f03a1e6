// Quotas, rate limits and a suspension, as a program meets them. The organization is this program's own.

import assert from 'node:assert/strict'
import { fails, run } from './common.mjs'

const { DAYTONA_API_URL, DAYTONA_API_KEY, E2E_ADMIN_KEY, E2E_ORGANIZATION } = process.env

async function http(method, path, body, key = E2E_ADMIN_KEY) {
  const headers = { Authorization: `Bearer ${key}`, 'Content-Type': 'application/json' }
  const answer = await fetch(DAYTONA_API_URL + path, { method, headers, body: body && JSON.stringify(body) })
  const text = await answer.text()
  assert.ok(answer.ok, `${method} ${path}: ${answer.status} ${text}`)
  return text ? JSON.parse(text) : undefined
}

const quota = (changes) => http('PATCH', `/organizations/${E2E_ORGANIZATION}/quota`, changes)

async function usage() {
  const u = await http('GET', `/organizations/${E2E_ORGANIZATION}/usage`, undefined, DAYTONA_API_KEY)
  return [u.currentCpuUsage, u.currentMemoryUsage, u.currentDiskUsage, u.regionUsage[0].currentDiskUsage]
}

run(async (d) => {
  await quota({ totalCpuQuota: 1, totalDiskQuota: 6 })
  const sb = await d.create()
  assert.deepEqual(await usage(), [1, 1, 3, 3])
  await fails('BadRequest', () => d.create(), 'Total CPU limit exceeded. Maximum allowed: 1, in use: 1, requested: 1')

  // Stopped it gives back its processors, and keeps its disk.
  await sb.stop()
  assert.deepEqual(await usage(), [0, 0, 3, 3])
  await d.create()
  await fails('BadRequest', () => sb.start(), 'Total CPU limit exceeded')
  await quota({ totalCpuQuota: 10 })
  await fails('BadRequest', () => d.create(), 'Total disk limit exceeded. Maximum allowed: 6 GiB, in use: 6 GiB')
  await sb.start()

  await quota({ totalDiskQuota: 100, sandboxCreateRateLimit: 1, sandboxCreateRateLimitTtlSeconds: 3600 })
  await d.create()
  await fails('RateLimit', () => d.create(), 'Rate limit exceeded: 1 requests to create sandboxes in 1h0m0s are allowed for one organization')
  await quota({ sandboxCreateRateLimit: 0 })

  await http('POST', `/organizations/${E2E_ORGANIZATION}/suspend`, { reason: 'unpaid' })
  try {
    await fails('Forbidden', () => d.create(), 'Organization is suspended: unpaid')
    assert.equal((await sb.process.executeCommand('echo still here')).result.trim(), 'still here')
    await sb.stop()
    await fails('Forbidden', () => sb.start(), 'Organization is suspended')
  } finally {
    await http('POST', `/organizations/${E2E_ORGANIZATION}/unsuspend`)
  }
})
