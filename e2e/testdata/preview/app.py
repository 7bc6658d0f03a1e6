"""A program with a bit of everything that passes through a preview: pages, uploads, downloads, events, sockets.

Usage: app.py PORT [ADDRESS]. It says READY when it listens.
"""

import asyncio
import base64
import hashlib
import json
import struct
import sys

PORT = int(sys.argv[1])
ADDRESS = sys.argv[2] if len(sys.argv) > 2 else "0.0.0.0"


class Request:
    def __init__(self, method, target, headers):
        self.method, self.target, self.headers = method, target, headers
        self.path = target.partition("?")[0]


async def read_head(reader):
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, target, _ = lines[0].split(" ")
    headers = [tuple(s.strip() for s in line.split(":", 1)) for line in lines[1:] if line]
    return Request(method, target, {k.lower(): v for k, v in headers})


async def body_of(request, reader):
    """Yields the pieces of the body."""
    if request.headers.get("transfer-encoding") == "chunked":
        while size := int((await reader.readline()).split(b";")[0], 16):
            yield await reader.readexactly(size)
            await reader.readline()
        await reader.readline()
        return
    left = int(request.headers.get("content-length", 0))
    while left:
        piece = await reader.read(min(left, 1 << 16))
        if not piece:
            raise ConnectionError("the body broke off")
        left -= len(piece)
        yield piece


def head(status, kind, length=None, more=""):
    how = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    return f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\n{how}\r\n{more}\r\n".encode()


async def send(writer, data):
    writer.write(data)
    await writer.drain()


async def chunk(writer, data):
    await send(writer, b"%x\r\n%s\r\n" % (len(data), data))


async def socket(request, reader, writer):
    """Echoes the messages of a WebSocket."""
    key = request.headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
    await send(writer, f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n".encode())
    while True:
        first, second = await reader.readexactly(2)
        size = second & 0x7F
        if size == 126:
            (size,) = struct.unpack(">H", await reader.readexactly(2))
        elif size == 127:
            (size,) = struct.unpack(">Q", await reader.readexactly(8))
        mask = await reader.readexactly(4)
        data = bytearray(await reader.readexactly(size))
        plain = int.from_bytes(data, "big") ^ int.from_bytes((mask * (size // 4 + 1))[:size], "big")
        data = plain.to_bytes(size, "big")
        if first & 0x0F == 9:
            first = first & 0xF0 | 10  # pong
        length = bytes([size]) if size < 126 else b"\x7e" + struct.pack(">H", size) if size < 1 << 16 else b"\x7f" + struct.pack(">Q", size)
        await send(writer, bytes([first]) + length + data)
        if first & 0x0F == 8:
            return


async def answer(request, reader, writer):
    if request.headers.get("upgrade", "").lower() == "websocket":
        await socket(request, reader, writer)
        return False
    if request.path == "/upload":
        size, total = 0, hashlib.sha256()
        async for piece in body_of(request, reader):
            size += len(piece)
            total.update(piece)
        text = json.dumps({"bytes": size, "sha256": total.hexdigest()}).encode()
        await send(writer, head("200 OK", "application/json", len(text)) + text)
        return True
    async for _ in body_of(request, reader):
        pass
    if request.path == "/seen":
        text = json.dumps({"method": request.method, "target": request.target, "headers": request.headers}).encode()
        await send(writer, head("200 OK", "application/json", len(text)) + text)
    elif request.path.startswith("/bytes/"):
        left = int(request.path.split("/")[2])
        block = bytes(range(256)) * 256
        await send(writer, head("200 OK", "application/octet-stream", left))
        while left:
            await send(writer, block[:left])
            left -= min(left, len(block))
    elif request.path == "/events":
        await send(writer, head("200 OK", "text/event-stream"))
        n = 0
        while True:
            await chunk(writer, f"data: {n}\n\n".encode())
            n += 1
            await asyncio.sleep(0.05)
    elif request.path == "/cookie":
        await send(writer, head("200 OK", "text/plain", 2, "Set-Cookie: own=1; Domain=localhost; Path=/\r\n") + b"ok")
    else:
        text = f"<!doctype html><title>app</title><p id=hello>hello from port {PORT}</p>".encode()
        await send(writer, head("200 OK", "text/html; charset=utf-8", len(text)) + text)
    return True


async def serve(reader, writer):
    try:
        while await answer(await read_head(reader), reader, writer):
            pass
    except (ConnectionError, asyncio.IncompleteReadError, TimeoutError):
        pass
    finally:
        writer.close()


async def main():
    server = await asyncio.start_server(serve, ADDRESS, PORT, backlog=4096)
    print("READY", flush=True)
    async with server:
        await server.serve_forever()


asyncio.run(main())
