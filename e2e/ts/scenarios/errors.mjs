// What goes wrong arrives as the SDK's own error class, with words.

import assert from 'node:assert/strict'
import crypto from 'node:crypto'
import { Daytona, DaytonaError } from '@daytonaio/sdk'
import { OLD, collect, fails, run, unique } from './common.mjs'

run(async (d) => {
  for (const apiKey of ['dtn_' + '0'.repeat(64), 'nonsense']) {
    const bad = new Daytona({ apiKey, apiUrl: process.env.DAYTONA_API_URL, target: 'us' })
    await fails('Authentication', () => bad.create())
    await fails('Authentication', () => bad.get(crypto.randomUUID()))
    await fails('Authentication', () => collect(bad.list()))
  }

  await fails('NotFound', () => d.get(crypto.randomUUID()), 'not found')
  await fails('NotFound', () => d.get('no-such-name'), 'not found')
  await assert.rejects(d.create({ snapshot: 'no-such-snapshot' }), (e) => {
    assert.ok(e instanceof DaytonaError, e)
    assert.match(e.message, /no-such-snapshot/)
    return true
  })

  await fails('BadRequest', () => d.create({ networkAllowList: 'not-a-cidr' }), 'network')
  await fails('BadRequest', () => d.create({ autoStopInterval: -1 })) // refused by the client itself
  await fails('BadRequest', () => d.create({ envVars: { 'NOT A NAME': 'x' } }), 'env')
  await fails('BadRequest', () => d.create({ user: 'no such user!' }), 'user')

  const name = `e2e-${unique()}`
  const sb = await d.create(OLD ? {} : { name })
  if (!OLD) await fails('Conflict', () => d.create({ name }), name)
  await fails('BadRequest', () => sb.getPreviewLink(70000), 'port')
  await fails('NotFound', () => sb.fs.getFileDetails('/no/such/file'))

  const gone = new Daytona({ apiKey: 'dtn_' + '0'.repeat(64), apiUrl: 'http://127.0.0.1:9/api', target: 'us' })
  await fails('Connection', () => gone.get('x'))
})
