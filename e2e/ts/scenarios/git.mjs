// Git: clone from a server that asks for a name, change, commit, push, pull, branches, errors.

import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { OLD, fails, run } from './common.mjs'

const USER = 'daytona-user'
const TOKEN = 's3cret/t0ken:@ with space'

// serve starts a smart-HTTP server in the sandbox: a host's private addresses cannot be reached from there.
async function serve(sb, sh) {
  const program = await readFile(`${process.env.E2E_TESTDATA}/git_server.py`)
  await sb.fs.uploadFile(program, '/tmp/git_server.py')
  const r = await sh(`
    export GIT_AUTHOR_NAME=Bob GIT_AUTHOR_EMAIL=bob@example.com GIT_COMMITTER_NAME=Bob GIT_COMMITTER_EMAIL=bob@example.com
    mkdir -p /tmp/host && cd /tmp/host && git init -q --bare -b main private.git && git init -q --bare empty.git
    git clone -q private.git /tmp/theirs 2>/dev/null && cd /tmp/theirs && git checkout -q -B main
    echo one > one && git add one && git commit -qm 'add one' && echo two > two && git add two && git commit -qm 'add two'
    git push -q origin main
    nohup python3 /tmp/git_server.py /tmp/host '${USER}' '${TOKEN}' > /tmp/git_server.log 2>&1 &
    for i in $(seq 100); do test -s /tmp/git_server.port && break; sleep 0.1; done; cat /tmp/git_server.port /tmp/git_server.log`)
  assert.equal(r.exitCode, 0, r.result)
  return `http://127.0.0.1:${parseInt(r.result)}`
}

run(async (d) => {
  const sb = await d.create()
  const g = sb.git
  const sh = (command) => sb.process.executeCommand(command)
  const base = await serve(sb, sh)
  const url = `${base}/private.git`
  const files = (st) => st.fileStatus.map((f) => `${f.name} ${f.staging} ${f.worktree}`).sort()

  await fails('GitAuthFailed', () => g.clone(url, 'work/app'), 'authentication required')
  await fails('GitAuthFailed', () => g.clone(url, 'work/app', undefined, undefined, USER, 'wrong'), 'authentication failed')
  await fails(OLD ? 'NotFound' : 'GitRepoNotFound', () => g.clone(`${base}/none.git`, 'work/app', undefined, undefined, USER, TOKEN), 'not found')
  await fails(OLD ? 'NotFound' : 'GitBranchNotFound', () => g.clone(url, 'work/app', 'none', undefined, USER, TOKEN), 'none')
  await fails('UnprocessableEntity', () => g.clone(`${base}/empty.git`, 'work/app', undefined, undefined, USER, TOKEN), 'remote repository is empty')
  await g.clone(url, 'work/app', undefined, undefined, USER, TOKEN)
  await fails('Conflict', () => g.clone(url, 'work/app', undefined, undefined, USER, TOKEN), 'already exists')
  let r = await sh('grep -rl t0ken ~ 2>/dev/null; cat ~/work/app/.git/config; ls -A ~')
  assert.ok(!/t0ken|git-credentials|daytona-user/.test(r.result), r.result)

  let st = await g.status('work/app')
  assert.deepEqual([st.currentBranch, st.ahead, st.behind, st.branchPublished, st.fileStatus], ['main', 0, 0, true, []])

  await sh('cd ~/work/app && git mv two renamed && echo x > three && echo y > one')
  assert.deepEqual(files(await g.status('work/app')), ['one Unmodified Modified', 'renamed Renamed Unmodified', 'three Untracked Untracked'])
  assert.equal((await g.status('work/app')).fileStatus.find((f) => f.name === 'renamed').extra, 'two')
  await g.add('work/app', ['.'])
  const { sha } = await g.commit('work/app', 'feat: change', 'Ada', 'ada@example.com')
  assert.match(sha, /^[0-9a-f]{40}$/)
  assert.equal((await g.status('work/app')).ahead, 1)
  await fails('Conflict', () => g.commit('work/app', 'x', 'A', 'a@b'), 'empty commit')
  await g.commit('work/app', 'nothing', 'A', 'a@b', true)

  await fails('GitAuthFailed', () => g.push('work/app'), 'authentication required')
  await g.push('work/app', USER, TOKEN)
  await g.push('work/app', USER, TOKEN)
  assert.equal((await g.status('work/app')).ahead, 0)
  await sh('cd /tmp/theirs && git pull -q && echo theirs > four && git add four && git -c user.name=B -c user.email=b@b commit -qm four && git push -q')
  await g.pull('work/app', USER, TOKEN)
  await g.pull('work/app', USER, TOKEN)
  assert.equal((await sh('cat ~/work/app/four')).result, 'theirs\n')

  await g.createBranch('work/app', 'feature/new')
  await fails('GitBranchExists', () => g.createBranch('work/app', 'main'), 'already exists')
  assert.deepEqual((await g.branches('work/app')).branches.sort(), ['feature/new', 'main'])
  await g.push('work/app', USER, TOKEN)
  assert.equal((await g.status('work/app')).branchPublished, true)
  await g.checkoutBranch('work/app', 'main')
  await g.deleteBranch('work/app', 'feature/new')
  await fails(OLD ? 'NotFound' : 'GitBranchNotFound', () => g.checkoutBranch('work/app', 'feature/new'))
  await fails(OLD ? 'NotFound' : 'GitRepoNotFound', () => g.status('work/none'), 'repository does not exist')
  await g.clone(url, 'work/first', undefined, sha, USER, TOKEN)
  assert.equal((await g.status('work/first')).currentBranch, 'HEAD')
  if (OLD) return

  await g.clone(url, 'work/shallow', undefined, undefined, USER, TOKEN, false, 1)
  assert.equal((await sh('cd ~/work/shallow && git rev-list --count HEAD')).result.trim(), '1')
  await g.init('work/own', false, 'trunk')
  await g.remoteAdd('work/own', 'origin', `${base}/empty.git`)
  assert.equal(await g.remoteGet('work/own', 'origin'), `${base}/empty.git`)
  assert.deepEqual((await g.remotes('work/own')).remotes, [{ name: 'origin', url: `${base}/empty.git` }])
  assert.equal(await g.getConfig('user.name'), undefined)
  await g.configureUser('Name', 'name@example.com')
  assert.equal(await g.getConfig('user.name'), 'Name')
  await g.setConfig('test.key', 'v', 'local', 'work/own')
  assert.equal(await g.getConfig('test.key', 'local', 'work/own'), 'v')
  await sh('cd ~/work/own && echo 1 > a')
  await g.add('work/own', ['a'])
  await g.commit('work/own', 'one', 'A', 'a@b')
  await sh('cd ~/work/own && echo 2 > a && git add a')
  await g.restore('work/own', ['a'], true, true, 'HEAD')
  assert.equal((await sh('cat ~/work/own/a')).result, '1\n')
  await g.commit('work/own', 'two', 'A', 'a@b', true)
  await g.reset('work/own', 'hard', 'HEAD~1')
  await g.dangerouslyAuthenticate(USER, TOKEN, base.replace('http://', ''), 'http')
  await g.push('work/own', undefined, undefined, undefined, undefined, true)
  st = await g.status('work/own')
  assert.deepEqual([st.upstream, st.detached, st.ahead], ['origin/trunk', false, 0])
  assert.equal((await g.branches('work/own')).current, 'trunk')
})
