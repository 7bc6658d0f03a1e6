"""Every file operation, with ordinary and odd names."""

import os
import tempfile

from common import ASYNC, OLD, call, eq, fails, run, sdk

ODD = [
    "uni-é-ç-漢字-🙂.txt",
    "with space & 'single' #hash?query%20;semi.txt",
    "-leading-dash",
    ".hidden",
    "x" * 200,
]


async def folders(fs):
    await call(fs.create_folder("e2e/dir", "755"))
    await call(fs.create_folder("e2e/private", "700"))
    info = await call(fs.get_file_info("e2e/dir"))
    eq((info.name, info.is_dir, info.permissions), ("dir", True, "0755"), "folder")
    eq((await call(fs.get_file_info("e2e/private"))).permissions, "0700", "mode of a folder")
    await call(fs.create_folder("e2e/dir", "755"))  # twice is no error
    await fails("BadRequest", lambda: fs.create_folder("e2e/bad", "99z"))


async def uploads(fs, local):
    binary = bytes(range(256)) * 64
    await call(fs.upload_file(b"Hello, World!\n", "e2e/hello.txt"))
    await call(fs.upload_file(binary, "e2e/new/deep/er/binary.bin"))
    await call(fs.upload_file(b"", "e2e/empty"))
    path = os.path.join(local, "local.txt")
    with open(path, "wb") as f:
        f.write(b"from a local file\n")
    await call(fs.upload_file(path, "/tmp/e2e-local.txt"))
    many = [sdk.FileUpload(source=f"content {i}\n".encode(), destination=f"e2e/many/d{i % 3}/f{i}.txt") for i in range(30)]
    many.append(sdk.FileUpload(source=path, destination="e2e/many/local.txt"))
    await call(fs.upload_files(many))
    if not OLD:
        with open(path, "rb") as f:
            await call(fs.upload_file_stream(f, "e2e/streamed.txt"))
        eq(await call(fs.download_file("e2e/streamed.txt")), b"from a local file\n", "upload_file_stream")
    await call(fs.upload_file(b"old, and longer than the new one", "e2e/over.txt"))
    await call(fs.upload_file(b"new", "e2e/over.txt"))

    eq(await call(fs.download_file("e2e/hello.txt")), b"Hello, World!\n", "download")
    eq(await call(fs.download_file("/home/daytona/e2e/hello.txt")), b"Hello, World!\n", "absolute path")
    eq(await call(fs.download_file("e2e/new/deep/er/binary.bin")), binary, "binary")
    if OLD:  # the new client takes an empty file for a missing one
        eq(await call(fs.download_file("e2e/empty")), b"", "empty file")
    eq((await call(fs.get_file_info("e2e/empty"))).size, 0, "size of the empty file")
    eq(await call(fs.download_file("e2e/over.txt")), b"new", "overwritten")
    eq(await call(fs.download_file("e2e/many/d2/f29.txt")), b"content 29\n", "one of many")
    to = os.path.join(local, "downloaded.txt")
    await call(fs.download_file("/tmp/e2e-local.txt", to))
    with open(to, "rb") as f:
        eq(f.read(), b"from a local file\n", "download to a file")
    if not OLD:
        stream = await call(fs.download_file_stream("e2e/new/deep/er/binary.bin"))
        chunks = [c async for c in stream] if ASYNC else list(stream)
        eq(b"".join(chunks), binary, "download_file_stream")
        got = await call(
            fs.download_files(
                [
                    sdk.FileDownloadRequest(source="e2e/hello.txt"),
                    sdk.FileDownloadRequest(source="e2e/missing.txt"),
                    sdk.FileDownloadRequest(source="e2e/over.txt", destination=os.path.join(local, "sub", "o.txt")),
                ]
            )
        )
        eq(got[0].result, b"Hello, World!\n", "download_files")
        assert got[1].error and got[1].result is None, got[1]
        with open(os.path.join(local, "sub", "o.txt"), "rb") as f:
            eq(f.read(), b"new", "download_files to a file")


async def listing(fs):
    files = {f.name: f for f in await call(fs.list_files("e2e"))}
    for name, is_dir in (("dir", True), ("hello.txt", False), ("empty", False), ("many", True)):
        eq(files[name].is_dir, is_dir, name)
    hello = files["hello.txt"]
    eq((hello.size, hello.owner, hello.group, hello.permissions), (14, "1000", "1000", "0644"), "hello.txt")
    eq(hello.mode, "-rw-r--r--", "mode text")
    assert hello.mod_time
    if not OLD:
        assert hello.modified_at
        tree = await call(fs.list_files("e2e/many", depth=2))
        assert any(f.path and f.path.endswith("d1/f1.txt") for f in tree), [f.path for f in tree]
    eq(await call(fs.list_files("e2e/dir")), [], "empty folder")
    await fails("NotFound", lambda: fs.list_files("e2e/nowhere"))


