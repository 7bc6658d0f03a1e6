"""Sandboxes made with defaults and with every option of the SDK."""

import uuid

from common import OLD, RUN, call, eq, run, sdk


async def defaults(d):
    sb = await call(d.create())
    uuid.UUID(sb.id)
    eq(str(sb.state.value), "started", "state")
    eq((sb.cpu, sb.gpu, sb.memory, sb.disk), (1, 0, 1, 3), "cpu, gpu, memory, disk")
    eq(sb.user, "daytona", "user")
    eq(sb.public, False, "public")
    eq(sb.env, {}, "env")
    eq((sb.auto_stop_interval, sb.auto_archive_interval, sb.auto_delete_interval), (15, 10080, -1), "intervals")
    assert sb.snapshot, "no snapshot named"
    assert sb.organization_id and sb.target and sb.created_at
    if not OLD:
        assert sb.name and sb.toolbox_proxy_url
        eq(sb.labels.get("code-toolbox-language"), "python", "language label")
    r = await call(sb.process.code_run("print(6 * 7)"))
    eq((r.exit_code, r.result.strip()), (0, "42"), "code_run")


async def options(d):
    env = {"GREETING": "hello", "SPACES": "a b  c", "ODD": "it's \"odd\" $HOME `id` \\ ünï"}
    named = {} if OLD else {"name": f"e2e-{RUN}-{uuid.uuid4().hex[:6]}"}
    sb = await call(
        d.create(
            sdk.CreateSandboxFromSnapshotParams(
                language=sdk.CodeLanguage.PYTHON,
                env_vars=env,
                labels={"e2e": RUN, "purpose": "options"},
                public=True,
                auto_stop_interval=30,
                auto_archive_interval=60,
                auto_delete_interval=120,
                **named,
            )
        )
    )
    eq(sb.public, True, "public")
    eq({k: sb.labels.get(k) for k in ("e2e", "purpose")}, {"e2e": RUN, "purpose": "options"}, "labels")
    eq((sb.auto_stop_interval, sb.auto_archive_interval, sb.auto_delete_interval), (30, 60, 120), "intervals")
    eq(sb.env, env, "env")
    for key, value in named.items():
        eq(getattr(sb, key), value, key)
    for key, value in env.items():
        r = await call(sb.process.exec(f"printenv {key}"))
        eq(r.result, value + "\n", f"{key} seen by exec")
    r = await call(sb.process.code_run("import os; print(os.environ['ODD'], end='')"))
    eq(r.result.rstrip("\n"), env["ODD"], "ODD seen by code_run")


async def user_and_home(d):
    sb = await call(d.create())
    r = await call(sb.process.exec("id -u; id -un; echo $HOME; pwd; hostname"))
    eq(r.result.split(), ["1000", "daytona", "/home/daytona", "/home/daytona", sb.id], "identity")
    root = await call(sb.get_user_root_dir())
    eq(root.rstrip("/"), "/home/daytona", "root dir")
    if not OLD:
        eq(await call(sb.get_work_dir()), "/home/daytona", "work dir")


async def ephemeral(d):
    # The old package has no "ephemeral"; an auto-delete interval of 0 says the same.
    extra = {"auto_delete_interval": 0} if OLD else {"ephemeral": True}
    sb = await call(d.create(sdk.CreateSandboxFromSnapshotParams(**extra)))
    eq(sb.auto_delete_interval, 0, "auto_delete_interval")
    if not OLD:  # the old client waits for "stopped" alone, which never comes
        await call(sb.stop())
        eq(sb.state.value in ("stopped", "destroying", "destroyed"), True, f"state {sb.state}")


async def scenario(d):
    await defaults(d)
    await options(d)
    await user_and_home(d)
    await ephemeral(d)


run(scenario)
