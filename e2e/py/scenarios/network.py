"""What a sandbox may reach: at create, and changed while it runs."""

from common import OLD, call, fails, run, sdk

PROBE = """python3 - <<'END'
import socket
def tried(what):
    try:
        what()
        return "open"
    except OSError as e:
        return type(e).__name__ + " " + str(e.errno)
s = socket.socket(); s.settimeout(5)
print(tried(lambda: s.connect(("203.0.113.77", 9))))
print(tried(lambda: socket.getaddrinfo("closed.example.com", 443)))
END"""


async def refused(sb):
    """Nothing outside is reached, no name resolves, and the toolbox goes on working."""
    r = await call(sb.process.exec(PROBE))
    assert r.exit_code == 0, r.result
    connect, name = r.result.split("\n")[:2]
    # A refusal is an answer, not silence.
    assert connect.split()[-1] in ("111", "13", "101", "113"), r.result
    assert name.startswith("gaierror"), r.result


async def scenario(d):
    params = sdk.CreateSandboxFromSnapshotParams
    blocked = await call(d.create(params(network_block_all=True)))
    assert blocked.network_block_all is True, blocked.network_block_all
    await refused(blocked)

    listed = await call(d.create(params(network_allow_list="198.51.100.1/24, 192.0.2.7/32")))
    assert listed.network_block_all is False and listed.network_allow_list == "198.51.100.1/24,192.0.2.7/32", listed.network_allow_list
    await refused(listed)
    await fails("BadRequest", lambda: d.create(params(network_allow_list=",".join(["192.0.2.0/24"] * 11))), "networkAllowList")
    await fails("BadRequest", lambda: d.create(params(network_allow_list="::/0")), "networkAllowList")
    if OLD:
        return

    await call(listed.update_network_settings(domain_allow_list="*.example.org, Example.NET"))
    assert listed.domain_allow_list == "*.example.org,example.net", listed.domain_allow_list
    assert listed.network_allow_list == "198.51.100.1/24,192.0.2.7/32", listed.network_allow_list
    await refused(listed)
    await call(listed.update_network_settings(network_block_all=True))
    assert listed.network_block_all is True and not listed.network_allow_list, listed
    await refused(listed)
    again = await call(d.get(listed.id))
    assert again.network_block_all is True and again.domain_allow_list == "*.example.org,example.net", again
    await call(listed.update_network_settings(domain_allow_list=""))
    await call(listed.update_network_settings(network_block_all=False))
    assert listed.network_block_all is False and not listed.domain_allow_list, listed
    await fails("BadRequest", lambda: listed.update_network_settings(domain_allow_list="https://example.com"), "domainAllowList")

    # Of a stopped sandbox it holds from the start on.
    await call(listed.stop())
    await call(listed.update_network_settings(network_block_all=True))
    await call(listed.start())
    await refused(listed)

    named = await call(d.create(params(domain_allow_list="example.net")))
    assert named.domain_allow_list == "example.net", named.domain_allow_list
    await refused(named)


run(scenario)
