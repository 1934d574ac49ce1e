"""The disk is full: an error in AWS's form, nothing lost, and all goes on when there is space again."""

import contextlib
import os
import subprocess

import pytest
from botocore.exceptions import ClientError

from ..servers import Server, await_that

MIB = 1 << 20


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 24 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", folder], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"mounting a tmpfs is not allowed here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


def fill(file):
    with file.open("ab", buffering=0) as out, contextlib.suppress(OSError):
        while out.write(bytes(65536)):
            pass


def test_a_full_disk(build, small_disk):
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(8 * MIB))
    server = Server(build / "textmill", small_disk / "data")
    server.start()
    try:
        s3, sagemaker, logs = (server.client(name) for name in ("s3", "sagemaker", "logs"))
        s3.create_bucket(Bucket="bucket")
        logs.create_log_group(logGroupName="g")
        logs.create_log_stream(logGroupName="g", logStreamName="s")
        kept, refusals = {}, []
        for i in range(400):  # in files, then in rows, until neither fits
            key, body = f"k{i}", os.urandom(MIB if not refusals else 60_000)
            try:
                s3.put_object(Bucket="bucket", Key=key, Body=body)
                kept[key] = body
            except ClientError as error:
                refusals.append(error.response)
                if len(refusals) == 20:
                    break
        assert len(refusals) == 20 and len(kept) > 3
        for refusal in refusals:
            assert refusal["ResponseMetadata"]["HTTPStatusCode"] == 503 and refusal["Error"]["Code"] in ("ServiceUnavailable", "SlowDown"), refusal
        models = []
        for i in range(2000):
            try:
                sagemaker.create_model(ModelName=f"m{i}", PrimaryContainer={"Image": "i", "Environment": {"k": "x" * 1000}})
                models.append(f"m{i}")
            except ClientError as error:
                assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 503, error.response
                break
        assert len(models) < 2000
        full = (503, {"status": "failing", "error": "the disk is full: only deletions are taken until there is space"})
        await_that(lambda: fill(small_disk / "filler") or server.health() == full, "health tells")
        for key, body in kept.items():  # reading goes on
            assert s3.get_object(Bucket="bucket", Key=key)["Body"].read() == body
        ballast.unlink()
        (small_disk / "filler").unlink()
        assert server.health() == (200, {"status": "ok"})
        s3.put_object(Bucket="bucket", Key="after", Body=b"x" * MIB)
        sagemaker.create_model(ModelName="after", PrimaryContainer={"Image": "i"})
        logs.put_log_events(logGroupName="g", logStreamName="s", logEvents=[{"timestamp": 1_700_000_000_000, "message": "m"}])
        server.kill()
        server.start()
        s3, sagemaker = server.client("s3"), server.client("sagemaker")
        for key, body in (kept | {"after": b"x" * MIB}).items():
            assert s3.get_object(Bucket="bucket", Key=key)["Body"].read() == body
        assert {o["Key"] for o in s3.list_objects_v2(Bucket="bucket")["Contents"]} == kept.keys() | {"after"}
        for name in [*models[-3:], "after"]:
            sagemaker.describe_model(ModelName=name)
    finally:
        server.stop()


@pytest.mark.parametrize("size", [MIB, 60_000])  # in files; in rows
def test_a_full_disk_is_freed_by_deletions(build, small_disk, size):
    """With nothing but S3: every object can be deleted, what was deleted stays so, and there is space again."""
    server = Server(build / "textmill", small_disk / "data")
    server.start()
    try:
        s3 = server.client("s3")
        s3.create_bucket(Bucket="bucket")

        def put(key):
            try:
                s3.put_object(Bucket="bucket", Key=key, Body=os.urandom(size))
                return True
            except ClientError as error:
                assert (error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]) == ("ServiceUnavailable", 503)
                assert str(small_disk) not in str(error)
                return False

        keys = []
        while put(f"full/{len(keys)}"):
            keys.append(f"full/{len(keys)}")
        assert len(keys) * size > 4 * MIB
        for key in keys[:5]:
            s3.delete_object(Bucket="bucket", Key=key)
        s3.delete_objects(Bucket="bucket", Delete={"Objects": [{"Key": key} for key in keys[5:-1]]})
        assert [o["Key"] for o in s3.list_objects_v2(Bucket="bucket")["Contents"]] == keys[-1:]
        await_that(lambda: all(put(f"after/{i}") for i in range(2 * MIB // size)), "there is space again", 60)
        server.kill()
        server.start()
        s3 = server.client("s3")
        assert all(len(s3.get_object(Bucket="bucket", Key=o["Key"])["Body"].read()) == size for o in s3.list_objects_v2(Bucket="bucket")["Contents"])
    finally:
        server.stop()
