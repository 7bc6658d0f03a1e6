// Files for builds go into object storage by the SDK's own client, and no further than the organization's part.

import assert from 'node:assert/strict'
import crypto from 'node:crypto'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import os from 'node:os'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { run } from './common.mjs'

const require = createRequire(import.meta.url)
const root = path.dirname(require.resolve('@daytonaio/sdk/package.json'))

async function objectStorage() {
  for (const file of ['src/ObjectStorage.js', 'esm/ObjectStorage.js', 'cjs/ObjectStorage.js', 'ObjectStorage.js']) {
    try {
      const m = await import(pathToFileURL(path.join(root, file)))
      return m.ObjectStorage ?? m.default.ObjectStorage
    } catch (e) {
      if (e.code !== 'ERR_MODULE_NOT_FOUND') throw e
    }
  }
  assert.fail(`no ObjectStorage below ${root}`)
}

run(async () => {
  const ObjectStorage = await objectStorage()
  const answer = await fetch(`${process.env.DAYTONA_API_URL}/object-storage/push-access`, {
    headers: { Authorization: `Bearer ${process.env.DAYTONA_API_KEY}`, 'X-Daytona-Source': 'typescript-sdk' },
  })
  assert.equal(answer.status, 200)
  const access = await answer.json()
  const storage = new ObjectStorage({
    endpointUrl: access.storageUrl, accessKeyId: access.accessKey, secretAccessKey: access.secret,
    sessionToken: access.sessionToken, bucketName: access.bucket, region: access.region,
  })
  const folder = await mkdtemp(path.join(os.tmpdir(), 'uploads-'))
  try {
    const small = path.join(folder, 'small.txt')
    const large = path.join(folder, 'large.bin')
    const tree = path.join(folder, 'tree')
    await writeFile(small, crypto.randomBytes(100))
    await writeFile(large, crypto.randomBytes(12 << 20)) // several parts
    await mkdir(path.join(tree, 'below'), { recursive: true })
    await writeFile(path.join(tree, 'below', 'ä b+c.txt'), 'x')
    for (const file of [small, large, tree]) {
      const first = await storage.upload(file, access.organizationId, path.basename(file))
      assert.equal(first.length, 32)
      assert.equal(await storage.upload(file, access.organizationId, path.basename(file)), first) // found again
    }
    await assert.rejects(storage.upload(small, '11111111-2222-3333-4444-555555555555', 'small.txt'), (e) =>
      /AccessDenied|credentials do not reach/.test(`${e.name} ${e.message}`))
  } finally {
    await rm(folder, { recursive: true })
  }
})
