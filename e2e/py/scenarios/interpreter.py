"""run_code: state, contexts, callbacks, errors, variables, time-outs."""

from common import OLD, call, eq, fails, run, sdk


async def scenario(d):
    if OLD:
        return  # its package knows no interpreter
    sb = await call(d.create())
    ci = sb.code_interpreter

    out, err, errors = [], [], []
    r = await call(
        ci.run_code(
            "import sys\nx = 41\nprint('out ☃')\nprint('err', file=sys.stderr)",
            on_stdout=lambda m: out.append(m.output),
            on_stderr=lambda m: err.append(m.output),
            on_error=errors.append,
        )
    )
    eq((r.stdout, r.stderr, r.error), ("out ☃\n", "err\n", None), "result")
    eq(("".join(out), "".join(err), errors), ("out ☃\n", "err\n", []), "callbacks")
    r = await call(ci.run_code("def f(n):\n    return x + n\nf(1)"))
    eq((r.stdout, r.error), ("", None), "nothing is echoed")
    r = await call(ci.run_code("print(f(1))"))
    eq(r.stdout, "42\n", "state of the default context")

    r = await call(ci.run_code("def fail():\n    raise ValueError('boom')\nfail()", on_error=errors.append))
    eq((r.error.name, r.error.value), ("ValueError", "boom"), "error")
    eq([(e.name, e.value) for e in errors], [("ValueError", "boom")], "error callback")
    assert r.error.traceback.startswith("Traceback") and "in fail" in r.error.traceback, r.error.traceback
    assert "stdin" not in r.error.traceback and "toolbox" not in r.error.traceback, r.error.traceback
    r = await call(ci.run_code("print(f(2)"))
    eq(r.error.name, "SyntaxError", "syntax")

    r = await call(ci.run_code("import os; print(os.environ['A'], flush=True); os.system('echo $B')", envs={"A": "1", "B": "two words"}))
    eq(r.stdout, "1\ntwo words\n", "variables")
    r = await call(ci.run_code("print(os.environ.get('A'))"))
    eq(r.stdout, "None\n", "variables of one run only")

    await call(sb.fs.create_folder("sub", "755"))
    a, b = await call(ci.create_context()), await call(ci.create_context(cwd="/home/daytona/sub"))
    eq((a.cwd, b.cwd, a.language, a.active), ("/home/daytona", "/home/daytona/sub", "python", True), "contexts")
    eq([c.id for c in await call(ci.list_contexts())], [a.id, b.id], "list")
    await call(ci.run_code("x = 'a'", context=a))
    r = await call(ci.run_code("print(globals().get('x')); import os; print(os.getcwd())", context=b))
    eq(r.stdout, "None\n/home/daytona/sub\n", "isolation")
    eq((await call(ci.run_code("print(x)", context=a))).stdout, "a\n", "context a")
    eq((await call(ci.run_code("print(x)"))).stdout, "41\n", "default context")

    r = await call(ci.run_code("import numpy, pandas\nprint(pandas.Series(numpy.arange(4)).sum())", context=b))
    eq(r.stdout, "6\n", "packages")
    r = await call(ci.run_code("import matplotlib.pyplot as plt\nplt.plot([1, 2, 3])\nplt.show()\nprint('shown')\ndisplay(7)", context=b))
    eq((r.stdout, r.error), ("shown\n7\n", None), "frames that the client does not know are skipped")

    await fails("Timeout", lambda: ci.run_code("import time\nwhile True: time.sleep(0.1)", context=a, timeout=2), "timed out")
    eq((await call(ci.run_code("print(x)", context=a))).stdout, "a\n", "state after the interrupt")

    await call(ci.delete_context(a))
    eq([c.id for c in await call(ci.list_contexts())], [b.id], "list after deletion")
    await fails("", lambda: ci.run_code("1", context=a), "context not found: " + a.id)
    await fails("NotFound", lambda: ci.delete_context(a))

    await fails("", lambda: ci.run_code("import os; os._exit(3)", context=b), "exit code 3")
    r = await call(ci.run_code("print('numpy' in globals())", context=b))
    eq(r.stdout, "False\n", "a new interpreter after the death of one")
    r = await call(ci.run_code("for i in range(20000): print('line', i)", context=b))
    eq((len(r.stdout.splitlines()), r.stdout.splitlines()[-1]), (20000, "line 19999"), "long output")
    r = await call(ci.run_code("import time\nfor i in range(25): time.sleep(1)\nprint('done')", context=b))
    eq(r.stdout, "done\n", "a run that outlasts the client's pings")


run(scenario)
