"""Language servers: symbols and completions, of Python and of TypeScript."""

from common import ASYNC, OLD, call, eq, fails, run

PYTHON = '''"""Says hello."""
import os


class Greeter:
    greeting = "Hello"

    def greet(self, name):
        return f"{self.greeting}, {name}"


def main():
    os.path.jo
'''

TYPESCRIPT = """export class Greeter {
  greeting = 'Hello'
  greet(name: string): string {
    return `${this.greeting}, ${name}`
  }
}

new Greeter().
"""

CLASS, METHOD, FUNCTION = 5, 6, 12


async def upload(sb, path, text):
    await call(sb.fs.upload_file(text.encode(), path))


def position(line, character):
    if OLD:  # its class Position is not the one that it accepts
        return {"line": line, "character": character}
    from daytona.common.lsp_server import LspCompletionPosition

    return LspCompletionPosition(line=line, character=character)


def known(symbols):
    return {(s.name, int(s.kind)) for s in symbols}


async def labels(lsp, path, line, character):
    found = await call(lsp.completions(path, position(line, character)))
    return {item.label.split("(")[0] for item in found.items}


async def python(sb, project):
    path = f"{project}/a greeter.py"
    await upload(sb, path, PYTHON)
    await upload(sb, f"{project}/deep/er/other.py", "def distant_greeter():\n    pass\n")
    lsp = await call(sb.create_lsp_server("python", project))
    await fails("BadRequest", lambda: lsp.document_symbols(path), "server not initialized")
    await call(lsp.start())
    await call(lsp.start())
    await call(lsp.did_open(path))
    symbols = await call(lsp.document_symbols(path))
    assert {("Greeter", CLASS), ("greet", METHOD), ("main", FUNCTION)} <= known(symbols), symbols
    for s in symbols:
        assert s.location.uri.endswith("/a%20greeter.py"), s
    symbols = await call(lsp.sandbox_symbols("Greeter"))
    eq(known(symbols), {("Greeter", CLASS), ("distant_greeter", FUNCTION)}, "symbols of all files")
    symbols = await call(lsp.workspace_symbols("no such name"))
    eq(symbols, [], "no symbol")
    assert "join" in await labels(lsp, path, 12, 14)

    # What another program wrote is seen without being told.
    await upload(sb, path, PYTHON.replace("jo\n", "base\n"))
    assert "basename" in await labels(lsp, path, 12, 16)

    if ASYNC:  # what takes time: once is enough
        await upload(sb, f"{project}/data.py", "import pandas as pd\n\npd.DataFrame().hea\n")
        assert "head" in await labels(lsp, f"{project}/data.py", 2, 18)

        # One that was killed comes back, with what it knew.
        r = await call(sb.process.exec("pkill -9 -f '[p]ylsp' && echo killed"))
        eq(r.result, "killed\n", "kill")
        assert "basename" in await labels(lsp, path, 12, 16)
    await call(lsp.did_close(path))
    await call(lsp.stop())
    r = await call(sb.process.exec("for i in $(seq 50); do pgrep -f '[p]ylsp' > /dev/null || exec echo none; sleep 0.1; done; ps aux"))
    eq(r.result, "none\n", "a stopped server leaves nothing behind")
    await fails("BadRequest", lambda: lsp.completions(path, position(0, 0)), "server not initialized")


async def typescript(sb, project):
    path = f"{project}/src/greeter.ts"
    await upload(sb, path, TYPESCRIPT)
    await upload(sb, f"{project}/src/other.ts", "export function distantGreeter() {}\n")
    lsp = await call(sb.create_lsp_server("typescript", project))
    await call(lsp.start())
    await call(lsp.did_open(path))
    symbols = await call(lsp.document_symbols(path))
    assert {("Greeter", CLASS), ("greet", METHOD)} <= known(symbols), symbols
    symbols = await call(lsp.sandbox_symbols("Greeter"))
    assert {("Greeter", CLASS), ("distantGreeter", FUNCTION)} <= known(symbols), symbols
    assert {"greet", "greeting"} <= await labels(lsp, path, 7, 14)
    if not ASYNC:
        r = await call(sb.process.exec("pgrep -f '[t]sserver.js' > /dev/null && pkill -9 -f '[b]in/typescript-language-server' && echo killed"))
        eq(r.result, "killed\n", "kill")
        assert {"greet", "greeting"} <= await labels(lsp, path, 7, 14)
    await call(lsp.stop())
    r = await call(sb.process.exec("for i in $(seq 50); do pgrep -f '[t]sserver.js' > /dev/null || exec echo none; sleep 0.1; done; ps aux"))
    eq(r.result, "none\n", "nothing is left of a stopped server, or of one that was killed")


async def scenario(d):
    sb = await call(d.create())
    await python(sb, "/home/daytona/py project")
    await typescript(sb, "/home/daytona/ts-project")
    other = await call(sb.create_lsp_server("javascript", "/home/daytona/ts-project"))
    await call(other.start())
    await call(other.stop())


run(scenario)
