// What a sandbox may reach: at create, and changed while it runs.

import assert from 'node:assert/strict'
import { OLD, fails, run } from './common.mjs'

const probe = `python3 - <<'END'
import socket
def tried(what):
    try:
        what()
        return "open"
    except OSError as e:
        return type(e).__name__ + " " + str(e.errno)
s = socket.socket(); s.settimeout(5)
print(tried(lambda: s.connect(("203.0.113.77", 9))))
print(tried(lambda: socket.getaddrinfo("closed.example.com", 443)))
END`

// Nothing outside is reached, no name resolves, and the toolbox goes on working.
async function refused(sb) {
  const r = await sb.process.executeCommand(probe)
  assert.equal(r.exitCode, 0, r.result)
  const [connect, name] = r.result.split('\n')
  assert.match(connect, / (111|13|101|113)$/, r.result) // a refusal is an answer, not silence
  assert.match(name, /^gaierror/, r.result)
}

run(async (d) => {
  const blocked = await d.create({ networkBlockAll: true })
  assert.equal(blocked.networkBlockAll, true)
  await refused(blocked)

  const list = '198.51.100.1/24,192.0.2.7/32'
  const sb = await d.create({ networkAllowList: list })
  assert.equal(sb.networkAllowList, list)
  await refused(sb)
  await fails('BadRequest', () => d.create({ networkAllowList: Array(11).fill('192.0.2.0/24').join(',') }), 'networkAllowList')
  if (OLD) return

  await sb.updateNetworkSettings({ domainAllowList: '*.example.org, Example.NET' })
  assert.equal(sb.domainAllowList, '*.example.org,example.net')
  assert.equal(sb.networkAllowList, list)
  await refused(sb)
  await sb.updateNetworkSettings({ networkBlockAll: true })
  assert.equal(sb.networkBlockAll, true)
  assert.ok(!sb.networkAllowList)
  await refused(sb)
  await sb.updateNetworkSettings({ domainAllowList: '' })
  await sb.updateNetworkSettings({ networkBlockAll: false })
  assert.equal(sb.networkBlockAll, false)
  await fails('BadRequest', () => sb.updateNetworkSettings({ domainAllowList: 'https://example.com' }), 'domainAllowList')

  const named = await d.create({ domainAllowList: 'example.net' })
  assert.equal(named.domainAllowList, 'example.net')
  await refused(named)
})
