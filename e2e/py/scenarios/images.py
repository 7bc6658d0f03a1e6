"""Images that are declared, snapshots, and sandboxes of both."""

import asyncio
import os
import tempfile
import time
import urllib.request
from pathlib import Path

from common import ASYNC, OLD, call, eq, fails, run
from daytona import (
    CreateSandboxFromImageParams,
    CreateSandboxFromSnapshotParams,
    CreateSnapshotParams,
    Image,
    Resources,
)

UNIQUE = f"{os.getpid()}-{time.time_ns()}"
BASE = "python:3.11.12-slim-bookworm"


async def made_by(make):
    """What make() gives. Where it prints a log, the blocking client needs a thread without an event loop."""
    return await call(make() if ASYNC else await asyncio.to_thread(make))


async def sh(sandbox, command, **kw):
    got = await call(sandbox.process.exec(command, **kw))
    assert got.exit_code == 0, f"{command}: {got.exit_code}: {got.result}"
    return got.result.strip()


def files(root):
    """A directory with a mode and a link that have to survive, and some files."""
    tree = root / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "sub" / "run.sh").write_text("#!/bin/sh\necho ran\n")
    (tree / "sub" / "run.sh").chmod(0o755)
    (tree / "data.txt").write_text("data\n")
    (tree / "link").symlink_to("data.txt")
    (root / "hello.txt").write_text(f"hello {UNIQUE}\n")
    (root / "requirements.txt").write_text("six==1.17.0\n")
    (root / "pyproject.toml").write_text('[project]\nname = "x"\nversion = "1"\ndependencies = ["toml==0.10.2"]\n')
    (root / "app").mkdir()
    (root / "app" / "part.txt").write_text("part\n")
    (root / "app" / "Dockerfile").write_text(f"FROM {BASE}\nCOPY part.txt /srv/part.txt\nRUN cat <<EOT > /srv/here\nwritten here\nEOT\n")
    (root / "more").mkdir()
    (root / "more" / "extra.txt").write_text("extra\n")


async def dynamic(d, root):
    image = (
        Image.debian_slim("3.12")
        .pip_install("six==1.17.0")
        .run_commands("mkdir -p /srv/work", ["sh", "-c", "echo printed by the build"])
        .add_local_file(root / "hello.txt", "/srv/work/")
        .add_local_dir(root / "tree", "/srv/tree")
        .env({"GREETING": "good morning", "RUN_ID": UNIQUE})
        .workdir("/srv/work")
        .entrypoint(["sleep", "infinity"])
    )
    logs = []
    params = CreateSandboxFromImageParams(image=image, resources=Resources(cpu=1, memory=1, disk=4))
    sandbox = await made_by(lambda: d.create(params, timeout=0, on_snapshot_create_logs=logs.append))
    text = "\n".join(logs)
    assert "printed by the build" in text, f"the log: {text!r}"
    eq(sandbox.disk, 4, "disk")
    eq(await sh(sandbox, "python3 -c 'import six; print(six.__version__)'"), "1.17.0")
    eq(await sh(sandbox, "cat /srv/work/hello.txt"), f"hello {UNIQUE}")
    eq(await sh(sandbox, "/srv/tree/sub/run.sh"), "ran")
    eq(await sh(sandbox, "readlink /srv/tree/link"), "data.txt")
    eq(await sh(sandbox, "stat -c %a /srv/tree/sub/run.sh"), "755")
    eq(await sh(sandbox, "echo $GREETING-$RUN_ID"), f"good morning-{UNIQUE}")

    began = time.monotonic()
    again = await call(d.create(params, timeout=60))
    print(f"the same definition again: {time.monotonic() - began:.2f} s")
    eq(await sh(again, "cat /srv/work/hello.txt"), f"hello {UNIQUE}")


async def prebuilt(d, root):
    name = f"e2e/images:{UNIQUE}"
    image = Image.base(BASE).pip_install_from_requirements(root / "requirements.txt").env({"RUN_ID": UNIQUE}).cmd(["sleep", "infinity"])
    logs = []
    params = CreateSnapshotParams(name=name, image=image, resources=Resources(cpu=1, memory=1, disk=3))
    made = await made_by(lambda: d.snapshot.create(params, on_logs=logs.append))
    text = "\n".join(logs)
    eq(str(made.state).lower().endswith("active"), True, f"state {made.state}")
    assert f"Creating snapshot {name}" in text and f"Created snapshot {name}" in text, text
    assert "pip install -r" in text, f"no log of the build: {text}"
    assert made.size and made.size > 0 and made.cpu == 1 and made.disk == 3, made
    got = await call(d.snapshot.get(name))
    eq(got.id, made.id)
    listed = await call(d.snapshot.list())
    assert name in [s.name for s in (listed if isinstance(listed, list) else listed.items)]
    await fails("Conflict", lambda: d.snapshot.create(CreateSnapshotParams(name=name, image=image)), "already exists")

    sandbox = await call(d.create(CreateSandboxFromSnapshotParams(snapshot=name)))
    eq(await sh(sandbox, "python -c 'import six; print(six.__version__)'"), "1.17.0")

    request("POST", f"/snapshots/{made.id}/deactivate")
    await fails("Validation" if not OLD else "", lambda: d.create(CreateSandboxFromSnapshotParams(snapshot=name)), "inactive")
    back = await call(d.snapshot.activate(got))
    eq(back.id, made.id)
    for _ in range(600):
        back = await call(d.snapshot.get(name))
        if str(back.state).lower().endswith("active") and "inactive" not in str(back.state).lower():
            break
        time.sleep(0.1)
    second = await call(d.create(CreateSandboxFromSnapshotParams(snapshot=name)))
    eq(await sh(second, "echo $RUN_ID"), UNIQUE)

    # What runs goes on without its snapshot, and what is stopped starts.
    await call(second.stop())
    await call(d.snapshot.delete(back))
    await fails("NotFound", lambda: d.snapshot.get(name), name)
    eq(await sh(sandbox, "python -c 'import six; print(six.__version__)'"), "1.17.0")
    await call(second.start())
    eq(await sh(second, "echo $RUN_ID"), UNIQUE)


