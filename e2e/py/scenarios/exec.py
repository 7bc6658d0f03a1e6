"""Commands: output, exit codes, directory, environment, time-outs."""

from common import OLD, call, eq, fails, run


async def scenario(d):
    sb = await call(d.create())
    p = sb.process

    r = await call(p.exec("echo 'Hello, World!'"))
    eq((r.exit_code, r.result, r.artifacts.stdout), (0, "Hello, World!\n", "Hello, World!\n"), "echo")

    for code in (1, 42, 255):
        r = await call(p.exec(f"exit {code}"))
        eq(r.exit_code, code, "exit code")
    r = await call(p.exec("no-such-command-at-all"))
    eq(r.exit_code, 127, "unknown command")
    assert "not found" in r.result, r.result

    r = await call(p.exec("echo out; echo err >&2; exit 3"))
    eq((r.exit_code, sorted(r.result.split())), (3, ["err", "out"]), "stderr")

    r = await call(p.exec("pwd", cwd="/tmp"))
    eq(r.result.strip(), "/tmp", "absolute cwd")
    await call(p.exec("mkdir -p /home/daytona/w/src"))
    # The old client never made a relative directory absolute for exec; both resolve it against the home.
    r = await call(p.exec("pwd", cwd="w/src"))
    eq(r.result.strip(), "/home/daytona/w/src", "relative cwd")

    r = await call(p.exec("echo $CUSTOM_SECRET-$TWO", env={"CUSTOM_SECRET": "DAYTONA", "TWO": "it's \"2\" & $HOME"}))
    eq(r.result, "DAYTONA-it's \"2\" & $HOME\n", "env")
    r = await call(p.exec("echo ${CUSTOM_SECRET:-gone}"))
    eq(r.result, "gone\n", "env lasts for one command only")

    r = await call(p.exec("""printf '%s|' "a b" 'c"d' $((1+2)) "$(echo sub)" """))
    eq(r.result.strip(), "a b|c\"d|3|sub|", "quoting")
    r = await call(p.exec("for i in 1 2 3; do\n  echo line $i\ndone | tac"))
    eq(r.result, "line 3\nline 2\nline 1\n", "several lines and a pipe")
    r = await call(p.exec("printf 'ünïcödé ☃ 漢字'"))
    eq(r.result.rstrip("\n"), "ünïcödé ☃ 漢字", "unicode")
    r = await call(p.exec("true"))
    eq((r.exit_code, r.result.strip()), (0, ""), "no output")
    r = await call(p.exec("cat; echo after"))
    eq(r.result, "after\n", "standard input is at its end")
    # The old client takes time that grows with the square of the lines.
    n = 20_000 if OLD else 200_000
    r = await call(p.exec(f"seq 1 {n}"))
    lines = r.result.splitlines()
    eq((len(lines), lines[-1]), (n, str(n)), "long output")

    r = await call(p.exec("sleep 1; echo done", timeout=20))
    eq(r.result, "done\n", "within the time-out")
    await fails("Timeout", lambda: p.exec("sleep 300 & echo $! > /tmp/bg; sleep 301", timeout=2), "timeout")
    r = await call(p.exec("for i in $(seq 20); do kill -0 $(cat /tmp/bg) 2>/dev/null || exec echo dead; sleep 0.1; done; echo alive"))
    eq(r.result.strip(), "dead", "the whole process group ends at the time-out")

    r = await call(p.exec("sudo -n id -u"))
    eq((r.exit_code, r.result.strip()), (0, "0"), "sudo")

    if not OLD:  # the old client wraps whatever it is given into a valid command
        await fails("BadRequest", lambda: p.exec("   "))
        await fails("BadRequest", lambda: p.exec("true", env={"NOT A NAME": "x"}), "NOT A NAME")


run(scenario)
