"""Archive, start from archive, its file system whole; fork, recover and backup where the SDK has them."""

import asyncio

from common import OLD, call, eq, fails, run

PREPARE = r"""
set -e
cd ~
echo kept > kept; ln kept linked; ln -s /nowhere dangling
truncate -s 1G holes; printf end | dd of=holes bs=1 seek=1073741824 conv=notrunc status=none
touch -d '2001-02-03 04:05:06.789' old; mkdir -m 1770 sticky; printf x > "$(printf 'no\377utf8')"
head -c 5000000 /dev/urandom > noise; sha256sum noise > noise.sum
sudo rm /etc/profile; sudo sh -c 'echo changed > /etc/hostid'
"""

LOOK = r"""
cd ~
cat kept; stat -c '%i' kept linked | uniq | wc -l; readlink dangling
stat -c '%s' holes; tail -c 3 holes; echo
stat -c %y old | cut -c1-23; stat -c %a sticky; ls | grep -ac utf8; sha256sum -c --quiet noise.sum && echo same
ls /etc/profile 2>/dev/null; cat /etc/hostid
"""

WANT = "kept\n1\n/nowhere\n1073741827\nend\n2001-02-03 04:05:06.789\n1770\n1\nsame\nchanged\n"


async def settled(d, sandbox_id, states):
    for _ in range(600):
        box = await call(d.get(sandbox_id))
        state = getattr(box.state, "value", box.state)
        if state in states:
            return box
        assert state not in ("error", "build_failed"), box.error_reason
        await asyncio.sleep(0.1)
    raise AssertionError(f"sandbox stays {state}, want {states}")


async def archiving(d, a):
    done = await call(a.process.exec(PREPARE))
    eq(done.exit_code, 0, done.result)
    eq((await call(a.process.exec(LOOK))).result, WANT, "before")
    await fails("BadRequest" if not OLD else "", lambda: a.archive())
    await call(a.stop())
    await call(a.archive())
    box = await settled(d, a.id, {"archived"})
    eq(getattr(box.backup_state, "value", box.backup_state), "Completed", "backup state")
    assert box.backup_created_at, "time of the backup"
    await fails("", lambda: box.process.exec("true"))
    await call(a.start())
    eq(a.state.value, "started", "after start")
    eq((await call(a.process.exec(LOOK))).result, WANT, "after archive and start")


async def forking(d, a):
    await fails("BadRequest", lambda: a.fork())
    await call(a.stop())
    fork = await call(a.fork(name=f"fork-{a.id[:8]}"))
    try:
        eq(fork.state.value, "started", "the fork")
        eq((await call(fork.process.exec(LOOK))).result, WANT, "what the fork has")
    finally:
        await call(fork.delete())
    await fails("BadRequest", lambda: a.recover())
    await call(a.start())


async def scenario(d):
    a = await call(d.create())
    try:
        await archiving(d, a)
        if not OLD:
            await forking(d, a)
    finally:
        await call(d.delete(a))


run(scenario)
