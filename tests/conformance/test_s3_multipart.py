"""Multipart uploads: by hand, and through boto3's transfer manager."""

import base64
import concurrent.futures
import hashlib
import io
import os
import pathlib
import random
import re
import threading
import zlib

import pytest
from boto3.s3.transfer import TransferConfig

MIB = 1 << 20


@pytest.fixture(scope="module")
def s3(server):
    return server.client("s3")


@pytest.fixture
def bucket(s3, name):
    bucket = name("parts")
    s3.create_bucket(Bucket=bucket)
    return bucket


@pytest.fixture(scope="module")
def parts():
    source = random.Random(1)
    return [source.randbytes(5 * MIB), source.randbytes(5 * MIB + 1), source.randbytes(17)]


def upload(s3, bucket, key, parts, **options):
    """The UploadId and the list of parts for CompleteMultipartUpload."""
    upload = s3.create_multipart_upload(Bucket=bucket, Key=key, **options)["UploadId"]
    done = [{"PartNumber": i, "ETag": s3.upload_part(Bucket=bucket, Key=key, UploadId=upload, PartNumber=i, Body=part)["ETag"]} for i, part in enumerate(parts, 1)]
    return upload, done


def complete(s3, bucket, key, upload, done, **options):
    return s3.complete_multipart_upload(Bucket=bucket, Key=key, UploadId=upload, MultipartUpload={"Parts": done}, **options)


def test_three_parts(s3, bucket, parts, refused):
    id, done = upload(s3, bucket, "k", parts, ContentType="a/b", Metadata={"m": "1"}, Tagging="t=1")
    assert refused(s3.get_object, Bucket=bucket, Key="k")[:2] == ("NoSuchKey", 404)
    listed = s3.list_parts(Bucket=bucket, Key="k", UploadId=id)
    assert [(p["PartNumber"], p["Size"], p["ETag"]) for p in listed["Parts"]] == [(d["PartNumber"], len(b), d["ETag"]) for d, b in zip(done, parts)]
    assert [u["UploadId"] for u in s3.list_multipart_uploads(Bucket=bucket)["Uploads"]] == [id]
    answer = complete(s3, bucket, "k", id, done)
    etag = hashlib.md5(b"".join(hashlib.md5(p).digest() for p in parts)).hexdigest() + "-3"
    assert answer["ETag"] == f'"{etag}"' and answer["Location"].endswith(f"/{bucket}/k")
    assert complete(s3, bucket, "k", id, done)["ETag"] == answer["ETag"], "a client that lost the answer asks again"
    got = s3.get_object(Bucket=bucket, Key="k")
    assert got["Body"].read() == b"".join(parts)
    assert (got["ContentType"], got["Metadata"], got["TagCount"]) == ("a/b", {"m": "1"}, 1)
    for number, part in enumerate(parts, 1):
        got = s3.get_object(Bucket=bucket, Key="k", PartNumber=number)
        assert got["Body"].read() == part and got["PartsCount"] == 3
    assert s3.head_object(Bucket=bucket, Key="k", PartNumber=3)["ContentLength"] == 17
    assert refused(s3.get_object, Bucket=bucket, Key="k", PartNumber=4)[:2] == ("InvalidRange", 416)
    assert s3.get_object_attributes(Bucket=bucket, Key="k", ObjectAttributes=["ObjectParts"])["ObjectParts"]["TotalPartsCount"] == 3
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)


def test_one_part(s3, bucket):
    id, done = upload(s3, bucket, "k", [b"small"])
    assert complete(s3, bucket, "k", id, done)["ETag"].endswith('-1"')
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"small"


