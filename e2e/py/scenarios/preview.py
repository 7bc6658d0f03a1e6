"""Previews: links, who may follow them, what passes, rotation on stop; SSH of newer clients."""

import asyncio
import os
import socket as sockets
import urllib.parse

import httpx

from common import OLD, call, eq, run

# Names below localhost lead to this machine, as browsers and most systems have
# it; where the system's resolver does not know that, this one does.
resolve = sockets.getaddrinfo


def resolver(host, *args, **kwargs):
    name = host.decode() if isinstance(host, bytes) else host
    return resolve("127.0.0.1" if name and name.endswith(".localhost") else host, *args, **kwargs)


sockets.getaddrinfo = resolver

TOKEN = "X-Daytona-Preview-Token"


async def scenario(d):
    sandbox = await call(d.create())
    with open(os.path.join(os.environ["E2E_TESTDATA"], "preview", "app.py"), "rb") as f:
        await call(sandbox.fs.upload_file(f.read(), "/tmp/app.py"))
    serve = "nohup python3 /tmp/app.py 3000 127.0.0.1 > /tmp/app.log 2>&1 & until grep -q READY /tmp/app.log; do sleep 0.05; done"
    eq((await call(sandbox.process.exec(serve))).exit_code, 0)

    link = await call(sandbox.get_preview_link(3000))
    url = urllib.parse.urlparse(link.url)
    assert url.netloc.startswith(f"3000-{sandbox.id}."), link.url
    assert link.token

    async with httpx.AsyncClient(timeout=30) as http:
        # Who shows nothing, or something wrong, stays out.
        for headers in ({}, {TOKEN: "x" * 32}):
            r = await http.get(link.url, headers=headers)
            eq(r.status_code, 401, r.text)
            assert "hello" not in r.text
        # The token as header and as query, the API key.
        key = os.environ["DAYTONA_API_KEY"]
        for headers, query in (({TOKEN: link.token}, ""), ({}, f"?DAYTONA_SANDBOX_AUTH_KEY={link.token}"), ({"Authorization": f"Bearer {key}"}, "")):
            r = await http.get(link.url + "/" + query, headers=headers)
            eq(r.status_code, 200, r.text)
            assert "hello from port 3000" in r.text
        # A browser that came with the query gets a cookie, and an address without it.
        r = await http.get(f"{link.url}/?DAYTONA_SANDBOX_AUTH_KEY={link.token}&a=1", headers={"Accept": "text/html"})
        eq(r.status_code, 303)
        eq(r.headers["location"], "/?a=1")
        r = await http.get(link.url + "/", headers={"Accept": "text/html"})
        eq(r.status_code, 200, "with the cookie")
        http.cookies.clear()
        # The program sees nothing of ours.
        r = await http.get(link.url + f"/seen?b=2&DAYTONA_SANDBOX_AUTH_KEY={link.token}", headers={TOKEN: link.token, "X-Own": "1"})
        seen = r.json()
        eq(seen["target"], "/seen?b=2")
        eq(seen["headers"]["x-own"], "1")
        eq(seen["headers"]["x-forwarded-host"], url.netloc)
        assert link.token not in r.text and key not in r.text
        # Nothing listens there: those that do are named.
        other = await call(sandbox.get_preview_link(3001))
        r = await http.get(other.url, headers={TOKEN: other.token})
        eq(r.status_code, 502, r.text)
        assert "3000" in r.json()["message"], r.text

        # The path instead of the name, for those that cannot resolve it.
        origin = os.environ["DAYTONA_API_URL"].removesuffix("/api")
        r = await http.get(f"{origin}/preview/{sandbox.id}/3000/", headers={TOKEN: link.token})
        assert "hello from port 3000" in r.text, r.text

        if not OLD:
            signed = await call(sandbox.create_signed_preview_url(3000, 60))
            r = await http.get(signed.url)
            assert "hello from port 3000" in r.text, r.text
            r = await http.get(signed.url.replace("3000-", "3001-", 1))
            eq(r.status_code, 401, "another port")
            await call(sandbox.expire_signed_preview_url(3000, signed.token))
            eq((await http.get(signed.url)).status_code, 401, "expired")
            await events(link)
            await ssh(sandbox)

        # A stop replaces the token.
        await call(sandbox.stop())
        r = await http.get(link.url, headers={TOKEN: link.token})
        eq(r.status_code, 401, r.text)
        fresh = await call(sandbox.get_preview_link(3000))
        assert fresh.token != link.token
        r = await http.get(fresh.url, headers={TOKEN: fresh.token})
        eq(r.status_code, 503, r.text)
        assert "stopped" in r.json()["message"], r.text
        await call(sandbox.start())
        eq((await call(sandbox.process.exec(serve))).exit_code, 0)
        r = await http.get(fresh.url, headers={TOKEN: fresh.token})
        eq(r.status_code, 200, r.text)


async def events(link):
    """A WebSocket by another client of Python's, with the token as query."""
    import websocket

    def talk():
        url = link.url.replace("http", "ws", 1) + f"/?DAYTONA_SANDBOX_AUTH_KEY={link.token}"
        ws = websocket.create_connection(url, timeout=30)
        ws.send("to and fro")
        eq(ws.recv(), "to and fro")
        ws.close()

    await asyncio.to_thread(talk)


async def ssh(sandbox):
    access = await call(sandbox.create_ssh_access(5))
    assert access.ssh_command.startswith("ssh ") and access.token in access.ssh_command, access
    eq(access.sandbox_id, sandbox.id)
    options = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o", "BatchMode=yes"]

    async def login(command, *more):
        p = await asyncio.create_subprocess_exec(
            "ssh", *more, *options, *access.ssh_command.split()[1:], command, stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
        out, err = await p.communicate()
        return p.returncode, out.decode(), err.decode()

    eq(await login("echo in; exit 7"), (7, "in\n", ""))
    said = await call(sandbox.validate_ssh_access(access.token))
    eq((said.valid, said.sandbox_id), (True, sandbox.id))
    await call(sandbox.revoke_ssh_access(access.token))
    said = await call(sandbox.validate_ssh_access(access.token))
    eq(said.valid, False)
    code, _, err = await login("echo in", "-o", "LogLevel=INFO")
    eq(code, 255)
    assert "unknown or has expired" in err, err


run(scenario)
