// Every file operation, with ordinary and odd names.

import assert from 'node:assert/strict'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { OLD, fails, run } from './common.mjs'

const ODD = ['uni-é-ç-漢字-🙂.txt', "with space & 'single' #hash?query%20;semi.txt", '-leading-dash', '.hidden', 'x'.repeat(200)]

async function folders(f) {
  await f.createFolder('e2e/dir', '755')
  await f.createFolder('e2e/private', '700')
  const info = await f.getFileDetails('e2e/dir')
  assert.deepEqual([info.name, info.isDir, info.permissions], ['dir', true, '0755'])
  assert.equal((await f.getFileDetails('e2e/private')).permissions, '0700')
  await f.createFolder('e2e/dir', '755')
  await fails('BadRequest', () => f.createFolder('e2e/bad', '99z'))
}

async function transfers(f, local) {
  const binary = Buffer.alloc(16384, Buffer.from(Array.from({ length: 256 }, (_, i) => i)))
  await f.uploadFile(Buffer.from('Hello, World!\n'), 'e2e/hello.txt')
  await f.uploadFile(binary, 'e2e/new/deep/er/binary.bin')
  await f.uploadFile(Buffer.alloc(0), 'e2e/empty')
  const file = path.join(local, 'local.txt')
  fs.writeFileSync(file, 'from a local file\n')
  await f.uploadFile(file, '/tmp/e2e-local.txt')
  const many = Array.from({ length: 30 }, (_, i) => ({ source: Buffer.from(`content ${i}\n`), destination: `e2e/many/d${i % 3}/f${i}.txt` }))
  await f.uploadFiles([...many, { source: file, destination: 'e2e/many/local.txt' }])
  await f.uploadFile(Buffer.from('old, and longer than the new one'), 'e2e/over.txt')
  await f.uploadFile(Buffer.from('new'), 'e2e/over.txt')

  assert.equal((await f.downloadFile('e2e/hello.txt')).toString(), 'Hello, World!\n')
  assert.equal((await f.downloadFile('/home/daytona/e2e/hello.txt')).toString(), 'Hello, World!\n')
  assert.ok((await f.downloadFile('e2e/new/deep/er/binary.bin')).equals(binary), 'binary')
  assert.equal((await f.getFileDetails('e2e/empty')).size, 0)
  assert.equal((await f.downloadFile('e2e/over.txt')).toString(), 'new')
  assert.equal((await f.downloadFile('e2e/many/d2/f29.txt')).toString(), 'content 29\n')
  const to = path.join(local, 'downloaded.txt')
  await f.downloadFile('/tmp/e2e-local.txt', to)
  assert.equal(fs.readFileSync(to, 'utf8'), 'from a local file\n')
  if (!OLD) {
    await f.uploadFileStream(fs.createReadStream(file), 'e2e/streamed.txt')
    assert.equal((await f.downloadFile('e2e/streamed.txt')).toString(), 'from a local file\n')
    const chunks = []
    for await (const chunk of await f.downloadFileStream('e2e/new/deep/er/binary.bin')) chunks.push(chunk)
    assert.ok(Buffer.concat(chunks).equals(binary), 'stream')
    const got = await f.downloadFiles([{ source: 'e2e/hello.txt' }, { source: 'e2e/missing.txt' }])
    assert.equal(got[0].result.toString(), 'Hello, World!\n')
    assert.ok(got[1].error && !got[1].result)
  }
}

async function listing(f) {
  const files = Object.fromEntries((await f.listFiles('e2e')).map((x) => [x.name, x]))
  for (const [name, isDir] of [['dir', true], ['hello.txt', false], ['empty', false], ['many', true]]) {
    assert.equal(files[name].isDir, isDir, name)
  }
  const h = files['hello.txt']
  assert.deepEqual([h.size, h.owner, h.group, h.permissions, h.mode], [14, '1000', '1000', '0644', '-rw-r--r--'])
  assert.ok(h.modTime)
  assert.deepEqual(await f.listFiles('e2e/dir'), [])
  await fails('NotFound', () => f.listFiles('e2e/nowhere'))
}

