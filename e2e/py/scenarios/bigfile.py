"""64 MiB up and down, unharmed."""

import hashlib
import os
import tempfile

from common import OLD, call, eq, run

SIZE = 64 << 20


def digest(path):
    h = hashlib.sha256()
    with open(path, "rb") as f:
        while chunk := f.read(1 << 20):
            h.update(chunk)
    return h.hexdigest()


async def scenario(d):
    sb = await call(d.create())
    with tempfile.TemporaryDirectory() as local:
        src, dst = os.path.join(local, "src"), os.path.join(local, "dst")
        with open(src, "wb") as f:
            for _ in range(SIZE >> 20):
                f.write(os.urandom(1 << 20))
        want = digest(src)
        await call(sb.fs.upload_file(src, "big.bin"))
        r = await call(sb.process.exec("sha256sum big.bin", cwd="/home/daytona"))
        eq(r.result.split()[0], want, "sum inside")
        await call(sb.fs.download_file("big.bin", dst))
        eq(digest(dst), want, "sum of the download")
        if not OLD:
            with open(src, "rb") as f:
                await call(sb.fs.upload_file_stream(f, "big2.bin"))
            eq((await call(sb.fs.get_file_info("big2.bin"))).size, SIZE, "size of the streamed upload")


run(scenario)