def test_parts_replaced_skipped_and_wrong(s3, bucket, parts, refused):
    id, done = upload(s3, bucket, "k", parts)
    again = s3.upload_part(Bucket=bucket, Key="k", UploadId=id, PartNumber=2, Body=b"last")["ETag"]

    def refuse(list):
        return refused(s3.complete_multipart_upload, Bucket=bucket, Key="k", UploadId=id, MultipartUpload={"Parts": list})[:2]

    assert refuse(done) == ("InvalidPart", 400), "the second part is another now"
    assert refuse([done[2], done[0]]) == ("InvalidPartOrder", 400)
    assert refuse([done[0], done[0]]) == ("InvalidPartOrder", 400)
    assert refuse([{"PartNumber": 9, "ETag": done[0]["ETag"]}]) == ("InvalidPart", 400)
    assert refuse([done[2], {"PartNumber": 4, "ETag": done[0]["ETag"]}]) == ("InvalidPart", 400)
    assert refuse([]) == ("MalformedXML", 400)
    small = s3.upload_part(Bucket=bucket, Key="k", UploadId=id, PartNumber=1, Body=b"small")["ETag"]
    assert refuse([{"PartNumber": 1, "ETag": small}, {"PartNumber": 2, "ETag": again}]) == ("EntityTooSmall", 400)
    complete(s3, bucket, "k", id, [{"PartNumber": 2, "ETag": again}])
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"last"
    assert refused(s3.upload_part, Bucket=bucket, Key="k", UploadId=id, PartNumber=1, Body=b"")[:2] == ("NoSuchUpload", 404)
    for number in (0, 10_001):
        assert refused(s3.upload_part, Bucket=bucket, Key="k", UploadId=id, PartNumber=number, Body=b"")[:2] == ("InvalidArgument", 400)


def test_abort(s3, bucket, refused):
    id, _ = upload(s3, bucket, "k", [b"x"])
    s3.abort_multipart_upload(Bucket=bucket, Key="k", UploadId=id)
    for call in (s3.abort_multipart_upload, s3.list_parts):
        assert refused(call, Bucket=bucket, Key="k", UploadId=id)[:2] == ("NoSuchUpload", 404)
    s3.delete_bucket(Bucket=bucket)


SUMS = {"CRC32": lambda b: zlib.crc32(b).to_bytes(4, "big"), "SHA1": lambda b: hashlib.sha1(b).digest(), "SHA256": lambda b: hashlib.sha256(b).digest()}


@pytest.mark.parametrize("algorithm", SUMS)
def test_sums_of_sums(s3, bucket, parts, refused, algorithm):
    member, sum = f"Checksum{algorithm}", SUMS[algorithm]
    id = s3.create_multipart_upload(Bucket=bucket, Key="k", ChecksumAlgorithm=algorithm)["UploadId"]
    done = []
    for i, part in enumerate(parts, 1):
        answer = s3.upload_part(Bucket=bucket, Key="k", UploadId=id, PartNumber=i, Body=part, ChecksumAlgorithm=algorithm)
        assert answer[member] == base64.b64encode(sum(part)).decode()
        done.append({"PartNumber": i, "ETag": answer["ETag"], member: answer[member]})
    wrong = [done[0] | {member: done[1][member]}, *done[1:]]
    assert refused(s3.complete_multipart_upload, Bucket=bucket, Key="k", UploadId=id, MultipartUpload={"Parts": wrong})[:2] == ("InvalidPart", 400)
    expected = base64.b64encode(sum(b"".join(sum(p) for p in parts))).decode() + "-3"
    answer = complete(s3, bucket, "k", id, done)
    assert (answer[member], answer["ChecksumType"]) == (expected, "COMPOSITE")
    got = s3.get_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert got[member] == expected and got["Body"].read() == b"".join(parts)