async function oddNames(f) {
  for (const name of ODD) {
    await f.uploadFile(Buffer.from(name), `e2e/odd/${name}`)
    assert.equal((await f.downloadFile(`e2e/odd/${name}`)).toString(), name)
    assert.equal((await f.getFileDetails(`e2e/odd/${name}`)).name, name)
  }
  assert.deepEqual((await f.listFiles('e2e/odd')).map((x) => x.name).sort(), [...ODD].sort())
  for (const name of ODD) await f.deleteFile(`e2e/odd/${name}`)
  assert.deepEqual(await f.listFiles('e2e/odd'), [])
}

async function searching(f) {
  await f.uploadFile(Buffer.from('one\nneedle here\nthree\n'), 'e2e/src/a.py')
  await f.uploadFile(Buffer.from('needle\0binary'), 'e2e/src/b.bin')
  await f.uploadFile(Buffer.from('x\ny\nanother needle\n'), 'e2e/src/sub/c.txt')
  const found = await f.findFiles('e2e/src', 'needle')
  assert.deepEqual(found.map((m) => [path.basename(m.file), m.line, m.content.trim()]).sort(),
    [['a.py', 2, 'needle here'], ['c.txt', 3, 'another needle']])
  assert.deepEqual(await f.findFiles('e2e/src', 'absent text'), [])
  assert.deepEqual((await f.searchFiles('e2e/src', '*.txt')).files.map((x) => path.basename(x)), ['c.txt'])
  assert.deepEqual((await f.searchFiles('e2e/src', '*.nothing')).files, [])
  const results = await f.replaceInFiles(['e2e/src/a.py', 'e2e/src/absent'], 'needle', 'pin')
  assert.deepEqual(results.map((r) => Boolean(r.success)), [true, false])
  assert.ok(results[1].error)
  assert.equal((await f.downloadFile('e2e/src/a.py')).toString(), 'one\npin here\nthree\n')
}

async function changing(f) {
  await f.setFilePermissions('e2e/hello.txt', { mode: '600' })
  assert.equal((await f.getFileDetails('e2e/hello.txt')).permissions, '0600')
  await f.setFilePermissions('e2e/hello.txt', { mode: '644', owner: 'daytona', group: 'daytona' })
  await fails('NotFound', () => f.setFilePermissions('e2e/absent', { mode: '600' }))
  await fails('BadRequest', () => f.setFilePermissions('e2e/hello.txt', { mode: 'rwx' }))
  await f.moveFiles('e2e/hello.txt', 'e2e/dir/moved.txt')
  assert.equal((await f.downloadFile('e2e/dir/moved.txt')).toString(), 'Hello, World!\n')
  await fails('NotFound', () => f.getFileDetails('e2e/hello.txt'))
  await fails('Conflict', () => f.moveFiles('e2e/dir/moved.txt', 'e2e/over.txt'))
  await fails('NotFound', () => f.moveFiles('e2e/absent', 'e2e/present'))
}

async function deleting(f) {
  await f.deleteFile('e2e/dir/moved.txt')
  await fails('NotFound', () => f.deleteFile('e2e/dir/moved.txt'))
  await fails('BadRequest', () => f.deleteFile('e2e/many'))
  await f.deleteFile('e2e/many', true)
  await fails('NotFound', () => f.listFiles('e2e/many'))
  // The old client reads a download as bytes, so that it can't see the status in an error's body.
  await fails(OLD ? '' : 'NotFound', () => f.downloadFile('e2e/absent'))
  await fails('BadRequest', () => f.downloadFile('e2e'))
  await fails('BadRequest', () => f.uploadFile(Buffer.from('x'), '/proc/nowhere/file'))
}

run(async (d) => {
  const f = (await d.create()).fs
  const local = fs.mkdtempSync(path.join(os.tmpdir(), 'e2e-'))
  try {
    await folders(f)
    await transfers(f, local)
  } finally {
    fs.rmSync(local, { recursive: true })
  }
  await listing(f)
  await oddNames(f)
  await searching(f)
  await changing(f)
  await deleting(f)
})
