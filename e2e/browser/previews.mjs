// Previews and the terminal in a browser.
// Usage: previews.mjs CHROMIUM TERMINAL_URL PREVIEW_URL API_KEY SCREENSHOT_DIR

import assert from 'node:assert/strict'
import path from 'node:path'
import { chromium } from 'playwright-core'

const [program, terminalURL, previewURL, key, shots] = process.argv.slice(2)
const browser = await chromium.launch({ executablePath: program, args: ['--no-sandbox', '--disable-dev-shm-usage', '--no-proxy-server'] })
const context = await browser.newContext({ viewport: { width: 1000, height: 640 } })
context.setDefaultTimeout(30_000)
const shot = (page, name) => page.screenshot({ path: path.join(shots, name + '.png') })

// until waits for a condition in the page.
const until = (page, what, arg) => page.waitForFunction(what, arg, { timeout: 30_000, polling: 50 })
const shows = (page, text) => until(page, (t) => document.querySelector('.xterm-rows')?.innerText.replaceAll('\u00a0', ' ').includes(t), text)
const type = async (page, line) => {
  await page.keyboard.type(line)
  await page.keyboard.press('Enter')
}

async function terminal() {
  const elsewhere = []
  const page = await context.newPage()
  page.on('request', (r) => { if (new URL(r.url()).host !== new URL(terminalURL).host && !r.url().startsWith('data:')) elsewhere.push(r.url()) })
  page.on('pageerror', (e) => elsewhere.push(String(e)))
  page.on('console', (m) => { if (m.type() === 'error') elsewhere.push(m.text()) })
  await page.goto(terminalURL)
  assert.ok(!page.url().includes('AUTH_KEY'), 'the token stays in the address: ' + page.url())
  await shows(page, '$')
  await type(page, 'echo $((6*7))-is-the-answer; echo shell=$$')
  await shows(page, '42-is-the-answer')
  const pid = /shell=(\d+)/.exec(await page.locator('.xterm-rows').innerText())[1]

  // Colours, wide characters, a link.
  await type(page, String.raw`printf '\033[31mred\033[0m \033[1;32mgreen\033[0m \033[44m blue \033[0m caf\303\251 \346\227\245\346\234\254\n'; echo see http://example.invalid/page`)
  await shows(page, 'red green')
  await shows(page, 'café')
  const colour = await page.evaluate(() => getComputedStyle([...document.querySelectorAll('.xterm-rows span')].find((s) => s.innerText === 'red')).color)
  assert.notEqual(colour, 'rgb(230, 230, 230)')
  await context.route('http://example.invalid/**', (route) => route.fulfill({ body: 'linked' }))
  const opened = context.waitForEvent('page')
  const link = page.locator('.xterm-rows > div', { hasText: 'see http' }).last()
  const box = await link.boundingBox()
  await page.mouse.move(box.x + 70, box.y + box.height / 2)
  await page.mouse.move(box.x + 75, box.y + box.height / 2)
  await page.waitForTimeout(100) // a link is looked for when the pointer rests
  await page.mouse.click(box.x + 75, box.y + box.height / 2)
  await (await opened).close()

  // What was selected is copied.
  await context.grantPermissions(['clipboard-read', 'clipboard-write'], { origin: new URL(terminalURL).origin })
  await page.mouse.dblclick(box.x + 12, box.y + box.height / 2)
  await page.keyboard.press('Control+Shift+C')
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), 'see')

  // The window's size is the terminal's.
  await type(page, 'clear; stty size')
  await until(page, () => /\d+ \d+/.test(document.querySelector('.xterm-rows').innerText.replaceAll('\u00a0', ' ')))
  const size = () => page.evaluate(() => /(\d+) (\d+)\n/.exec(document.querySelector('.xterm-rows').innerText.replaceAll('\u00a0', ' ') + '\n').slice(1).map(Number))
  const [rows, cols] = await size()
  await page.setViewportSize({ width: 700, height: 400 })
  await until(page, () => true)
  for (const end = Date.now() + 20_000; ;) {
    await type(page, 'clear; stty size')
    await page.waitForTimeout(200)
    const [r, c] = await size().catch(() => [rows, cols])
    if (r < rows && c < cols) break
    assert.ok(Date.now() < end, `the size stays ${r} ${c}`)
  }
  await page.setViewportSize({ width: 1000, height: 640 })

  // A full-screen program, and out of it again.
  await type(page, 'clear; echo marked-before-reload; ls -la --color=always /')
  await shows(page, 'marked-before-reload')
  await shows(page, 'usr')
  await shot(page, 'terminal')
  await type(page, 'seq 3000')
  await shows(page, '3000')

  // A reload finds the same shell, and what it printed.
  await page.reload()
  await shows(page, '3000')
  await page.mouse.move(400, 300)
  await page.mouse.wheel(0, -20_000)
  await until(page, () => !document.querySelector('.xterm-rows').innerText.includes('2999'))
  assert.match(await page.locator('.xterm-rows').innerText(), /\d{3}/, 'nothing to scroll back to')
  await shot(page, 'terminal-scrolled')
  await type(page, 'clear; echo again=$$')
  await shows(page, 'again=' + pid)

  // The end of the shell, and another one.
  await type(page, 'exit')
  await shows(page, 'The shell has ended')
  await page.keyboard.press('Enter')
  await type(page, 'echo another=$$')
  await until(page, (old) => new RegExp('another=(?!' + old + ')\\d+').test(document.querySelector('.xterm-rows').innerText), pid)
  assert.deepEqual(elsewhere, [])
  await page.close()
}

async function preview() {
  const page = await context.newPage()
  // Signing in, with a wrong key and with the right one.
  await page.goto(previewURL + '/')
  await shot(page, 'sign-in')
  const field = page.locator('input[type=password]')
  await field.fill('dtn_wrong')
  await page.keyboard.press('Enter')
  await page.waitForLoadState()
  await shot(page, 'sign-in-refused')
  await page.locator('input[type=password]').fill(key)
  await page.keyboard.press('Enter')
  // The warning, once.
  await page.getByRole('button', { name: 'Show the preview' }).waitFor()
  await shot(page, 'warning')
  await page.getByRole('button', { name: 'Show the preview' }).click()
  await page.locator('#hello').waitFor()
  assert.equal(await page.locator('#hello').innerText(), 'hello from port 3000')
  await page.reload()
  await page.locator('#hello').waitFor()
  // Its own page may open a socket.
  const echoed = await page.evaluate(() => new Promise((resolve, reject) => {
    const s = new WebSocket(location.origin.replace('http', 'ws') + '/socket')
    s.onopen = () => s.send('from the page')
    s.onmessage = (e) => resolve(e.data)
    s.onerror = () => reject(new Error('no socket'))
  }))
  assert.equal(echoed, 'from the page')
  // Nothing listens there.
  const other = previewURL.replace('//3000-', '//3001-')
  await page.goto(other + '/')
  await page.locator('input[type=password]').fill(key)
  await page.keyboard.press('Enter')
  await page.getByRole('button', { name: 'Show the preview' }).click()
  await page.getByText('Nothing listens on this port').waitFor()
  await shot(page, 'not-listening')
  await page.close()
}

try {
  await terminal()
  await preview()
  console.log('ok')
} catch (e) {
  for (const page of context.pages()) await shot(page, 'failed').catch(() => {})
  for (const page of context.pages()) console.error(page.url(), (await page.locator('body').innerText().catch(() => '')).slice(0, 2000))
  console.error(e)
  process.exitCode = 1
} finally {
  await browser.close()
}