async def from_files(d, root):
    image = (
        Image.from_dockerfile(root / "app" / "Dockerfile")
        .pip_install_from_pyproject(root / "pyproject.toml", [])
        .dockerfile_commands(["COPY extra.txt /srv/extra.txt", f"LABEL run={UNIQUE}"], context_dir=root / "more")
    )
    sandbox = await call(d.create(CreateSandboxFromImageParams(image=image), timeout=0))
    eq(await sh(sandbox, "cat /srv/part.txt /srv/here /srv/extra.txt"), "part\nwritten here\nextra")
    eq(await sh(sandbox, "python -c 'import toml; print(toml.__version__)'"), "0.10.2")


async def pool(d, snapshot):
    """A pool of the organization's own: filled, taken from, drained."""
    made = await call(d.warm_pool.create(snapshot, pool=1))
    eq((made.snapshot, made.pool, made.cpu, made.mem, made.disk, made.env), (snapshot, 1, 1, 1, 3, {}))

    async def holds(size):
        deadline = time.monotonic() + 120
        while True:
            (now,) = [p for p in await call(d.warm_pool.list()) if p.id == made.id]
            if now.current_size == size:
                return
            assert time.monotonic() < deadline, now
            await asyncio.sleep(0.2)

    async def refused(status, make):
        try:
            await call(make())
        except Exception as e:  # this service raises the errors of the client below it
            eq(getattr(e, "status", None) or getattr(e, "status_code", None), status)
        else:
            raise AssertionError(f"expected {status}")

    await refused(409, lambda: d.warm_pool.create(snapshot, pool=1))
    await holds(1)
    sandbox = await call(d.create(CreateSandboxFromSnapshotParams(snapshot=snapshot, env_vars={"MINE": "yes"})))
    eq(await sh(sandbox, "echo $MINE"), "yes")
    metrics = urllib.request.urlopen(os.environ["DAYTONA_API_URL"].removesuffix("/api") + "/metrics").read().decode()
    assert f'runner_warm_offers_total{{outcome="hit",snapshot="{made.id}"}} 1' in metrics, "it did not come from the pool"
    eq((await call(d.warm_pool.update(made.id, pool=0))).pool, 0)
    await holds(0)
    await call(d.warm_pool.delete(made.id))
    await refused(404, lambda: d.warm_pool.delete(made.id))


async def by_name(d):
    name = f"e2e-plain:{UNIQUE}"
    logs = []
    params = CreateSnapshotParams(name=name, image=BASE, entrypoint=["sleep", "infinity"])
    made = await made_by(lambda: d.snapshot.create(params, on_logs=logs.append))
    eq(list(made.entrypoint), ["sleep", "infinity"])
    eq(made.image_name, BASE)
    sandbox = await call(d.create(CreateSandboxFromSnapshotParams(snapshot=name)))
    eq(await sh(sandbox, "python3 -c 'print(6*7)'"), "42")
    if not OLD:
        await pool(d, name)
    await call(d.snapshot.delete(made))
    for bad, text in (("python:latest", "1.2.3"), ("python", "no tag"), ("Bad Name:1", "not the name of an image")):
        await fails("Validation" if not OLD else "", lambda: d.snapshot.create(CreateSnapshotParams(name=f"bad-{UNIQUE}", image=bad)), text)


async def failures(d):
    logs = []
    image = Image.base(BASE).run_commands(f"echo before {UNIQUE}; exit 7")
    e = await fails("", lambda: made_by(lambda: d.create(CreateSandboxFromImageParams(image=image), timeout=120, on_snapshot_create_logs=logs.append)))
    assert "7" in str(e), e
    assert any(f"before {UNIQUE}" in line for line in logs), logs
    e = await fails("", lambda: made_by(lambda: d.snapshot.create(CreateSnapshotParams(name=f"fails-{UNIQUE}", image=image), on_logs=logs.append)))
    assert "7" in str(e), e
    gone = Image.base("e2e/nothing:1.0").run_commands("true")
    e = await fails("", lambda: d.create(CreateSandboxFromImageParams(image=gone), timeout=120))
    assert "nothing" in str(e), e


def request(method, path):
    req = urllib.request.Request(os.environ["DAYTONA_API_URL"] + path, method=method, headers={"Authorization": "Bearer " + os.environ["DAYTONA_API_KEY"]})
    with urllib.request.urlopen(req) as res:
        return res.read()


async def scenario(d):
    with tempfile.TemporaryDirectory() as tmp:
        root = Path(tmp)
        files(root)
        await dynamic(d, root)
        await prebuilt(d, root)
        await from_files(d, root)
        await by_name(d)
        await failures(d)


run(scenario)