def test_sum_of_the_whole(s3, bucket, parts, refused):
    id = s3.create_multipart_upload(Bucket=bucket, Key="k", ChecksumAlgorithm="CRC32", ChecksumType="FULL_OBJECT")["UploadId"]
    done = []
    for i, part in enumerate(parts, 1):
        answer = s3.upload_part(Bucket=bucket, Key="k", UploadId=id, PartNumber=i, Body=part, ChecksumAlgorithm="CRC32")
        done.append({"PartNumber": i, "ETag": answer["ETag"], "ChecksumCRC32": answer["ChecksumCRC32"]})
    expected = base64.b64encode(zlib.crc32(b"".join(parts)).to_bytes(4, "big")).decode()
    wrong = {"Bucket": bucket, "Key": "k", "UploadId": id, "MultipartUpload": {"Parts": done}}
    assert refused(s3.complete_multipart_upload, **wrong, ChecksumCRC32="AAAAAA==")[:2] == ("BadDigest", 400)
    assert refused(s3.complete_multipart_upload, **wrong, MpuObjectSize=1)[:2] == ("InvalidRequest", 400)
    answer = complete(s3, bucket, "k", id, done, ChecksumCRC32=expected, MpuObjectSize=sum(map(len, parts)))
    assert (answer["ChecksumCRC32"], answer["ChecksumType"]) == (expected, "FULL_OBJECT")


def test_copied_parts(s3, bucket, parts, refused):
    s3.put_object(Bucket=bucket, Key="from", Body=parts[0] + parts[1])
    id = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    source = {"Bucket": bucket, "Key": "from"}
    first = s3.upload_part_copy(Bucket=bucket, Key="k", UploadId=id, PartNumber=1, CopySource=source)["CopyPartResult"]["ETag"]
    second = s3.upload_part_copy(Bucket=bucket, Key="k", UploadId=id, PartNumber=2, CopySource=source, CopySourceRange="bytes=10-19")["CopyPartResult"]["ETag"]
    size = len(parts[0] + parts[1])
    for wrong in ("bytes=-5", "bytes=5-", f"bytes=0-{size}", "bytes=2-1", "0-1"):
        got = refused(s3.upload_part_copy, Bucket=bucket, Key="k", UploadId=id, PartNumber=3, CopySource=source, CopySourceRange=wrong)
        assert got[:2] == ("InvalidArgument", 400), wrong
    complete(s3, bucket, "k", id, [{"PartNumber": 1, "ETag": first}, {"PartNumber": 2, "ETag": second}])
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == parts[0] + parts[1] + parts[0][10:20]


def test_pages(s3, bucket):
    ids = {key: s3.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"] for key in ("a/1", "a/2", "b", "c/1", "c/2", "d")}
    pages = list(s3.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, PaginationConfig={"PageSize": 2}))
    assert [(u["Key"], u["UploadId"]) for p in pages for u in p["Uploads"]] == sorted(ids.items())
    for size in (1, 2, 10):
        pages = list(s3.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, Delimiter="/", PaginationConfig={"PageSize": size}))
        assert [u["Key"] for p in pages for u in p.get("Uploads", ())] == ["b", "d"]
        assert [c["Prefix"] for p in pages for c in p.get("CommonPrefixes", ())] == ["a/", "c/"]
    for number in range(1, 8):
        s3.upload_part(Bucket=bucket, Key="b", UploadId=ids["b"], PartNumber=number, Body=b"x")
    pages = list(s3.get_paginator("list_parts").paginate(Bucket=bucket, Key="b", UploadId=ids["b"], PaginationConfig={"PageSize": 3}))
    assert [p["PartNumber"] for page in pages for p in page["Parts"]] == list(range(1, 8)) and len(pages) == 3


