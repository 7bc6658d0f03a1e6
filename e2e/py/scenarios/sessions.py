"""Sessions: one shell for many commands, logs whole and streamed, input, the entrypoint."""

import asyncio
import time

from common import OLD, call, eq, fails, run
from daytona import SessionExecuteRequest


async def scenario(d):
    sb = await call(d.create())
    p = sb.process
    await call(p.create_session("s"))
    await fails("Conflict", lambda: p.create_session("s"), "already exists")

    async def sync(command):
        return await call(p.execute_session_command("s", SessionExecuteRequest(command=command)))

    async def begin(command, **more):
        r = await call(p.execute_session_command("s", SessionExecuteRequest(command=command, run_async=True, **more)))
        assert r.cmd_id and r.exit_code is None, r
        return r.cmd_id

    async def ended(cmd_id):
        for _ in range(300):
            c = await call(p.get_session_command("s", cmd_id))
            if c.exit_code is not None:
                return c
            await asyncio.sleep(0.1)
        raise AssertionError("the command did not end")

    # State.
    r = await sync("pwd")
    eq((r.exit_code, r.output), (0, "/home/daytona\n"), "start directory")
    await sync("cd /tmp; export A=1; f() { echo f$A; }")
    r = await sync("pwd; f")
    eq((r.exit_code, r.output), (0, "/tmp\nf1\n"), "directory, variable and function last")
    r = await sync("cat <<'X'\na 'b' \"c\"\nX\n(exit 3)")
    eq((r.exit_code, r.output), (3, "a 'b' \"c\"\n"), "here document, exit code")
    r = await sync("sleep 1000 & echo front")
    eq((r.exit_code, r.output), (0, "front\n"), "a process left behind does not hold the answer")
    if not OLD:
        r = await sync("echo out; echo err >&2")
        eq((r.stdout, r.stderr), ("out\n", "err\n"), "streams apart")

    # Lists.
    s = await call(p.get_session("s"))
    eq((s.session_id, s.commands[0].command, s.commands[0].exit_code), ("s", "pwd", 0), "session")
    eq([x.session_id for x in await call(p.list_sessions())], ["s"], "list")
    c = await call(p.get_session_command("s", s.commands[2].id))
    eq((c.command, c.exit_code), ("pwd; f", 0), "command")

    # Logs, as a whole and as they come.
    step = "for i in 1 2 3; do echo line $i; sleep 0.5; done; echo oops >&2"
    cmd = await begin(step)
    if OLD:
        chunks = []
        await p.get_session_command_logs_async("s", cmd, chunks.append)
        text = "".join(chunks).replace("\x00", "")
        eq(text, "line 1\nline 2\nline 3\noops\n", "stream")
        logs = await call(p.get_session_command_logs("s", cmd))
        eq(logs, text, "logs")
    else:
        out, err = [], []
        began = time.monotonic()
        await p.get_session_command_logs_async("s", cmd, lambda x: out.append((time.monotonic() - began, x)), err.append)
        eq(("".join(x for _, x in out), "".join(err)), ("line 1\nline 2\nline 3\n", "oops\n"), "streams")
        assert len(out) >= 3 and out[0][0] < out[-1][0] - 0.4, f"output did not come as it was printed: {out}"
        logs = await call(p.get_session_command_logs("s", cmd))
        eq((sorted(logs.output.split("\n")), logs.stdout, logs.stderr),
           (["", "line 1", "line 2", "line 3", "oops"], "line 1\nline 2\nline 3\n", "oops\n"), "logs")
    eq((await ended(cmd)).exit_code, 0, "exit code")

    # A reader that comes late gets everything; several readers do.
    cmd = await begin("seq 1 50000")
    await ended(cmd)
    if OLD:
        parts = [[], []]
        await asyncio.gather(*(p.get_session_command_logs_async("s", cmd, x.append) for x in parts))
    else:
        parts = [[], [], []]
        await asyncio.gather(*(p.get_session_command_logs_async("s", cmd, x.append, lambda _: None) for x in parts))
    for x in parts:
        lines = "".join(x).split("\n")
        eq((len(lines), lines[-2]), (50001, "50000"), "late reader")

    # Input.
    if not OLD:
        cmd = await begin('read -r a; read -r b; echo "got $a and $b"', suppress_input_echo=True)
        await call(p.send_session_command_input("s", cmd, "one"))
        await call(p.send_session_command_input("s", cmd, "two\n"))
        eq((await ended(cmd)).exit_code, 0, "exit code")
        eq((await call(p.get_session_command_logs("s", cmd))).stdout, "got one and two\n", "input")
        await fails("", lambda: p.send_session_command_input("s", cmd, "late"), "completed")
        cmd = await begin("cat")
        await call(p.send_session_command_input("s", cmd, "shown"))
        for _ in range(100):
            text = (await call(p.get_session_command_logs("s", cmd))).stdout
            if text == "shown\nshown\n":
                break
            await asyncio.sleep(0.1)
        eq(text, "shown\nshown\n", "input is echoed")

    # The end.
    await call(p.create_session("t"))
    await fails("", lambda: p.execute_session_command("t", SessionExecuteRequest(command="exit 3")), "session cancelled")
    await call(p.delete_session("t"))
    pid = (await call(p.exec("pgrep -x sleep | head -1"))).result.strip()
    assert pid, "the process that was left behind is gone"
    await call(p.delete_session("s"))
    r = await call(p.exec(f"kill -0 {pid} 2>/dev/null; echo $?"))
    eq(r.result.strip(), "1", "everything ends with the session")
    await fails("NotFound", lambda: p.get_session("s"), "not found")
    eq(await call(p.list_sessions()), [], "list")

    if not OLD:
        s = await call(p.get_entrypoint_session())
        eq(s.session_id, "entrypoint", "entrypoint")
        logs = await call(p.get_entrypoint_logs())
        eq((logs.output, logs.stdout, logs.stderr), ("", "", ""), "the entrypoint prints nothing")


run(scenario)
