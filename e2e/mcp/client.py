"""Works in a sandbox by the Model Context Protocol, with the official client.

Usage: client.py stdio PROGRAM | http URL
"""

import asyncio
import json
import os
import sys

import httpx2
from mcp import ClientSession, StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client


def transport(mode, where):
    if mode == "stdio":
        return stdio_client(StdioServerParameters(command=where, args=["mcp", "start"], env=dict(os.environ)))
    client = httpx2.AsyncClient(headers={"Authorization": "Bearer " + os.environ["DAYTONA_API_KEY"]}, timeout=120)
    return streamable_http_client(where, http_client=client)


async def main(mode, where):
    async with transport(mode, where) as streams, ClientSession(streams[0], streams[1]) as session:
        await session.initialize()
        tools = {tool.name: tool for tool in (await session.list_tools()).tools}
        assert "create_sandbox" in tools and "run_code" in tools, sorted(tools)

        made = await session.call_tool("create_sandbox", {"env": {"WHO": "py"}})
        text = made.content[0].text
        assert text.startswith("Created new sandbox "), text
        box = text.rsplit(" ", 1)[1]
        try:
            run = await session.call_tool("execute_command", {"id": box, "command": "echo $WHO"})
            assert json.loads(run.content[0].text) == {"stdout": "py", "stderr": "", "exitCode": 0}, run
            code = await session.call_tool("run_code", {"id": box, "code": "console.log(6*7)", "language": "javascript"})
            assert code.content[0].text == "42\n", code
            lost = await session.call_tool("file_download", {"id": box, "filePath": "/nowhere"})
            assert getattr(lost, "is_error", None) or getattr(lost, "isError", None), lost
        finally:
            gone = await session.call_tool("destroy_sandbox", {"id": box})
            assert gone.content[0].text == "Destroyed sandbox with ID " + box, gone
    print("ok")


asyncio.run(main(*sys.argv[1:3]))
