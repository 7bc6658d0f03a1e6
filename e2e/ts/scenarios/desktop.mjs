// A desktop: a real program in a real window, moved, clicked, typed into and read off the screen.

import assert from 'node:assert/strict'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { OLD, fails, run } from './common.mjs'

async function until(what, cond) {
  for (let i = 0; i < 150; i++) {
    const got = await cond()
    if (got) return got
    await new Promise((r) => setTimeout(r, 200))
  }
  assert.fail(`${what}: not within 30 s`)
}

const png = (base64) => {
  const b = Buffer.from(base64, 'base64')
  assert.equal(b.toString('latin1', 1, 4), 'PNG')
  return [b.readUInt32BE(16), b.readUInt32BE(20)]
}

run(async (d) => {
  const plain = await d.create()
  await fails('', () => plain.computerUse.start(), OLD ? '' : 'X server')

  const sb = await d.create({ snapshot: 'daytona-desktop' }, { timeout: 120 })
  const c = sb.computerUse
  const started = await c.start()
  assert.ok(started.message)
  const names = ['xvfb', 'xfce4', 'atspi', 'x11vnc', 'novnc']
  for (const name of names) {
    assert.ok(started.status[name].running && started.status[name].Running, name)
    assert.equal((await c.getProcessStatus(name)).running, true)
  }
  assert.equal((await c.getStatus()).status, 'active')

  assert.deepEqual(png((await c.screenshot.takeFullScreen()).screenshot), [1024, 768])
  assert.equal((await c.display.getInfo()).displays[0].width, 1024)
  const script = `IFS= read -r l; printf %s "$l" > /tmp/typed; sleep 60`
  await sb.fs.uploadFile(Buffer.from(script), '/tmp/reader.sh')
  await sb.process.executeCommand('xterm -T reader -geometry 60x10+200+150 -e sh /tmp/reader.sh > /dev/null 2>&1 &')
  const w = await until('window', async () => (await c.display.getWindows()).windows.find((w) => w.title === 'reader' && w.isActive))
  const at = await c.mouse.move(w.x + 30, w.y + 30)
  assert.deepEqual([at.x, at.y], [w.x + 30, w.y + 30])
  const position = await c.mouse.getPosition()
  assert.deepEqual([position.x, position.y], [at.x, at.y])
  await c.mouse.click(w.x + 40, w.y + 40)

  const screen = async () => (await c.screenshot.takeFullScreen()).screenshot
  const before = await screen()
  await c.keyboard.type("Hello, 'desktop' & $HOME")
  await until('visible change', async () => (await screen()) !== before)
  await c.keyboard.press('Return')
  const typed = await until('typed text', async () => {
    const r = await sb.process.executeCommand('cat /tmp/typed')
    return r.exitCode === 0 && r.result
  })
  assert.equal(typed.trim(), "Hello, 'desktop' & $HOME")

  const small = await c.screenshot.takeCompressed({ format: 'jpeg', quality: 60, scale: 0.5, showCursor: true })
  const data = Buffer.from(small.screenshot, 'base64')
  assert.deepEqual([data[0], data[1], data.length], [0xff, 0xd8, small.sizeBytes])
  // One client sends the numbers of a region in another order: a square in the corner is the same in each.
  const [width, height] = png((await c.screenshot.takeRegion({ x: 120, y: 120, width: 120, height: 120 })).screenshot)
  assert.deepEqual([width, height], [120, 120])
  assert.equal((await c.mouse.scroll(w.x + 30, w.y + 30, 'down', 2)).success ?? true, true)
  const dragged = await c.mouse.drag(w.x + 60, w.y - 8, w.x + 160, w.y + 52)
  assert.deepEqual([dragged.x, dragged.y], [w.x + 160, w.y + 52])
  await c.keyboard.hotkey('ctrl+shift+a')
  await fails(OLD ? '' : 'BadRequest', () => c.keyboard.press('no-such-key'), OLD ? '' : 'unknown key')

  if (!OLD) {
    const film = await c.recording.start('e2e run')
    assert.equal(film.status, 'recording')
    await new Promise((r) => setTimeout(r, 1000))
    const done = await c.recording.stop(film.id)
    assert.equal(done.status, 'completed')
    assert.ok((await c.recording.list()).recordings.some((r) => r.id === film.id))
    const file = path.join(fs.mkdtempSync(path.join(os.tmpdir(), 'film-')), 'film.mp4')
    await c.recording.download(film.id, file)
    assert.equal(fs.statSync(file).size, done.sizeBytes)
    fs.rmSync(path.dirname(file), { recursive: true })
    await c.recording.delete(film.id)
    await fails('NotFound', () => c.recording.get(film.id))
  }

  assert.equal((await c.restartProcess('novnc')).processName, 'novnc')
  assert.equal(typeof (await c.getProcessLogs('x11vnc')).logs, 'string')
  assert.ok((await c.stop()).message)
  const left = await sb.process.executeCommand("ps -eo comm | grep -cE 'Xvfb|jwm|x11vnc|websockify' || true")
  assert.equal(left.result.trim(), '0')
})
