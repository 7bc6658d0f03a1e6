"""A desktop: a real program in a real window, moved, clicked, typed into and read off the screen."""

import asyncio
import base64
import os
import struct
import tempfile
import zlib

from common import OLD, call, eq, fails, run, sdk


def pixels(data):
    """Decodes a PNG of 8 bits a colour: (width, height, rows)."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n", data[:16]
    at, packed = 8, b""
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        chunk = data[at + 8 : at + 8 + size]
        if kind == b"IHDR":
            width, height, depth, colour = struct.unpack(">IIBB", chunk[:10])
        elif kind == b"IDAT":
            packed += chunk
        at += size + 12
    assert depth == 8 and colour in (2, 6), (depth, colour)
    n = 3 if colour == 2 else 4
    raw, stride, rows, last = zlib.decompress(packed), width * n, [], bytes(width * n)
    for y in range(height):
        kind, row = raw[y * (stride + 1)], bytearray(raw[y * (stride + 1) + 1 : (y + 1) * (stride + 1)])
        for i in range(stride) if kind else ():
            a, b, c = row[i - n] if i >= n else 0, last[i], last[i - n] if i >= n else 0
            if kind == 1:
                guess = a
            elif kind == 2:
                guess = b
            elif kind == 3:
                guess = (a + b) // 2
            else:
                p = a + b - c
                guess = min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))[2]
            row[i] = row[i] + guess & 255
        rows.append(bytes(row))
        last = row
    return width, height, rows


async def until(what, cond):
    for _ in range(150):
        got = await cond()
        if got:
            return got
        await asyncio.sleep(0.2)
    raise AssertionError(f"{what}: not within 30 s")


def member(one, name):
    """Windows are objects or plain dictionaries."""
    snake = "".join("_" + c.lower() if c.isupper() else c for c in name)
    if isinstance(one, dict):
        return one.get(name, one.get(snake))
    extra = getattr(one, "additional_properties", None) or {}
    return getattr(one, snake, extra.get(name))


async def missing(d):
    sb = await call(d.create())
    e = await fails("", lambda: sb.computer_use.start())
    assert "X server" in str(e), e


async def scenario(d):
    await missing(d)
    sb = await call(d.create(sdk.CreateSandboxFromSnapshotParams(snapshot="daytona-desktop"), timeout=120))
    c = sb.computer_use

    started = await call(c.start())
    assert started.message and set(started.status) >= {"xvfb", "xfce4", "atspi", "x11vnc", "novnc"}, started
    status = await call(c.get_status())
    if not OLD:
        eq(status.status, "active", "status")
    for name in ("xvfb", "xfce4", "atspi", "x11vnc", "novnc"):
        p = await call(c.get_process_status(name))
        eq(p.process_name, name, "process")
        assert p.running, name

    shot = await call(c.screenshot.take_full_screen())
    width, height, rows = pixels(base64.b64decode(shot.screenshot))
    eq((width, height), (1024, 768), "screen")
    colours = {row[i : i + 3] for row in rows for i in range(0, len(row), 3)}
    assert len(colours) > 5, colours
    info = await call(c.display.get_info())
    first = info.displays[0]
    eq((member(first, "width"), member(first, "height"), member(first, "isActive")), (1024, 768, True), "display")

    r = await call(sb.process.exec("xterm -T reader -geometry 60x10+200+150 -e sh -c 'IFS= read -r l; printf %s \"$l\" > /tmp/typed; sleep 60' > /dev/null 2>&1 &"))
    eq(r.exit_code, 0, r.result)

    async def window():
        found = await call(c.display.get_windows())
        return next((w for w in found.windows if member(w, "title") == "reader" and member(w, "isActive")), None)

    w = await until("window", window)
    x, y, wide, high = (member(w, k) for k in ("x", "y", "width", "height"))
    moved = await call(c.mouse.move(x + 30, y + 30))
    eq((moved.x, moved.y), (x + 30, y + 30), "moved")
    at = await call(c.mouse.get_position())
    eq((at.x, at.y), (x + 30, y + 30), "position")
    await call(c.mouse.click(x + 40, y + 40))

    region = sdk.ScreenshotRegion(x=x, y=y, width=wide, height=high)
    before = await call(c.screenshot.take_region(region))
    await call(c.keyboard.type("Hello, 'desktop' & $HOME"))

    async def changed():
        now = await call(c.screenshot.take_region(region))
        return now.screenshot != before.screenshot

    await until("visible change", changed)
    await call(c.keyboard.press("Return"))

    async def typed():
        r = await call(sb.process.exec("cat /tmp/typed"))
        return r.result if r.exit_code == 0 else ""

    eq((await until("typed text", typed)).strip(), "Hello, 'desktop' & $HOME", "typed")

    options = sdk.ScreenshotOptions(fmt="jpeg", quality=60, scale=0.5, show_cursor=True)
    small = await call(c.screenshot.take_compressed(options))
    data = base64.b64decode(small.screenshot)
    eq((data[:3], small.size_bytes), (b"\xff\xd8\xff", len(data)), "jpeg")
    part = await call(c.screenshot.take_compressed_region(region, sdk.ScreenshotOptions(fmt="png", scale=0.5)))
    eq(pixels(base64.b64decode(part.screenshot))[:2], (round(wide / 2), round(high / 2)), "half a region")

    scrolled = await call(c.mouse.scroll(x + 30, y + 30, "down", 2))
    assert getattr(scrolled, "success", scrolled) is True, scrolled  # the old client returns the whole answer
    dragged = await call(c.mouse.drag(x + 60, y - 8, x + 160, y + 52))
    eq((dragged.x, dragged.y), (x + 160, y + 52), "dragged")
    w = await until("window after the drag", window)
    assert member(w, "x") > x + 50, (x, w)
    await call(c.keyboard.hotkey("ctrl+shift+a"))
    await fails("" if OLD else "BadRequest", lambda: c.keyboard.press("no-such-key"), "unknown key")
    await fails("" if OLD else "BadRequest", lambda: c.mouse.move(5000, 5), "screen")

    r = await call(sb.process.exec("""python3 -c '
