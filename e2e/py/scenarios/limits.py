"""Quotas, rate limits and a suspension, as a program meets them. The organization is this program's own."""

import json
import os
import urllib.request

from common import OLD, call, eq, fails, run

URL, ORGANIZATION = os.environ["DAYTONA_API_URL"], os.environ["E2E_ORGANIZATION"]


def http(method, path, body=None, key=os.environ["E2E_ADMIN_KEY"]):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(URL + path, data, {"Authorization": "Bearer " + key, "Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=30) as answer:
        text = answer.read()
        return json.loads(text) if text else None


def quota(**changes):
    return http("PATCH", f"/organizations/{ORGANIZATION}/quota", changes)


def usage():
    return http("GET", f"/organizations/{ORGANIZATION}/usage", key=os.environ["DAYTONA_API_KEY"])


async def quotas(d):
    quota(totalCpuQuota=1, totalDiskQuota=6)
    sb = await call(d.create())
    got = usage()
    for name, want in {"totalCpuQuota": 1, "currentCpuUsage": 1, "currentMemoryUsage": 1, "currentDiskUsage": 3}.items():
        eq(got[name], want, name)
    eq([(r["regionId"], r["sandboxClass"], r["currentCpuUsage"]) for r in got["regionUsage"]], [("us", "container", 1)])
    await fails("BadRequest", lambda: d.create(), "Total CPU limit exceeded. Maximum allowed: 1, in use: 1, requested: 1")

    # Stopped it gives back its processors, and keeps its disk.
    await call(sb.stop())
    got = usage()
    eq((got["currentCpuUsage"], got["currentMemoryUsage"], got["currentDiskUsage"]), (0, 0, 3))
    other = await call(d.create())
    await fails("BadRequest", lambda: sb.start(), "Total CPU limit exceeded")
    quota(totalCpuQuota=10)
    await fails("BadRequest", lambda: d.create(), "Total disk limit exceeded. Maximum allowed: 6 GiB, in use: 6 GiB")
    await call(sb.start())

    # Deleted it gives back everything.
    await call(d.delete(other))
    await call(d.delete(sb))
    got = usage()
    eq((got["currentCpuUsage"], got["currentMemoryUsage"], got["currentDiskUsage"]), (0, 0, 0))
    quota(totalDiskQuota=100, maxMemoryPerSandbox=0)
    await fails("BadRequest", lambda: d.create(), "memory request 1 GiB exceeds maximum allowed per sandbox (0 GiB)")
    quota(maxMemoryPerSandbox=8)


async def rates(d):
    quota(sandboxCreateRateLimit=1, sandboxCreateRateLimitTtlSeconds=3600)
    await call(d.create())
    e = await fails("RateLimit", lambda: d.create(), "Rate limit exceeded: 1 requests to create sandboxes in 1h0m0s are allowed for one organization")
    if not OLD:
        headers = {k.lower(): v for k, v in dict(e.headers).items()}
        assert 3500 < int(headers["retry-after"]) <= 3600, headers
        eq(headers["retry-after-sandbox-create"], headers["retry-after"])
        eq(headers["x-ratelimit-limit-sandbox-create"], "1")
        eq(headers["x-ratelimit-remaining-sandbox-create"], "0")
    quota(sandboxCreateRateLimit=0)


async def suspension(d):
    sb = await call(d.create())
    http("POST", f"/organizations/{ORGANIZATION}/suspend", {"reason": "unpaid", "suspensionCleanupGracePeriodHours": 24})
    try:
        await fails("Forbidden", lambda: d.create(), "Organization is suspended: unpaid")
        eq((await call(d.get(sb.id))).id, sb.id)
        eq((await call(sb.process.exec("echo still here"))).result.strip(), "still here")
        await call(sb.stop())
        await fails("Forbidden", lambda: sb.start(), "Organization is suspended")
    finally:
        http("POST", f"/organizations/{ORGANIZATION}/unsuspend")
    await call(sb.start())


async def scenario(d):
    await quotas(d)
    await rates(d)
    await suspension(d)


run(scenario)
