// 64 MiB up and down, unharmed.

import assert from 'node:assert/strict'
import crypto from 'node:crypto'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { run } from './common.mjs'

const sum = (file) => crypto.createHash('sha256').update(fs.readFileSync(file)).digest('hex')

run(async (d) => {
  const sb = await d.create()
  const local = fs.mkdtempSync(path.join(os.tmpdir(), 'e2e-'))
  try {
    const src = path.join(local, 'src'), dst = path.join(local, 'dst')
    fs.writeFileSync(src, crypto.randomBytes(64 << 20))
    await sb.fs.uploadFile(src, 'big.bin')
    const r = await sb.process.executeCommand('sha256sum big.bin', '/home/daytona')
    assert.equal(r.result.split(' ')[0], sum(src))
    await sb.fs.downloadFile('big.bin', dst)
    assert.equal(sum(dst), sum(src))
  } finally {
    fs.rmSync(local, { recursive: true })
  }
})
