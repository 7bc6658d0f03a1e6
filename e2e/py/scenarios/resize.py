"""Resize of a started and of a stopped sandbox, and snapshots of both: only the newer SDK has them."""

import uuid

import daytona as sdk
from common import OLD, call, eq, fails, run


def size(**kwargs):
    return sdk.Resources(**kwargs)


async def resizing(a):
    await call(a.resize(size(cpu=2, memory=2)))
    eq((a.state.value, a.cpu, a.memory, a.disk), ("started", 2, 2, 3), "after growing while started")
    # It is in force: more than the GiB it began with can be held in memory.
    eat = "python3 -c 'x = bytearray(1300 << 20); print(len(x) >> 20)'"
    eq((await call(a.process.exec(eat))).result.strip(), "1300", "memory inside")
    await fails("BadRequest", lambda: a.resize(size(cpu=1)), "larger")
    await fails("BadRequest", lambda: a.resize(size(disk=5)), "stop")
    await fails("BadRequest", lambda: a.resize(size(cpu=2)), "already")
    await fails("BadRequest", lambda: a.resize(size(cpu=1000)), "maximum")
    done = await call(a.process.exec("cd ~ && echo kept > kept && sudo rm /etc/profile && sync"))
    eq(done.exit_code, 0, done.result)
    await call(a.stop())
    await call(a.resize(size(cpu=1, memory=1, disk=5)))
    eq((a.state.value, a.cpu, a.memory, a.disk), ("stopped", 1, 1, 5), "after a change while stopped")
    await fails("BadRequest", lambda: a.resize(size(disk=4)), "larger")
    await call(a.start())
    fills = "cat ~/kept; head -c 3500000000 /dev/zero > ~/big && stat -c %s ~/big; rm ~/big"
    eq((await call(a.process.exec(fills, timeout=120))).result.split(), ["kept", "3500000000"], "on the larger disk")


async def snapshots(d, a):
    name = f"of-sandbox-{uuid.uuid4().hex[:8]}"
    await fails("BadRequest", lambda: a.create_snapshot("not a name!"))
    await call(a.create_snapshot(name))
    eq(a.state.value, "started", "afterwards")
    snapshot = await call(d.snapshot.get(name))
    try:
        eq(snapshot.state.value, "active", "the snapshot")
        await fails("", lambda: a.create_snapshot(name))
        b = await call(d.create(sdk.CreateSandboxFromSnapshotParams(snapshot=name)))
        try:
            eq((b.cpu, b.memory, b.disk), (1, 1, 5), "its size")
            eq((await call(b.process.exec("cat ~/kept; ls /etc/profile 2>/dev/null; id -un"))).result, "kept\ndaytona\n", "what it has")
            await call(b.process.exec("echo of b > ~/kept"))
            await call(b.stop())
            await call(b.create_snapshot(name + "-2"))
            eq(b.state.value, "stopped", "afterwards")
            second = await call(d.snapshot.get(name + "-2"))
        finally:
            await call(b.delete())
        try:
            c = await call(d.create(sdk.CreateSandboxFromSnapshotParams(snapshot=name + "-2")))
            eq((await call(c.process.exec("cat ~/kept"))).result, "of b\n", "what a snapshot of one made of a snapshot has")
            await call(c.delete())
        finally:
            await call(d.snapshot.delete(second))
    finally:
        await call(d.snapshot.delete(snapshot))


async def scenario(d):
    if OLD:
        return
    a = await call(d.create())
    try:
        await resizing(a)
        await snapshots(d, a)
    finally:
        await call(d.delete(a))


run(scenario)