import socket, urllib.request
print(urllib.request.urlopen("http://127.0.0.1:6080/vnc.html").status, socket.create_connection(("127.0.0.1", 5901)).recv(4).decode())'"""))
    eq(r.result.strip(), "200 RFB", "noVNC and VNC")

    if not OLD:
        await recording(sb)
        await accessibility(sb)

    again = await call(c.restart_process("novnc"))
    eq(again.process_name, "novnc", "restarted")
    assert isinstance((await call(c.get_process_logs("x11vnc"))).logs, str)
    assert isinstance((await call(c.get_process_errors("x11vnc"))).errors, str)
    stopped = await call(c.stop())
    assert stopped.message and "xvfb" in stopped.status, stopped
    r = await call(sb.process.exec("ps -eo comm | grep -cE 'Xvfb|jwm|x11vnc|websockify|ffmpeg' || true"))
    eq(r.result.strip(), "0", "processes left")
    await fails("" if OLD else "BadRequest", lambda: c.screenshot.take_full_screen(), "start")


async def recording(sb):
    films = sb.computer_use.recording
    film = await call(films.start("e2e run"))
    eq(film.status, "recording", "status")
    await call(sb.computer_use.mouse.move(10, 10))
    await asyncio.sleep(1)
    done = await call(films.stop(film.id))
    eq((done.id, done.status), (film.id, "completed"), "stopped")
    assert done.size_bytes > 1000 and done.duration_seconds > 0.9, done
    eq([f.id for f in (await call(films.list())).recordings], [film.id], "list")
    eq((await call(films.get(film.id))).file_name, film.file_name, "get")
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "film.mp4")
        await call(films.download(film.id, path))
        with open(path, "rb") as f:
            eq(f.read()[4:8], b"ftyp", "film")
        eq(os.path.getsize(path), done.size_bytes, "size")
    r = await call(sb.process.exec(f"ffprobe -v error -count_frames -show_entries stream=codec_name,width,height,nb_read_frames -of csv=p=0 '{done.file_path}'"))
    codec, width, height, frames = r.result.strip().split(",")
    eq((codec, width, height), ("h264", "1024", "768"), "film")
    assert int(frames) >= 5, frames
    await call(films.delete(film.id))
    await fails("NotFound", lambda: films.get(film.id), "recording not found")


async def accessibility(sb):
    a11y = sb.computer_use.accessibility
    await call(sb.process.exec("mousepad > /dev/null 2>&1 &"))

    async def text():
        found = await call(a11y.find_nodes(scope="all", role="text", states=["editable"]))
        return found.matches[0] if found.matches else None

    node = await until("mousepad's text", text)
    assert node.bounds.width > 50 and node.id, node
    await call(a11y.focus_node(node.id))
    await call(a11y.set_node_value(node.id, "set by its node"))
    tree = await call(a11y.get_tree(scope="all"))
    assert tree.root.children, tree
    await fails("NotFound", lambda: a11y.focus_node(":9.9/no/such"), "not found")


run(scenario)
