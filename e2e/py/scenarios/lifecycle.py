"""List, find, get, labels, intervals, preview links, stop, start, delete."""

import asyncio
import uuid

from common import OLD, call, collect, eq, fails, run, sdk


async def listed(d, labels, limit=None):
    if OLD:
        return await collect(d.list(labels))
    return await collect(d.list(sdk.ListSandboxesQuery(labels=labels, limit=limit)))


async def finding(d, a, b, group):
    eq({s.id for s in await listed(d, {"group": group})}, {a.id, b.id}, "both by a common label")
    eq([s.id for s in await listed(d, {"group": group, "n": "2"})], [b.id], "one by two labels")
    eq(await listed(d, {"group": "nobody"}), [], "none")
    everything = {s.id for s in (await collect(d.list()))}
    assert {a.id, b.id} <= everything, "list without a filter"
    if OLD:
        eq((await call(d.find_one(sandbox_id=a.id))).id, a.id, "find_one by id")
        eq((await call(d.find_one(labels={"group": group, "n": "2"}))).id, b.id, "find_one by labels")
        await fails("", lambda: d.find_one(labels={"group": "nobody"}))
    else:
        pages = await listed(d, {"group": group}, limit=1)
        eq(sorted(s.id for s in pages), sorted([a.id, b.id]), "pages of one, each once")
        eq((await call(d.get(a.name))).id, a.id, "get by name")
    eq((await call(d.get(a.id))).id, a.id, "get by id")


async def settings(d, a, group):
    labels = {"group": group, "n": "1", "changed": "yes", "code-toolbox-language": "python"}
    eq(await call(a.set_labels(labels)), labels, "set_labels")
    await call(a.set_autostop_interval(0))
    await call(a.set_auto_archive_interval(1440))
    await call(a.set_auto_delete_interval(2880))
    eq((a.auto_stop_interval, a.auto_archive_interval, a.auto_delete_interval), (0, 1440, 2880), "local fields")
    again = await call(d.get(a.id))
    eq((again.auto_stop_interval, again.auto_archive_interval, again.auto_delete_interval), (0, 1440, 2880), "stored")
    eq(again.labels, labels, "stored labels")
    eq([s.id for s in await listed(d, {"changed": "yes", "group": group})], [a.id], "found by the new label")
    await fails("BadRequest" if not OLD else "", lambda: a.set_autostop_interval(-1))
    if not OLD:
        await call(a.refresh_activity())

    link = await call(a.get_preview_link(3000))
    assert "3000" in link.url and a.id in link.url and link.url.startswith("http"), link.url
    assert link.token


async def stopping(d, a):
    await call(a.fs.upload_file(b"kept", "kept.txt"))
    await call(a.process.exec("echo also > /home/daytona/also.txt; sudo mkdir -p /opt/e2e && sudo touch /opt/e2e/there"))
    await call(a.stop())
    eq(a.state.value, "stopped", "after stop")
    eq((await call(d.get(a.id))).state.value, "stopped", "stored state")
    await fails("BadRequest" if not OLD else "", lambda: a.process.exec("true"))
    await call(a.start())
    eq(a.state.value, "started", "after start")
    eq(await call(a.fs.download_file("kept.txt")), b"kept", "a file after stop and start")
    r = await call(a.process.exec("cat /home/daytona/also.txt; ls /opt/e2e"))
    eq(r.result.split(), ["also", "there"], "files after stop and start")
    await call(a.refresh_data())
    eq(a.state.value, "started", "after refresh_data")
    await call(d.stop(a))
    await call(d.start(a))
    eq((await call(a.process.exec("echo again"))).result, "again\n", "after a second round")


async def deleting(d, a, b, group):
    await call(a.delete())
    await call(a.delete())  # twice is no error
    deadline = asyncio.get_running_loop().time() + 30
    while True:
        try:
            state = (await call(d.get(a.id))).state.value
        except sdk.DaytonaError as e:
            assert "not found" in str(e).lower(), e
            break
        assert state in ("destroying", "destroyed"), state
        if state == "destroyed":
            break
        assert asyncio.get_running_loop().time() < deadline, state
        await asyncio.sleep(0.2)
    eq([s.id for s in await listed(d, {"group": group})], [b.id], "a deleted sandbox is not listed")
    await call(b.stop())
    await call(d.delete(b))  # a stopped one goes as well


async def scenario(d):
    group = uuid.uuid4().hex
    a = await call(d.create(sdk.CreateSandboxFromSnapshotParams(labels={"group": group, "n": "1"})))
    b = await call(d.create(sdk.CreateSandboxFromSnapshotParams(labels={"group": group, "n": "2"})))
    await finding(d, a, b, group)
    await settings(d, a, group)
    await stopping(d, a)
    await deleting(d, a, b, group)


run(scenario)
