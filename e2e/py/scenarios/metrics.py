"""What a sandbox uses, as the newest SDK reads it."""

from datetime import datetime, timedelta, timezone

from common import OLD, call, eq, run

MIB = 1 << 20


async def scenario(d):
    if OLD:
        return  # that package has no such call
    s = await call(d.create())
    first = await call(s.get_metrics_latest())
    eq(first.cpu_count, 1)
    eq(first.mem_total, 1024 * MIB)
    assert 2700 * MIB < first.disk_total < 3100 * MIB, first
    assert 0 < first.mem_used < first.mem_total and first.mem_cache >= 0, first
    assert 0 <= first.cpu_used_pct <= 100, first
    assert abs(datetime.now(timezone.utc) - first.timestamp) < timedelta(minutes=1), first

    await call(s.process.exec("head -c 100M /dev/urandom > filling && sync"))
    then = await call(s.get_metrics_latest())
    assert then.disk_used >= first.disk_used + 95 * MIB, (first, then)


run(scenario)
