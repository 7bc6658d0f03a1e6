"""What goes wrong arrives as the SDK's own error class, with words."""

import os
import uuid

from common import OLD, call, client, close, collect, error_class, fails, run, sdk

URL = os.environ["DAYTONA_API_URL"]


async def wrong_key(d):
    for key in ("dtn_" + "0" * 64, "nonsense"):
        bad = client(api_key=key, api_url=URL)
        try:
            await fails("Authentication", lambda: bad.create())
            await fails("Authentication", lambda: bad.get(str(uuid.uuid4())))
            await fails("Authentication", lambda: collect(bad.list()))
        finally:
            await close(bad)


async def unknown_things(d):
    unknown = str(uuid.uuid4())
    await fails("NotFound", lambda: d.get(unknown), "not found")
    await fails("NotFound", lambda: d.get("no-such-name"), "not found")
    try:
        await call(d.create(sdk.CreateSandboxFromSnapshotParams(snapshot="no-such-snapshot")))
    except (error_class("BadRequest"), error_class("NotFound")) as e:
        assert "no-such-snapshot" in str(e), e
    else:
        raise AssertionError("created from a snapshot that does not exist")


async def bad_input(d):
    params = sdk.CreateSandboxFromSnapshotParams
    await fails("BadRequest", lambda: d.create(params(network_allow_list="not-a-cidr")), "network")
    await fails("BadRequest", lambda: d.create(params(auto_stop_interval=-1)))  # refused by the client itself
    await fails("BadRequest", lambda: d.create(params(env_vars={"NOT A NAME": "x"})), "env")
    await fails("BadRequest", lambda: d.create(params(os_user="no such user!")), "user")
    if not OLD:
        sb = await call(d.create(params(name=f"e2e-{uuid.uuid4().hex[:8]}")))
        await fails("Conflict", lambda: d.create(params(name=sb.name)), sb.name)
    else:
        sb = await call(d.create())
    await fails("BadRequest", lambda: sb.get_preview_link(70000), "port")
    await fails("NotFound", lambda: sb.fs.get_file_info("/no/such/file"))


async def no_server(d):
    gone = client(api_key="dtn_" + "0" * 64, api_url="http://127.0.0.1:9/api")
    try:
        await fails("", lambda: gone.get("x"))  # the class differs between blocking and asynchronous
    finally:
        await close(gone)


async def scenario(d):
    await wrong_key(d)
    await unknown_things(d)
    await bad_input(d)
    await no_server(d)


run(scenario)
