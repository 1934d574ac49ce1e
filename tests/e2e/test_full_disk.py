"""The disk is full: an error in AWS's form, nothing lost, and all goes on when there is space again."""

import contextlib
import os
import subprocess
import time

import pytest
from botocore.exceptions import ClientError

from ..servers import Server, await_that, small_disk

MIB = 1 << 20


@pytest.fixture(name="small_disk")
def disk(tmp_path, request):
    """A file system of 24 MiB, or as many as the test says."""
    with small_disk(tmp_path / "disk", getattr(request, "param", 24)) as folder:
        yield folder


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


def put_until_refused(s3, server, kept, name):
    """Adds to `kept` what was put. What is refused is refused clearly, also while the server looks for space."""
    for burst in range(3):
        refused = 0
        while refused < 20:
            key, body = f"{name}/{burst}/{len(kept)}", os.urandom(40_000)
            try:
                s3.put_object(Bucket="bucket", Key=key, Body=body)
                kept[key] = body
            except ClientError as error:
                assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 503, error.response
                refused += 1
        time.sleep(3)  # a round of the upkeep, and one more try of the checkpoint
        assert server.process.poll() is None


def put(s3, key):
    try:
        return s3.put_object(Bucket="bucket", Key=key, Body=b"x")
    except ClientError as error:
        assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 503, error.response


def reads_and_deletes(s3, kept):
    for key, body in kept.items():
        assert s3.get_object(Bucket="bucket", Key=key)["Body"].read() == body
    for key in list(kept)[:20]:
        s3.delete_object(Bucket="bucket", Key=key)
        del kept[key]
    assert sum(page["KeyCount"] for page in s3.get_paginator("list_objects_v2").paginate(Bucket="bucket")) == len(kept)


@pytest.mark.parametrize("small_disk", [48, 80], indirect=True)
def test_rows_fill_the_disk(build, small_disk):
    """Bodies that go to rows: the log gets long, and the tables cannot grow by it. The server goes on, and starts again."""
    server = Server(build / "textmill", small_disk / "data")
    server.start()
    try:
        s3 = server.client("s3")
        s3.create_bucket(Bucket="bucket")
        kept = {}
        put_until_refused(s3, server, kept, "rows")
        assert len(kept) > 246  # where it ended before
        reads_and_deletes(s3, kept)
        put_until_refused(s3, server, kept, "again")
        await_that((small_disk / "data/textmill.db-reserve").exists, "the reserve is held, which others cannot take")
        server.kill()
        fill(small_disk / "filler")
        server.start()
        s3 = server.client("s3")
        reads_and_deletes(s3, kept)
        (small_disk / "filler").unlink()
        for key in kept:
            s3.delete_object(Bucket="bucket", Key=key)
        await_that(lambda: server.health() == (200, {"status": "ok"}) and put(s3, "after"), "there is space again", 60)
    finally:
        server.stop()


@pytest.mark.parametrize("killed", [True, False])
def test_it_starts_on_a_disk_that_others_filled(build, small_disk, killed):
    server = Server(build / "textmill", small_disk / "data")
    server.start()
    try:
        s3 = server.client("s3")
        s3.create_bucket(Bucket="bucket")
        kept = {f"k{i}": os.urandom(20_000) for i in range(100)}
        for key, body in kept.items():
            s3.put_object(Bucket="bucket", Key=key, Body=body)
        server.kill() if killed else server.stop()
        fill(small_disk / "filler")
        server.start()
        reads_and_deletes(server.client("s3"), kept)
    finally:
        server.stop()


def test_the_full_disk_is_named(build, small_disk):
    """Without a reserve there is nothing to start with: the error says why, and where."""
    server = Server(build / "textmill", small_disk / "data")
    server.start()
    server.stop()
    (small_disk / "data" / "textmill.db-reserve").unlink(missing_ok=True)
    fill(small_disk / "filler")
    refused = subprocess.run([build / "textmill", "up", "--data-dir", small_disk / "data", "--listen", "127.0.0.1:0"], capture_output=True, text=True, timeout=30)
    assert refused.returncode == 1
    assert f"{small_disk / 'data'}: the disk is full" in refused.stderr and "I/O error" not in refused.stderr
    (small_disk / "filler").unlink()
    server.start()
    server.stop()
