// Previews: links, who may follow them, what passes, rotation on stop; SSH of newer clients.

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import http from 'node:http'
import path from 'node:path'
import { OLD, run } from './common.mjs'

// get asks, with names below localhost leading to this machine, as browsers have it.
const get = (url, headers = {}) =>
  new Promise((resolve, reject) => {
    const to = new URL(url)
    const lookup = (_, options, done) => (options.all ? done(null, [{ address: '127.0.0.1', family: 4 }]) : done(null, '127.0.0.1', 4))
    http.get(to, { headers, lookup: to.hostname.endsWith('.localhost') ? lookup : undefined }, async (res) => {
      let text = ''
      for await (const piece of res.setEncoding('utf8')) text += piece
      resolve({ status: res.statusCode, headers: res.headers, text })
    }).on('error', reject)
  })

const login = (command, line) =>
  new Promise((resolve) => {
    const options = ['-o', 'StrictHostKeyChecking=no', '-o', 'UserKnownHostsFile=/dev/null', '-o', 'LogLevel=ERROR', '-o', 'BatchMode=yes']
    execFile('ssh', [...options, ...command.split(' ').slice(1), line], (err, out, stderr) => resolve([err?.code ?? 0, out, stderr]))
      .stdin.end()
  })

const serve = 'nohup python3 /tmp/app.py 3000 127.0.0.1 > /tmp/app.log 2>&1 & until grep -q READY /tmp/app.log; do sleep 0.05; done'

run(async (daytona) => {
  const sandbox = await daytona.create()
  await sandbox.fs.uploadFile(await readFile(path.join(process.env.E2E_TESTDATA, 'preview', 'app.py')), '/tmp/app.py')
  assert.equal((await sandbox.process.executeCommand(serve)).exitCode, 0)

  const link = await sandbox.getPreviewLink(3000)
  assert.ok(new URL(link.url).host.startsWith(`3000-${sandbox.id}.`), link.url)
  const token = { 'x-daytona-preview-token': link.token }
  assert.equal((await get(link.url)).status, 401)
  assert.equal((await get(link.url, { 'x-daytona-preview-token': 'x'.repeat(32) })).status, 401)
  assert.match((await get(link.url, token)).text, /hello from port 3000/)
  assert.match((await get(`${link.url}/?DAYTONA_SANDBOX_AUTH_KEY=${link.token}`)).text, /hello from port 3000/)
  assert.match((await get(link.url, { authorization: `Bearer ${process.env.DAYTONA_API_KEY}` })).text, /hello from port 3000/)
  const browser = await get(`${link.url}/?DAYTONA_SANDBOX_AUTH_KEY=${link.token}`, { accept: 'text/html' })
  assert.equal(browser.status, 303)
  const cookie = browser.headers['set-cookie'][0].split(';')[0]
  assert.match((await get(link.url, { cookie })).text, /hello from port 3000/)

  if (!OLD) {
    const signed = await sandbox.getSignedPreviewUrl(3000, 60)
    assert.match((await get(signed.url)).text, /hello from port 3000/)
    await sandbox.expireSignedPreviewUrl(3000, signed.token)
    assert.equal((await get(signed.url)).status, 401)

    const access = await sandbox.createSshAccess(5)
    assert.deepEqual(await login(access.sshCommand, 'echo in; exit 7'), [7, 'in\n', ''])
    assert.equal((await sandbox.validateSshAccess(access.token)).valid, true)
    await sandbox.revokeSshAccess(access.token)
    assert.equal((await login(access.sshCommand, 'echo in'))[0], 255)
  }

  // A stop replaces the token, and the cookie made with it.
  await sandbox.stop()
  assert.equal((await get(link.url, token)).status, 401)
  assert.equal((await get(link.url, { cookie })).status, 401)
  const fresh = await sandbox.getPreviewLink(3000)
  assert.notEqual(fresh.token, link.token)
  assert.equal((await get(fresh.url, { 'x-daytona-preview-token': fresh.token })).status, 503)
  await sandbox.start()
  assert.equal((await sandbox.process.executeCommand(serve)).exitCode, 0)
  assert.match((await get(fresh.url, { 'x-daytona-preview-token': fresh.token })).text, /hello from port 3000/)

  // Anybody sees what a public sandbox shows.
  const open = await daytona.create({ public: true })
  assert.equal((await open.process.executeCommand('cd /tmp && (nohup python3 -m http.server 8000 > /dev/null 2>&1 &) ; until curl -s localhost:8000 > /dev/null; do sleep 0.1; done')).exitCode, 0)
  assert.equal((await get((await open.getPreviewLink(8000)).url)).status, 200)
  assert.equal((await get((await open.getPreviewLink(22222)).url)).status, 401)
})
