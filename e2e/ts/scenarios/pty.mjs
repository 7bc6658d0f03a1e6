// Terminals: create, connect, input, size, several clients, full-screen programs, ends.

import assert from 'node:assert/strict'
import crypto from 'node:crypto'
import { OLD, fails, run } from './common.mjs'

// terminal remembers what its client has seen.
function terminal() {
  let seen = Buffer.alloc(0)
  return {
    onData: (data) => void (seen = Buffer.concat([seen, data])),
    // see waits until text has been printed, and forgets what was printed up to it.
    async see(text, limit = 60_000) {
      const deadline = Date.now() + limit
      for (;;) {
        const at = seen.indexOf(text)
        if (at >= 0) return void (seen = seen.subarray(at + Buffer.byteLength(text)))
        assert.ok(Date.now() < deadline, `${JSON.stringify(text)} not seen in ${JSON.stringify(seen.subarray(-3000).toString())}`)
        await new Promise((done) => setTimeout(done, 20))
      }
    },
    text: () => seen.toString(),
  }
}

run(async (d) => {
  if (OLD) {
    console.log('skipped: this client has no terminals')
    return
  }
  const p = (await d.create()).process
  await p.executeCommand('mkdir -p /tmp/dir')

  const c = terminal()
  const pty = await p.createPty({
    id: 'main', cols: 120, rows: 30, cwd: '/tmp/dir', envs: { GREETING: 'grüß dich', PS1: '$ ' }, onData: c.onData,
  })
  await pty.waitForConnection()
  assert.ok(pty.isConnected())
  await pty.sendInput(`printf '<%s|%s|%s>' "$GREETING" "$PWD" $TERM; stty size\n`)
  await c.see('<grüß dich|/tmp/dir|xterm-256color>30 120')
  const info = await pty.resize(100, 40)
  assert.deepEqual([info.cols, info.rows], [100, 40])
  await pty.sendInput('stty size; echo $COLUMNS x $LINES\n')
  await c.see('40 100\r\n')
  await c.see('100 x 40')
  assert.deepEqual((await p.listPtySessions()).map((i) => [i.id, i.active, i.cwd]), [['main', true, '/tmp/dir']])
  const got = await p.getPtySessionInfo('main')
  assert.deepEqual([got.cols, got.rows, got.lazyStart, got.envs.GREETING], [100, 40, false, 'grüß dich'])

  await pty.sendInput('sleep 1000\n')
  await new Promise((done) => setTimeout(done, 500))
  await pty.sendInput(new Uint8Array([3]))
  await pty.sendInput("printf 'code:%s.' $?\n")
  await c.see('code:130.')

  const other = terminal()
  const second = await p.connectPty('main', { onData: other.onData })
  await second.waitForConnection()
  await second.sendInput('echo from-$((1+1))nd\n')
  await other.see('from-2nd')
  await c.see('from-2nd')
  assert.ok(!other.text().includes('grüß'))
  await second.disconnect()

  await pty.sendInput('vi -u NONE note\n')
  await c.see('\x1b[?1049h')
  await pty.sendInput('isnow ☃\x1b')
  await pty.sendInput(':wq\r')
  await c.see('\x1b[?1049l')
  assert.equal((await p.executeCommand('cat /tmp/dir/note')).result, 'snow ☃\n')

  const paste = crypto.randomBytes(10 << 20)
  await pty.sendInput(`stty raw -echo; echo rea''dy; head -c ${paste.length} | sha256sum; stty sane\n`)
  await c.see('ready\n')
  await pty.sendInput(paste)
  await c.see(crypto.createHash('sha256').update(paste).digest('hex'))

  await fails('Connection', () => p.createPty({ id: 'main', onData: () => {} })) // the client has no more to say
  await pty.sendInput('exit 42\n')
  assert.deepEqual(await pty.wait(), { exitCode: 42, error: 'non-zero exit' })
  assert.deepEqual(await p.listPtySessions(), [])

  const doomed = terminal()
  const victim = await p.createPty({ id: 'doomed', onData: doomed.onData })
  await victim.sendInput("(sleep 1234 & disown); echo star''ted\n")
  await doomed.see('started')
  await victim.kill()
  assert.deepEqual(await victim.wait(), { exitCode: 137, error: 'SIGKILL' })
  assert.equal((await p.executeCommand('pgrep -f "sleep 123[4]" || echo none')).result, 'none\n')
  await fails('NotFound', () => p.getPtySessionInfo('doomed'))
  await fails('NotFound', () => p.killPtySession('doomed'))
  await fails('Connection', () => p.connectPty('doomed', { onData: () => {} }), 'PTY session not found')
})