def resident(server) -> int:
    """Bytes of anonymous memory of the server: what it holds itself, without the page cache."""
    from pathlib import Path

    for line in Path(f"/proc/{server.process.pid}/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) << 10


def test_the_transfer_manager_in_constant_memory(server, s3, bucket, tmp_path):
    size = (1024 if os.environ.get("TEXTMILL_SOAK") else 256) * MIB
    source, target = tmp_path / "source", tmp_path / "target"
    block = random.Random(2).randbytes(MIB)
    with open(source, "wb") as file:
        for i in range(size // MIB):
            file.write(i.to_bytes(8, "big") + block[8:])
    before, most, over = resident(server), 0, threading.Event()

    def watch():
        nonlocal most
        while not over.wait(0.02):
            most = max(most, resident(server))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        config = TransferConfig(multipart_chunksize=8 * MIB, max_concurrency=4)
        s3.upload_file(str(source), bucket, "large", Config=config, ExtraArgs={"Metadata": {"m": "1"}})
        s3.download_file(bucket, "large", str(target), Config=config)
    finally:
        over.set()
        watcher.join()
    assert 0 < most - before < 100 * MIB
    with open(source, "rb") as a, open(target, "rb") as b:
        assert hashlib.file_digest(a, "sha256").digest() == hashlib.file_digest(b, "sha256").digest()
    s3.copy({"Bucket": bucket, "Key": "large"}, bucket, "copied", Config=config)
    assert s3.head_object(Bucket=bucket, Key="copied")["ContentLength"] == size
    stream = io.BytesIO()
    s3.download_fileobj(bucket, "copied", stream, Config=config)
    assert stream.getbuffer().nbytes == size


def test_a_copy_is_one_part(s3, bucket, parts):
    """With the ETag and checksum of all its bytes."""
    id, done = upload(s3, bucket, "k", parts)
    complete(s3, bucket, "k", id, done)
    s3.put_object_tagging(Bucket=bucket, Key="k", Tagging={"TagSet": []})
    body = b"".join(parts)
    for target, options in (("copy", {}), ("summed", {"ChecksumAlgorithm": "SHA256"}), ("k", {"MetadataDirective": "REPLACE"})):
        copied = s3.copy_object(Bucket=bucket, Key=target, CopySource=f"{bucket}/k", **options)["CopyObjectResult"]
        head = s3.head_object(Bucket=bucket, Key=target, ChecksumMode="ENABLED")
        assert copied["ETag"] == head["ETag"] == f'"{hashlib.md5(body).hexdigest()}"', target
        sums = {k: v for k, v in head.items() if k.startswith("Checksum") and k != "ChecksumType"}
        assert sums in ({}, {"ChecksumCRC32": base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()},
                        {"ChecksumSHA256": base64.b64encode(hashlib.sha256(body).digest()).decode()}) and head.get("ChecksumType") in (None, "FULL_OBJECT"), head


def test_pages_of_nothing(s3, bucket):
    """Who asks for none is told that there is no more, or would ask for ever."""
    id = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    s3.upload_part(Bucket=bucket, Key="k", UploadId=id, PartNumber=1, Body=b"x")
    assert not s3.list_multipart_uploads(Bucket=bucket, MaxUploads=0)["IsTruncated"]
    assert not s3.list_parts(Bucket=bucket, Key="k", UploadId=id, MaxParts=0)["IsTruncated"]


def test_an_upload_is_completed_by_several_at_once(server, s3, bucket):
    """A client that gave up waiting asks again while the first request still joins: all get the same answer."""
    blocks = [random.Random(i).randbytes(16 * MIB) for i in range(4)]
    upload = s3.create_multipart_upload(Bucket=bucket, Key="twice", ChecksumAlgorithm="CRC32")["UploadId"]
    parts = []
    for number, block in enumerate(blocks, 1):
        part = s3.upload_part(Bucket=bucket, Key="twice", UploadId=upload, PartNumber=number, Body=block, ChecksumAlgorithm="CRC32")
        parts.append({"PartNumber": number, "ETag": part["ETag"], "ChecksumCRC32": part["ChecksumCRC32"]})
    written = lambda: int(re.search(r"wchar: (\d+)", pathlib.Path(f"/proc/{server.process.pid}/io").read_text())[1])
    before = written()
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        complete = [pool.submit(s3.complete_multipart_upload, Bucket=bucket, Key="twice", UploadId=upload, MultipartUpload={"Parts": parts}) for _ in range(4)]
        answers = [{k: v for k, v in c.result().items() if k != "ResponseMetadata"} for c in complete]
    assert written() - before < 2 * sum(map(len, blocks)), "one joins, the others wait for what it makes"
    assert all(answer == answers[0] for answer in answers) and answers[0]["ETag"].endswith('-4"')
    assert s3.get_object(Bucket=bucket, Key="twice")["Body"].read() == b"".join(blocks)
    assert not s3.list_multipart_uploads(Bucket=bucket).get("Uploads")
