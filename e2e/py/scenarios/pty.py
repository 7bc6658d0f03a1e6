"""Terminals: create, connect, input, size, several clients, full-screen programs, ends."""

import asyncio
import hashlib
import os
import time

from common import ASYNC, OLD, call, eq, fails, run

if not OLD:
    from daytona.common.pty import PtySize


class Terminal:
    """What a terminal's client has seen; one for both kinds of client."""

    def __init__(self, open):
        self.seen = bytearray()
        self.open = open

    async def __aenter__(self):
        if ASYNC:
            self.handle = await self.open(on_data=self.seen.extend)
            await self.handle.wait_for_connection()
        else:
            self.handle = self.open()
            self.handle.wait_for_connection()
        assert self.handle.is_connected()
        return self

    async def __aexit__(self, *_):
        await call(self.handle.disconnect())

    async def send(self, text):
        await call(self.handle.send_input(text))

    async def see(self, text, limit=60):
        """Waits until text has been printed, and forgets what was printed up to it."""
        want = text if isinstance(text, bytes) else text.encode()
        deadline = time.monotonic() + limit
        while want not in self.seen:
            assert time.monotonic() < deadline, f"{want!r} not seen in {bytes(self.seen[-3000:])!r}"
            assert self.handle.exit_code is None, f"ended with {self.handle.exit_code}: {bytes(self.seen[-3000:])!r}"
            if ASYNC:
                await asyncio.sleep(0.02)
            else:
                self.handle.wait(on_data=self.seen.extend, timeout=0.2)
        before, _, after = bytes(self.seen).partition(want)
        del self.seen[:]
        self.seen.extend(after)
        return before

    async def end(self):
        if ASYNC:
            return await asyncio.wait_for(self.handle.wait(), 60)
        return self.handle.wait(on_data=self.seen.extend, timeout=60)


async def scenario(d):
    if OLD:
        print("skipped: this client has no terminals")
        return
    sb = await call(d.create())
    p = sb.process
    await call(p.exec("mkdir -p /tmp/dir"))

    def new(id, **kw):
        return Terminal(lambda **on: p.create_pty_session(id=id, **kw, **on))

    def again(id):
        return Terminal(lambda **on: p.connect_pty_session(id, **on))

    async with new("main", cwd="/tmp/dir", envs={"GREETING": "grüß dich", "PS1": "$ "}, pty_size=PtySize(rows=30, cols=120)) as c:
        await c.send("printf '<%s|%s|%s>' \"$GREETING\" \"$PWD\" $TERM; stty size\n")
        await c.see("<grüß dich|/tmp/dir|xterm-256color>30 120")
        await c.send("tty -s && printf 'is%sterminal' -a-; printf ' ☃%s\\n' 漢字\n")
        await c.see("is-a-terminal ☃漢字")

        info = await call(c.handle.resize(PtySize(rows=40, cols=100)))
        eq((info.rows, info.cols), (40, 100), "resized")
        await c.send("stty size; echo $COLUMNS x $LINES\n")
        await c.see("40 100\r\n")
        await c.see("100 x 40")

        listed = await call(p.list_pty_sessions())
        eq([(i.id, i.active, i.cwd, i.envs["GREETING"]) for i in listed], [("main", True, "/tmp/dir", "grüß dich")], "list")
        got = await call(p.get_pty_session_info("main"))
        eq((got.id, got.rows, got.cols, got.lazy_start), ("main", 40, 100, False), "get")

        # Keys that interrupt: also after what was typed while a program reads nothing.
        await c.send("sleep 1000\n")
        await c.send("typed ahead\n")
        await asyncio.sleep(0.5)
        await c.send("\x03")
        await c.send("printf 'code:%s.' $?\n")
        await c.see("code:130.")
        await c.send("sleep 1000\n")
        await asyncio.sleep(0.5)
        await c.send("\x1a")
        await c.see("Stopped")
        await c.send("jobs; kill %1; printf 'job-%s\\n' killed\n")
        await c.see("job-killed")

        # A second client sees what is printed from now on, and types too.
        async with again("main") as second:
            await second.send("echo from-$((1+1))nd\n")
            await second.see("from-2nd")
            await c.see("from-2nd")
            assert "grüß".encode() not in second.seen
        await c.send("echo still-$((2-1))\n")
        await c.see("still-1")

        # Full-screen programs.
        await c.send("vi -u NONE note\n")
        await c.see("\x1b[?1049h")
        await c.send("isnow ☃\x1b")
        await c.send(":set columns?\r")
        await c.see("columns=100")
        await call(c.handle.resize(PtySize(rows=20, cols=77)))
        await asyncio.sleep(0.5)
        await c.send(":set columns?\r")
        await c.see("columns=77")
        await c.send(":wq\r")
        await c.see("\x1b[?1049l")
        r = await call(p.exec("cat /tmp/dir/note"))
        eq(r.result, "snow ☃\n", "what was typed into vi")
        await c.send("seq 1000 | less\n")
        await c.see("19\r\n")
        await c.send("G")
        await c.see("1000\r\n")
        await c.send("q")
        await c.send("top -d 0.2\n")
        await c.see("%Cpu")
        await c.see("PID")
        await c.send("q")

        # A large paste arrives whole.
        n = 10 << 20
        paste = os.urandom(n)
        await c.send(f"stty raw -echo; echo rea''dy; head -c {n} | sha256sum; stty sane\n")
        await c.see("ready\n")
        await c.send(paste)
        await c.see(hashlib.sha256(paste).hexdigest())
        # And much output does.
        await c.send("for i in 1 2 3; do seq 200000; done | sha256sum; seq 200000; echo e''nd\n")
        await c.see("200000\r\nend")

        await fails("Conflict", lambda: p.create_pty_session(id="main", **({"on_data": print} if ASYNC else {})))
        await c.send("exit 42\n")
        result = await c.end()
        eq((result.exit_code, result.error), (42, "non-zero exit"), "exit")
        assert not c.handle.is_connected()
    eq(await call(p.list_pty_sessions()), [], "the session has gone")

    async with new("main") as c:
        await c.send("exit\n")
        eq((await c.end()).exit_code, 0, "good exit")

    async with new("doomed") as c:
        await c.send("(sleep 1234 & disown); nohup sleep 1235 >/dev/null 2>&1 & echo star''ted\n")
        await c.see("started")
        await call(c.handle.kill())
        result = await c.end()
        eq((result.exit_code, result.error), (137, "SIGKILL"), "killed")
    r = await call(p.exec("pgrep -f 'sleep 123[45]' || echo none"))
    eq(r.result, "none\n", "left by a killed session")
    await fails("NotFound", lambda: p.get_pty_session_info("doomed"))
    await fails("NotFound", lambda: p.kill_pty_session("doomed"))
    await fails("NotFound", lambda: p.resize_pty_session("doomed", PtySize(rows=1, cols=1)))
    await fails("", lambda: p.connect_pty_session("doomed", **({"on_data": print} if ASYNC else {})), "PTY session not found")
    await fails("BadRequest", lambda: p.create_pty_session(id="big", pty_size=PtySize(rows=1, cols=1001), **({"on_data": print} if ASYNC else {})))

    # A shell hears of the end of its sandbox, and is gone afterwards.
    async with new("last") as c:
        await c.send("echo rea''dy; sleep 1000\n")
        await c.see("ready")
        await call(d.stop(sb))
        result = await c.end()
        eq((result.exit_code, result.error), (129, "signal 1"), "hung up")
    await call(d.start(sb))
    eq(await call(p.list_pty_sessions()), [], "terminals of a sandbox that was stopped")


run(scenario)