async def odd_names(fs):
    for name in ODD:
        path = f"e2e/odd/{name}"
        await call(fs.upload_file(name.encode(), path))
        eq(await call(fs.download_file(path)), name.encode(), "content of " + name)
        eq((await call(fs.get_file_info(path))).name, name, "info of an odd name")
    eq(sorted(f.name for f in await call(fs.list_files("e2e/odd"))), sorted(ODD), "odd names listed")
    for name in ODD:
        await call(fs.delete_file(f"e2e/odd/{name}"))
    eq(await call(fs.list_files("e2e/odd")), [], "odd names deleted")


async def searching(fs):
    await call(fs.upload_file(b"one\nneedle here\nthree\n", "e2e/src/a.py"))
    await call(fs.upload_file(b"needle\0binary", "e2e/src/b.bin"))
    await call(fs.upload_file(b"x\ny\nanother needle\n", "e2e/src/sub/c.txt"))
    found = await call(fs.find_files(path="e2e/src", pattern="needle"))
    eq(sorted((os.path.basename(m.file), m.line, m.content.strip()) for m in found),
       [("a.py", 2, "needle here"), ("c.txt", 3, "another needle")], "find")
    eq(await call(fs.find_files("e2e/src", "absent text")), [], "find nothing")
    found = await call(fs.search_files("e2e/src", "*.txt"))
    eq([os.path.basename(f) for f in found.files], ["c.txt"], "search")
    eq((await call(fs.search_files("e2e/src", "*.nothing"))).files, [], "search nothing")

    results = await call(
        fs.replace_in_files(files=["e2e/src/a.py", "e2e/src/sub/c.txt", "e2e/src/absent"], pattern="needle", new_value="pin")
    )
    eq([bool(r.success) for r in results], [True, True, False], "replace")
    assert results[2].error, results[2]
    eq(await call(fs.download_file("e2e/src/a.py")), b"one\npin here\nthree\n", "replaced")


async def changing(fs):
    await call(fs.set_file_permissions("e2e/hello.txt", mode="600"))
    eq((await call(fs.get_file_info("e2e/hello.txt"))).permissions, "0600", "permissions")
    await call(fs.set_file_permissions("e2e/hello.txt", mode="644", owner="daytona", group="daytona"))
    eq((await call(fs.get_file_info("e2e/hello.txt"))).permissions, "0644", "permissions")
    await fails("NotFound", lambda: fs.set_file_permissions("e2e/absent", mode="600"))
    await fails("BadRequest", lambda: fs.set_file_permissions("e2e/hello.txt", mode="rwx"))

    await call(fs.move_files("e2e/hello.txt", "e2e/dir/moved.txt"))
    eq(await call(fs.download_file("e2e/dir/moved.txt")), b"Hello, World!\n", "moved")
    await fails("NotFound", lambda: fs.get_file_info("e2e/hello.txt"))
    await fails("Conflict", lambda: fs.move_files("e2e/dir/moved.txt", "e2e/over.txt"))
    await fails("NotFound", lambda: fs.move_files("e2e/absent", "e2e/present"))
    await call(fs.move_files("e2e/dir", "e2e/dir2"))
    eq((await call(fs.get_file_info("e2e/dir2/moved.txt"))).size, 14, "moved folder")


async def deleting(fs):
    await call(fs.delete_file("e2e/dir2/moved.txt"))
    await fails("NotFound", lambda: fs.get_file_info("e2e/dir2/moved.txt"))
    await fails("NotFound", lambda: fs.delete_file("e2e/dir2/moved.txt"))
    await fails("BadRequest", lambda: fs.delete_file("e2e/many"))
    if not OLD:
        await call(fs.delete_file("e2e/many", recursive=True))
        await fails("NotFound", lambda: fs.list_files("e2e/many"))


async def refusals(fs):
    await fails("NotFound", lambda: fs.download_file("e2e/absent"))
    await fails("BadRequest", lambda: fs.download_file("e2e"))
    await fails("", lambda: fs.upload_file(b"x", "/proc/nowhere/file"), "" if OLD else "/proc/nowhere")
    await fails("NotFound" if OLD else "Forbidden", lambda: fs.list_files("/root"))


async def scenario(d):
    sb = await call(d.create())
    with tempfile.TemporaryDirectory() as local:
        await folders(sb.fs)
        await uploads(sb.fs, local)
    await listing(sb.fs)
    await odd_names(sb.fs)
    await searching(sb.fs)
    await changing(sb.fs)
    await deleting(sb.fs)
    await refusals(sb.fs)


run(scenario)
