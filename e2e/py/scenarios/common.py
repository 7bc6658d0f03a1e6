"""What every Python scenario shares.

One scenario file serves four clients: the old and the new package, each
blocking and asynchronous. Calls go through `call`, which awaits what the
asynchronous client returns and passes on what the blocking one does.
"""

import asyncio
import inspect
import os
import sys
import traceback
import uuid
from importlib.metadata import version

import daytona as sdk

VERSION = version("daytona")
OLD = tuple(int(p) for p in VERSION.split(".")[:2]) < (0, 100)
ASYNC = os.environ.get("E2E_MODE", "sync") == "async"
RUN = os.environ.get("E2E_RUN", uuid.uuid4().hex[:8])


async def call(value):
    return await value if inspect.isawaitable(value) else value


async def collect(items):
    """A list of what list() gives: a list, an iterator or an asynchronous iterator."""
    items = await call(items)
    if hasattr(items, "__aiter__"):
        return [item async for item in items]
    return list(items)


def client(**config):
    cls = sdk.AsyncDaytona if ASYNC else sdk.Daytona
    return cls(sdk.DaytonaConfig(**config)) if config else cls()


async def close(d):
    if ASYNC:
        await d.close()


def error_class(kind):
    """The SDK's class for a kind of error. The old SDK has one class only."""
    return sdk.DaytonaError if OLD or not kind else getattr(sdk, f"Daytona{kind}Error")


async def fails(kind, make, text=""):
    """Runs make, which must raise the SDK's class of that kind, and returns the error."""
    want = error_class(kind)
    try:
        got = await call(make())
    except want as e:
        assert text.lower() in str(e).lower(), f"{text!r} is not in {str(e)!r}"
        return e
    raise AssertionError(f"expected {want.__name__}, got {got!r}")


def eq(got, want, what=""):
    assert got == want, f"{what}: got {got!r}, want {want!r}"


def run(scenario):
    """Runs scenario(client) and deletes every sandbox that it created."""

    async def main():
        d = client()
        made = []
        create = d.create

        async def remember(value):
            sandbox = await call(value)
            made.append(sandbox)
            return sandbox

        d.create = lambda *a, **kw: remember(create(*a, **kw))
        try:
            await scenario(d)
        finally:
            for sandbox in made:
                try:
                    await call(d.delete(sandbox))
                except Exception:  # the scenario's own failure is the one to show
                    traceback.print_exc()
            await close(d)

    print(f"daytona {VERSION} {'async' if ASYNC else 'sync'}", file=sys.stderr)
    asyncio.run(main())
