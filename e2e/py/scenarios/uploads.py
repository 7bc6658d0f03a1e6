"""Files for builds go into object storage by the SDK's own client, and no further than the organization's part."""

import inspect
import json
import os
import tempfile
import urllib.request

from common import ASYNC, call, run

if ASYNC:
    from daytona._async.object_storage import AsyncObjectStorage as ObjectStorage
else:
    from daytona._sync.object_storage import ObjectStorage


def push_access():
    request = urllib.request.Request(
        os.environ["DAYTONA_API_URL"] + "/object-storage/push-access",
        headers={"Authorization": "Bearer " + os.environ["DAYTONA_API_KEY"], "X-Daytona-Source": "python-sdk"},
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


async def main(d):
    access = push_access()
    assert access["storageUrl"].startswith("https://"), access["storageUrl"]
    more = {"region": access["region"]} if "region" in inspect.signature(ObjectStorage.__init__).parameters else {}
    storage = ObjectStorage(
        access["storageUrl"], access["accessKey"], access["secret"], access["sessionToken"], access["bucket"], **more
    )
    org = access["organizationId"]
    with tempfile.TemporaryDirectory() as folder:
        small, large, tree = (os.path.join(folder, name) for name in ("small.txt", "large.bin", "tree"))
        with open(small, "wb") as f:
            f.write(os.urandom(100))
        with open(large, "wb") as f:  # several parts
            f.write(os.urandom(12 << 20))
        os.makedirs(os.path.join(tree, "below"))
        with open(os.path.join(tree, "below", "ä b+c.txt"), "w") as f:
            f.write("x")
        for path in (small, large, tree):
            first = await call(storage.upload(path, org))
            assert len(first) == 32, first
            assert await call(storage.upload(path, org)) == first  # found again
        try:
            await call(storage.upload(small, "11111111-2222-3333-4444-555555555555"))
        except Exception as e:
            assert "403" in str(e) or "privileges" in str(e), e
        else:
            raise AssertionError("uploaded into another organization's part")


run(main)
