"""code_run: languages, output, exit codes, argv, env, time-outs."""

import asyncio

from common import OLD, call, eq, fails, run, sdk


async def python(d):
    sb = await call(d.create(sdk.CreateSandboxFromSnapshotParams(language="python")))
    p = sb.process

    r = await call(p.code_run('print("Sum of 3 and 4 is " + str(3 + 4))'))
    eq((r.exit_code, r.result.rstrip("\n"), r.artifacts.stdout.rstrip("\n")), (0, "Sum of 3 and 4 is 7", "Sum of 3 and 4 is 7"))

    r = await call(p.code_run("def greet(n):\n    return f'Hello, {n}!'\n\nprint(greet('Wörld ☃ \\'\"\\\\ $HOME `x`'))"))
    eq((r.exit_code, r.result.rstrip("\n")), (0, "Hello, Wörld ☃ '\"\\ $HOME `x`!"), "quoting")

    r = await call(p.code_run("print('before')\nraise ValueError('boom')"))
    eq(r.exit_code, 1, "exit code of an exception")
    assert "before" in r.result and "ValueError: boom" in r.result and "Traceback" in r.result, r.result

    r = await call(p.code_run("import sys; print('x'); sys.exit(7)"))
    eq((r.exit_code, r.result.strip()), (7, "x"), "sys.exit")

    r = await call(p.code_run("this is not valid python"))
    eq(r.exit_code, 1)
    assert "SyntaxError" in r.result, r.result

    r = await call(p.code_run("import sys; print(sys.argv[1:])", sdk.CodeRunParams(argv=["one", "two"])))
    eq(r.result.strip(), "['one', 'two']", "argv")

    r = await call(p.code_run("import os; print(os.environ['A'], os.environ['B'])", sdk.CodeRunParams(env={"A": "1", "B": "two words"})))
    eq(r.result.strip(), "1 two words", "env")

    r = await call(p.code_run("import sys; print('out'); print('err', file=sys.stderr)"))
    eq(sorted(r.result.split()), ["err", "out"], "both streams")

    r = await call(p.code_run("for i in range(20000): print('line', i)"))
    lines = r.result.splitlines()
    eq((len(lines), lines[-1]), (20000, "line 19999"), "long output")

    r = await call(p.code_run("import numpy, pandas; print(pandas.Series(numpy.arange(4)).sum())"))
    eq((r.exit_code, r.result.strip()), (0, "6"), "packages")

    # The new client lets what its generated code raises through, here alone.
    try:
        await call(p.code_run("import time; time.sleep(120)", timeout=2))
    except sdk.DaytonaError if OLD else Exception as e:
        assert "timeout" in str(e).lower(), e
    else:
        raise AssertionError("the program was not ended")
    r = await call(p.exec("pgrep -c python3 || true"))
    eq(r.result.strip().splitlines()[-1], "0", "python processes left after the time-out")
    if not OLD:
        await ready(p)


PROBE = """
import sys, warnings
name = '%s'
if name:
    __import__(name)
print(list(sys.modules) if not name else sorted(sys.modules))
print(warnings.filters, sys.argv, sys.path, sys.flags, sys.executable)
print({n: sorted(k for k, v in vars(m).items() if isinstance(v, type(sys))) for n, m in sorted(sys.modules.items()) if isinstance(m, type(sys)) and not n.startswith('six')})
def fail(): raise ValueError(name)
fail()
"""


async def ready(p):
    """A program that is run by a ready interpreter is like one in a fresh process."""

    async def waiting():
        r = await call(p.exec("pgrep -x toolbox-ready || true"))
        return {int(pid) for pid in r.result.split()}

    async def used(code="pass", *args):
        before = await waiting()
        r = await call(p.code_run("import os; print(os.getpid())\n" + code, *args))
        pid, _, rest = r.result.partition("\n")
        return int(pid) in before, rest

    async def prepared():
        for _ in range(100):
            if (await used())[0]:
                break
            await asyncio.sleep(0.3)
        else:
            raise AssertionError("no program was run by a ready interpreter")
        for _ in range(100):
            if len(await waiting()) == 2:
                return
            await asyncio.sleep(0.1)
        raise AssertionError("no copy waits")

    await prepared()
    for name in "", "numpy", "pandas", "mat' + 'plotlib", "mat' + 'plotlib.pyplot", "requests", "json":
        code = PROBE % name
        fresh = await call(p.exec(f"cat > /tmp/probe.py <<'E'\n{code}E\npython3 -u - < /tmp/probe.py 2>&1"))
        await prepared()
        got = await call(p.code_run(code))
        if got.result != fresh.result:
            a, b = fresh.result.split(), got.result.split()
            raise AssertionError(f"{name}: only fresh {sorted(set(a) - set(b))}, only ready {sorted(set(b) - set(a))}: {fresh.result[-300:]} {got.result[-300:]}")
        eq(got.exit_code, 1, name)

    # Where it can be told, a fresh process is used.
    await prepared()
    for env in {"LC_ALL": "C"}, {"PYTHONHASHSEED": "0"}, {"OMP_NUM_THREADS": "1"}:
        eq((await used("", sdk.CodeRunParams(env=env)))[0], False, str(env))
    eq((await used("print(hash('a'))"))[0], False, "hashes")
    eq(await used("import sys; print(sys.argv[1:], os.environ['A'])", sdk.CodeRunParams(argv=["x", "y"], env={"A": "1"})), (True, "['x', 'y'] 1\n"))

    # What is installed later is found, and what is ready is made anew.
    await call(p.exec("d=$(python3 -c 'import site; print(site.USER_SITE)'); mkdir -p $d && echo 'value = 7' > $d/installed_later.py"))
    eq(await used("import installed_later; print(installed_later.value)"), (False, "7\n"), "installed later")
    await prepared()

    # It is no part of what the user sees as running Python programs.
    r = await call(p.exec("pgrep -c python3 || true"))
    eq(r.result.strip(), "0", "python processes")
    await call(p.exec("pkill -9 -x toolbox-ready"))
    eq(await used("print(1)"), (False, "1\n"), "after it was killed")


async def node(d, language, typed):
    sb = await call(d.create(sdk.CreateSandboxFromSnapshotParams(language=language)))
    p = sb.process
    # The old client runs JavaScript as TypeScript, which wants to know the type.
    n = "n: string" if typed else "n = ''"
    r = await call(p.code_run(f"const f = ({n}) => `Hello, ${{n}}!`;\nconsole.log(f('Daytona'));"))
    eq((r.exit_code, r.result.rstrip("\n")), (0, "Hello, Daytona!"), language)

    r = await call(
        p.code_run(
            "console.log(process.argv.slice(-1)[0], process.env.FOO)", sdk.CodeRunParams(argv=["Daytona"], env={"FOO": "BAR"})
        )
    )
    eq(r.result.strip(), "Daytona BAR", f"{language} argv and env")

    if typed or not OLD:
        r = await call(p.code_run("console.log('before'); throw new Error('boom')"))
        assert "boom" in r.result, r.result
    if not OLD:  # the old client pipes into grep, whose exit code it reports
        eq(r.exit_code, 1, f"{language} exit code")
        r = await call(p.code_run("process.exit(5)"))
        eq(r.exit_code, 5, f"{language} process.exit")


async def scenario(d):
    await python(d)
    await node(d, "typescript", True)
    await node(d, "javascript", False)


run(scenario)
