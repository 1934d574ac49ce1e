"""Objects: put, get, ranges, conditions, checksums, metadata, tags, copies, deletes, odd keys."""

import base64
import concurrent.futures
import datetime
import hashlib
import http.client
import socket
import time
import urllib.error
import urllib.parse
import urllib.request
import zlib

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import pytest
from botocore.config import Config


@pytest.fixture(scope="module")
def s3(server):
    return server.client("s3")


@pytest.fixture
def bucket(s3, name):
    bucket = name("objects")
    s3.create_bucket(Bucket=bucket)
    return bucket


@pytest.mark.parametrize("size", [0, 1, 4096, 64 << 10, (64 << 10) + 1, (1 << 20) + 1, 9 << 20])
def test_bytes_come_back(s3, bucket, size):
    body = bytes(i * 7 % 251 for i in range(997)) * (size // 997 + 1)
    body = body[:size]
    put = s3.put_object(Bucket=bucket, Key="k", Body=body, ContentType="text/x", Metadata={"a": "1", "b-c": "x y"})
    assert put["ETag"] == '"%s"' % hashlib.md5(body).hexdigest()
    assert put["ChecksumCRC32"] == base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()
    got = s3.get_object(Bucket=bucket, Key="k")
    assert got["Body"].read() == body
    head = s3.head_object(Bucket=bucket, Key="k")
    for answer in (got, head):
        assert (answer["ContentLength"], answer["ContentType"], answer["ETag"]) == (size, "text/x", put["ETag"])
        assert answer["Metadata"] == {"a": "1", "b-c": "x y"}
        assert answer["AcceptRanges"] == "bytes"
    assert got["ChecksumCRC32"] == put["ChecksumCRC32"]


@pytest.mark.parametrize("size", [100, 200_000])
def test_ranges(s3, bucket, refused, size):
    body = bytes(range(100)) * (size // 100)
    s3.put_object(Bucket=bucket, Key="k", Body=body)
    for text, expected in {"bytes=0-9": body[:10], "bytes=50-": body[50:], "bytes=-7": body[-7:], "bytes=90-1000000": body[90:],
                           "bytes=-1000000": body, f"bytes={size - 1}-": body[-1:]}.items():
        got = s3.get_object(Bucket=bucket, Key="k", Range=text)
        assert got["Body"].read() == expected, text
        assert got["ResponseMetadata"]["HTTPStatusCode"] == 206
        first = 0 if text == "bytes=0-9" else size - len(expected)
        assert got["ContentRange"] == f"bytes {first}-{first + len(expected) - 1}/{size}"
        assert s3.head_object(Bucket=bucket, Key="k", Range=text)["ContentLength"] == len(expected)
    assert s3.get_object(Bucket=bucket, Key="k", Range="bytes=5-2")["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert s3.get_object(Bucket=bucket, Key="k", Range="lines=1-2")["Body"].read() == body
    assert refused(s3.get_object, Bucket=bucket, Key="k", Range=f"bytes={size}-")[:2] == ("InvalidRange", 416)
    assert refused(s3.get_object, Bucket=bucket, Key="k", Range="bytes=-0")[:2] == ("InvalidRange", 416)


def test_conditions_of_readers(s3, bucket, refused):
    etag = s3.put_object(Bucket=bucket, Key="k", Body=b"x")["ETag"]
    modified = s3.head_object(Bucket=bucket, Key="k")["LastModified"]
    earlier, later = modified - datetime.timedelta(days=1), modified + datetime.timedelta(days=1)
    for good in ({"IfMatch": etag}, {"IfMatch": "*"}, {"IfNoneMatch": '"other"'}, {"IfModifiedSince": earlier}, {"IfUnmodifiedSince": later},
                 {"IfMatch": etag, "IfUnmodifiedSince": earlier}, {"IfNoneMatch": '"other"', "IfModifiedSince": later}):
        assert s3.get_object(Bucket=bucket, Key="k", **good)["Body"].read() == b"x", good
    for unchanged in ({"IfNoneMatch": etag}, {"IfNoneMatch": f'"a", {etag}'}, {"IfModifiedSince": modified}):
        assert refused(s3.get_object, Bucket=bucket, Key="k", **unchanged)[:2] == ("304", 304)
        assert refused(s3.head_object, Bucket=bucket, Key="k", **unchanged)[:2] == ("304", 304)
    for junk in ("junk", "Sun Nov  6 08:49:37 1994", "Sunday, 06-Nov-94 08:49:37 GMT"):  # no date of today's form: as if it were not there
        url = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "k"})
        for condition in ("If-Modified-Since", "If-Unmodified-Since"):
            with urllib.request.urlopen(urllib.request.Request(url, headers={condition: junk})) as answer:
                assert answer.read() == b"x"
    for broken in ({"IfMatch": '"other"'}, {"IfUnmodifiedSince": earlier}):
        assert refused(s3.get_object, Bucket=bucket, Key="k", **broken)[:2] == ("PreconditionFailed", 412)


def test_conditions_of_writers(s3, bucket, refused):
    etag = s3.put_object(Bucket=bucket, Key="k", Body=b"1", IfNoneMatch="*")["ETag"]
    assert refused(s3.put_object, Bucket=bucket, Key="k", Body=b"2", IfNoneMatch="*")[:2] == ("PreconditionFailed", 412)
    assert refused(s3.put_object, Bucket=bucket, Key="k", Body=b"2", IfMatch='"other"')[:2] == ("PreconditionFailed", 412)
    assert refused(s3.put_object, Bucket=bucket, Key="none", Body=b"2", IfMatch=etag)[:2] == ("NoSuchKey", 404)
    s3.put_object(Bucket=bucket, Key="k", Body=b"2", IfMatch=etag)
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"2"
    assert refused(s3.delete_object, Bucket=bucket, Key="k", IfMatch=etag)[:2] == ("PreconditionFailed", 412)


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"])
def test_checksums(server, s3, bucket, refused, algorithm):
    # Values of the CRC catalogue for "123456789", and hashlib's.
    known = {"CRC32": 0xcbf43926.to_bytes(4, "big"), "CRC32C": 0xe3069283.to_bytes(4, "big"), "CRC64NVME": 0xae8b14860a799888.to_bytes(8, "big"),
             "SHA1": hashlib.sha1(b"123456789").digest(), "SHA256": hashlib.sha256(b"123456789").digest()}
    member, value = f"Checksum{algorithm}", base64.b64encode(known[algorithm]).decode()
    assert s3.put_object(Bucket=bucket, Key="k", Body=b"123456789", **{member: value})[member] == value
    got = s3.get_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert (got[member], got["ChecksumType"], got["Body"].read()) == (value, "FULL_OBJECT", b"123456789")
    assert member not in s3.head_object(Bucket=bucket, Key="k")
    assert s3.get_object_attributes(Bucket=bucket, Key="k", ObjectAttributes=["Checksum", "ETag", "ObjectSize"])["Checksum"][member] == value
    assert refused(s3.put_object, Bucket=bucket, Key="k2", Body=b"other", **{member: value})[:2] == ("BadDigest", 400)
    assert refused(s3.put_object, Bucket=bucket, Key="k2", Body=b"other", **{member: "AAAA"})[:2] == ("InvalidRequest", 400)
    assert refused(s3.head_object, Bucket=bucket, Key="k2")[:2] == ("404", 404)


def test_content_md5(s3, bucket, refused):
    good = base64.b64encode(hashlib.md5(b"x").digest()).decode()
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", ContentMD5=good)
    assert refused(s3.put_object, Bucket=bucket, Key="k", Body=b"y", ContentMD5=good)[:2] == ("BadDigest", 400)
    assert refused(s3.put_object, Bucket=bucket, Key="k", Body=b"y", ContentMD5="x")[:2] == ("InvalidDigest", 400)


def test_headers_are_kept_and_overridden(s3, bucket):
    kept = {"CacheControl": "max-age=5", "ContentDisposition": 'attachment; filename="a"', "ContentEncoding": "gzip", "ContentLanguage": "en", "ContentType": "text/plain"}
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", WebsiteRedirectLocation="/other", StorageClass="STANDARD_IA", Expires="Fri, 01 Jan 2027 00:00:00 GMT", **kept)
    head = s3.head_object(Bucket=bucket, Key="k")
    assert kept.items() <= head.items()
    assert head["Expires"].year == 2027 and head["WebsiteRedirectLocation"] == "/other" and head["StorageClass"] == "STANDARD_IA"
    got = s3.get_object(Bucket=bucket, Key="k", ResponseContentType="a/b", ResponseCacheControl="none", ResponseExpires="Sat, 01 Jan 2028 00:00:00 GMT")
    assert (got["ContentType"], got["CacheControl"], got["Expires"].year, got["ContentLanguage"]) == ("a/b", "none", 2028, "en")
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    assert s3.head_object(Bucket=bucket, Key="k")["ContentType"] == "binary/octet-stream"


def test_encryption_headers(server, s3, bucket, refused):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", ServerSideEncryption="aws:kms", SSEKMSKeyId="key")
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"
    locked = {"ObjectLockMode": "GOVERNANCE", "ObjectLockRetainUntilDate": "2030-01-01T00:00:00Z"}
    assert refused(s3.put_object, Bucket=bucket, Key="k", Body=b"x", **locked)[:2] == ("InvalidRequest", 400)
    # boto3 sends a customer's key over TLS only: by hand.
    status, _, body = raw(server, "PUT", f"/{bucket}/k", b"x", headers={"x-amz-server-side-encryption-customer-algorithm": "AES256"})
    assert status == 501 and b"<Code>NotImplemented</Code>" in body


ODD_KEYS = ["a/../b", "../../etc/passwd", "/leading", "a//b", "a/./b", ".", "..", "a b+c%20d", "tab\tnew\nline", "nul\x00end", "ünïcödé/語", "😀",
            "x" * 1024, "é" * 512, "?query&x=1", "#hash", "a=b;c,d", "'\"<>&", "~-_.!*()", "\\back", "\x7f\x01"]


@pytest.mark.parametrize("key", ODD_KEYS, ids=range(len(ODD_KEYS)))
def test_odd_keys(s3, bucket, key):
    s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
    assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == key.encode()
    listed = s3.list_objects_v2(Bucket=bucket)["Contents"]
    assert [entry["Key"] for entry in listed] == [key]
    s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": key})
    assert s3.get_object(Bucket=bucket, Key="copy")["Body"].read() == key.encode()
    if all(c >= " " or c in "\t\n" for c in key):  # others have no form in XML 1.0
        assert s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key}]})["Deleted"] == [{"Key": key}]
    s3.delete_object(Bucket=bucket, Key=key)
    assert [entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["copy"]


def test_keys_that_cannot_be(server, s3, bucket, refused):
    assert refused(s3.put_object, Bucket=bucket, Key="x" * 1025, Body=b"")[:2] == ("KeyTooLongError", 400)
    assert raw(server, "PUT", f"/{bucket}/%FF%FE", b"x")[0] == 400


def raw(server, method, target, body=b"", headers=(), payload=None, host=None):
    """One request by hand, signed: status, headers, body."""
    parts = urllib.parse.urlsplit(server.url)
    payload = payload or hashlib.sha256(body).hexdigest()
    request = botocore.awsrequest.AWSRequest(method, server.url + target, data=body, headers={"x-amz-content-sha256": payload} | dict(headers))
    request.context["payload_signing_enabled"] = False
    auth = botocore.auth.S3SigV4Auth(botocore.credentials.Credentials(server.access_key, server.secret), "s3", "us-east-1")
    auth.payload = lambda request: payload
    auth.add_auth(request)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
    connection.request(method, target, body=body, headers=dict(request.headers))
    answer = connection.getresponse()
    result = answer.status, dict(answer.getheaders()), answer.read()
    connection.close()
    return result


def test_bodies_that_are_not_the_signed_ones(server, s3, bucket):
    status, _, body = raw(server, "PUT", f"/{bucket}/k", b"abc", payload=hashlib.sha256(b"xyz").hexdigest())
    assert status == 400 and b"<Code>XAmzContentSHA256Mismatch</Code>" in body
    assert raw(server, "PUT", f"/{bucket}/k", b"abc", payload="UNSIGNED-PAYLOAD")[0] == 200
    status, _, body = raw(server, "PUT", f"/{bucket}/k", b"abc", payload="nonsense")
    assert status == 400 and b"<Code>InvalidArgument</Code>" in body


def test_aws_chunked_with_a_trailer(server, s3, bucket):
    data = b"hello world" * 20_000
    sum = base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()

    def put(body, trailer="x-amz-checksum-crc32", length=len(data), encoding="aws-chunked"):
        return raw(server, "PUT", f"/{bucket}/chunked", body, payload="STREAMING-UNSIGNED-PAYLOAD-TRAILER",
                   headers={"Content-Encoding": encoding, "x-amz-decoded-content-length": str(length), "x-amz-trailer": trailer})

    framed = b"".join(b"%x\r\n%b\r\n" % (len(data[i:i + 65536]), data[i:i + 65536]) for i in range(0, len(data), 65536)) + b"0\r\n"
    good = framed + f"x-amz-checksum-crc32:{sum}\r\n\r\n".encode()
    status, headers, body = put(good)
    assert status == 200, body
    assert headers["x-amz-checksum-crc32"] == sum
    got = s3.get_object(Bucket=bucket, Key="chunked")
    assert got["Body"].read() == data and "ContentEncoding" not in got
    for bad, code in ((good[:-10], b"IncompleteBody"), (framed + b"x-amz-checksum-crc32:AAAAAA==\r\n\r\n", b"BadDigest"), (framed + b"\r\n", b"InvalidRequest"),
                      (b"nonsense", b"IncompleteBody"), (b"zz\r\nx", b"InvalidRequest")):
        status, _, body = put(bad)
        assert status == 400 and b"<Code>%b</Code>" % code in body, (bad[-40:], body)
    for encoding in ("gzip,aws-chunked", "aws-chunked, gzip"):  # botocore's, others'
        assert put(good, encoding=encoding)[0] == 200
        assert s3.head_object(Bucket=bucket, Key="chunked")["ContentEncoding"] == "gzip"
    assert put(good, length=len(data) - 1)[0] == 400
    assert s3.get_object(Bucket=bucket, Key="chunked")["Body"].read() == data


def test_readers_that_go_away(server, s3, bucket):
    """In the midst of a file that the kernel sends."""
    s3.put_object(Bucket=bucket, Key="k", Body=b"x" * 30_000_000)
    url = urllib.parse.urlsplit(s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "k"}))
    for i in range(20):
        with socket.create_connection((url.hostname, url.port), timeout=20) as wire:
            wire.sendall(f"GET {url.path}?{url.query} HTTP/1.1\r\nHost: {url.netloc}\r\n\r\n".encode())
            assert wire.recv(1000 * (i + 1)).startswith(b"HTTP/1.1 200 ")
    assert s3.head_object(Bucket=bucket, Key="k")["ContentLength"] == 30_000_000


def test_a_copy_of_what_is_being_replaced(server, s3, bucket):
    s3.put_object(Bucket=bucket, Key="from", Body=b"0")
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        done = [pool.submit(s3.put_object, Bucket=bucket, Key="from", Body=str(i).encode()) if i % 2 else
                pool.submit(s3.copy_object, Bucket=bucket, Key="to", CopySource=f"{bucket}/from") for i in range(200)]
        for call in done:
            call.result()


def test_what_a_copy_does_not_keep(s3, bucket):
    s3.put_object(Bucket=bucket, Key="from", Body=b"x", StorageClass="STANDARD_IA", WebsiteRedirectLocation="/r", ContentType="a/b")
    s3.copy_object(Bucket=bucket, Key="to", CopySource=f"{bucket}/from")
    head = s3.head_object(Bucket=bucket, Key="to")
    assert head["ContentType"] == "a/b" and "StorageClass" not in head and "WebsiteRedirectLocation" not in head
    s3.copy_object(Bucket=bucket, Key="to", CopySource=f"{bucket}/from", WebsiteRedirectLocation="/s")
    assert s3.head_object(Bucket=bucket, Key="to")["WebsiteRedirectLocation"] == "/s"


def test_a_form_of_a_browser_is_not_served(server, bucket):
    form = server.client("s3").generate_presigned_post(bucket, "k")
    body = b"".join(b'--x\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n' % (k.encode(), v.encode()) for k, v in form["fields"].items()) + b"--x--\r\n"
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(urllib.request.Request(form["url"], data=body, headers={"Content-Type": "multipart/form-data; boundary=x"}))
    with caught.value as answer:
        assert answer.code == 501 and b"<Code>NotImplemented</Code>" in answer.read()


def test_presigned(server, bucket, refused):
    for version in ("s3v4", "s3"):
        s3 = server.client("s3", config=Config(signature_version=version))
        url = s3.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "pre/signed é"}, ExpiresIn=60)
        with urllib.request.urlopen(urllib.request.Request(url, data=b"body", method="PUT", headers={"Content-Type": ""})) as answer:
            assert answer.status == 200
        url = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "pre/signed é", "ResponseContentType": "a/b"}, ExpiresIn=60)
        with urllib.request.urlopen(url) as answer:
            assert (answer.read(), answer.headers["Content-Type"]) == (b"body", "a/b")
        for bad in (url.replace("a%2Fb", "a%2Fc"), url.replace("signed", "other"), url[:-1] + ("A" if url[-1] != "A" else "B")):
            with pytest.raises(urllib.error.HTTPError) as caught:
                urllib.request.urlopen(bad)
            assert caught.value.code == 403
        expired = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "pre/signed é"}, ExpiresIn=-1 if version == "s3" else 0)
        time.sleep(0 if version == "s3" else 1.1)
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(expired)
        assert caught.value.code == 403 and b"Request has expired" in caught.value.read()


def test_presigned_headers(server, bucket, refused):
    """x-amz-* stands in the query: boto3's V2 form puts it there, and other SDKs' V4 form. Whoever has the URL need send nothing."""
    old, new = (server.client("s3", config=Config(signature_version=version)) for version in ("s3", "s3v4"))
    put = lambda url, body=b"body", **headers: urllib.request.urlopen(urllib.request.Request(url, data=body, method="PUT", headers={"Content-Type": "", **headers})).status
    given = {"Metadata": {"a": "b"}, "StorageClass": "STANDARD_IA", "Tagging": "x=y", "ACL": "private", "ChecksumAlgorithm": "CRC32"}
    url = old.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "old", **given})
    assert "x-amz-meta-a=b" in url and put(url) == put(url, **{"x-amz-meta-a": "b"}) == 200
    query = "x-amz-meta-a=b&x-amz-storage-class=STANDARD_IA&x-amz-tagging=x%3Dy&x-id=PutObject"
    request = botocore.awsrequest.AWSRequest("PUT", f"{server.url}/{bucket}/new?{query}")
    botocore.auth.S3SigV4QueryAuth(botocore.credentials.Credentials(server.access_key, server.secret), "s3", "us-east-1", expires=60).add_auth(request)
    assert put(request.url) == 200
    with pytest.raises(urllib.error.HTTPError):
        put(url.replace("x-amz-meta-a=b", "x-amz-meta-a=c"))
    for key in ("old", "new"):
        head = new.head_object(Bucket=bucket, Key=key)
        assert (head["Metadata"], head["StorageClass"]) == ({"a": "b"}, "STANDARD_IA"), key
        assert new.get_object_tagging(Bucket=bucket, Key=key)["TagSet"] == [{"Key": "x", "Value": "y"}]
    for metadata in ({"a": "b\nc"}, {"my note": "x"}):
        url = old.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "feed", "Metadata": metadata})
        with pytest.raises(urllib.error.HTTPError) as caught:
            put(url)
        assert caught.value.code == 400 and f"x-amz-meta-{[*metadata][0]}: a character that no header has".encode() in caught.value.read()
    # JavaScript's SDK adds the sum of the body that it does not have.
    request = botocore.awsrequest.AWSRequest("PUT", f"{server.url}/{bucket}/sum?x-amz-checksum-crc32=AAAAAA%3D%3D&x-amz-sdk-checksum-algorithm=CRC32")
    botocore.auth.S3SigV4QueryAuth(botocore.credentials.Credentials(server.access_key, server.secret), "s3", "us-east-1", expires=60).add_auth(request)
    assert put(request.url) == 200
    request = botocore.awsrequest.AWSRequest("GET", f"{server.url}/{bucket}/sum?x-amz-checksum-mode=enabled")  # as C++'s SDK spells it
    botocore.auth.S3SigV4QueryAuth(botocore.credentials.Credentials(server.access_key, server.secret), "s3", "us-east-1", expires=60).add_auth(request)
    assert urllib.request.urlopen(request.url).read() == b"body"
    url = old.generate_presigned_url("copy_object", Params={"Bucket": bucket, "Key": "copy", "CopySource": f"{bucket}/old"})
    assert put(url, b"") == 200 and new.get_object(Bucket=bucket, Key="copy")["Body"].read() == b"body"
    url = old.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "old", "ChecksumMode": "ENABLED", "ExpectedBucketOwner": "123456789012"})
    assert urllib.request.urlopen(url).read() == b"body"


def test_presigned_buckets(server, bucket, name):
    """boto3's V2 form signs "/bucket/" of what it asks for as "/bucket"."""
    for version in ("s3v4", "s3"):
        s3 = server.client("s3", config=Config(signature_version=version))
        for operation in ("list_objects", "list_objects_v2", "get_bucket_location", "list_object_versions"):
            with urllib.request.urlopen(s3.generate_presigned_url(operation, Params={"Bucket": bucket})) as answer:
                assert answer.status == 200, (version, operation)
        url = s3.generate_presigned_url("create_bucket", Params={"Bucket": name("presigned")}, HttpMethod="PUT")
        assert urllib.request.urlopen(urllib.request.Request(url, method="PUT")).status == 200
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(s3.generate_presigned_url("list_objects", Params={"Bucket": bucket}).replace(bucket, bucket + "x"))
        assert caught.value.code == 403


def test_copies(s3, bucket, name, refused):
    s3.put_object(Bucket=bucket, Key="from", Body=b"body", ContentType="a/b", Metadata={"m": "1"}, Tagging="t=1&u=2")
    other = name("copies")
    s3.create_bucket(Bucket=other)
    source = {"Bucket": bucket, "Key": "from"}
    result = s3.copy_object(Bucket=other, Key="to", CopySource=source)["CopyObjectResult"]
    assert result["ETag"] == '"%s"' % hashlib.md5(b"body").hexdigest() and result["ChecksumCRC32"]
    head = s3.head_object(Bucket=other, Key="to")
    assert (head["ContentType"], head["Metadata"]) == ("a/b", {"m": "1"})
    assert len(s3.get_object_tagging(Bucket=other, Key="to")["TagSet"]) == 2
    s3.copy_object(Bucket=other, Key="to", CopySource=source, MetadataDirective="REPLACE", Metadata={"n": "2"}, TaggingDirective="REPLACE", Tagging="v=3")
    head = s3.head_object(Bucket=other, Key="to")
    assert (head["ContentType"], head["Metadata"]) == ("binary/octet-stream", {"n": "2"})
    assert s3.get_object_tagging(Bucket=other, Key="to")["TagSet"] == [{"Key": "v", "Value": "3"}]
    assert s3.copy_object(Bucket=other, Key="summed", CopySource=source, ChecksumAlgorithm="SHA256")["CopyObjectResult"]["ChecksumSHA256"]
    s3.copy_object(Bucket=bucket, Key="from", CopySource=source, MetadataDirective="REPLACE", Metadata={"self": "1"})
    assert s3.head_object(Bucket=bucket, Key="from")["Metadata"] == {"self": "1"}
    assert refused(s3.copy_object, Bucket=bucket, Key="from", CopySource=source)[:2] == ("InvalidRequest", 400)
    assert refused(s3.copy_object, Bucket=bucket, Key="x", CopySource={"Bucket": bucket, "Key": "none"})[:2] == ("NoSuchKey", 404)
    assert refused(s3.copy_object, Bucket=bucket, Key="x", CopySource={"Bucket": "no-such-bucket", "Key": "none"})[:2] == ("NoSuchBucket", 404)
    assert refused(s3.copy_object, Bucket=bucket, Key="x", CopySource=bucket)[:2] == ("InvalidArgument", 400)
    assert refused(s3.copy_object, Bucket=bucket, Key="x", CopySource=source, CopySourceIfMatch='"no"')[:2] == ("PreconditionFailed", 412)


def test_deletes(s3, bucket, refused):
    keys = [f"k{i}" for i in range(1000)]
    for key in keys[:20]:
        s3.put_object(Bucket=bucket, Key=key, Body=b"")
    s3.delete_object(Bucket=bucket, Key="never there")
    deleted = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key} for key in keys]})["Deleted"]
    assert len(deleted) == 1000
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)
    assert "Deleted" not in s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "x"}], "Quiet": True})
    errors = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "x", "VersionId": "v1"}, {"Key": "y", "VersionId": "null"}]})
    assert [e["Code"] for e in errors["Errors"]] == ["NoSuchVersion"] and [d["Key"] for d in errors["Deleted"]] == ["y"]
    kept = s3.put_object(Bucket=bucket, Key="kept", Body=b"12")["ETag"]
    head = s3.head_object(Bucket=bucket, Key="kept")
    for wrong, code in (({"ETag": '"deadbeef"'}, "PreconditionFailed"), ({"Size": 3}, "PreconditionFailed"),
                        ({"LastModifiedTime": head["LastModified"] - datetime.timedelta(seconds=9)}, "PreconditionFailed"),
                        ({"Key": "none", "ETag": kept}, "NoSuchKey"), ({"Key": "k" * 1025}, "KeyTooLongError")):
        answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "kept"} | wrong]})
        assert [e["Code"] for e in answer["Errors"]] == [code] and "Deleted" not in answer, wrong
    assert s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "kept", "ETag": kept, "Size": 2, "LastModifiedTime": head["LastModified"]}]})["Deleted"] == [{"Key": "kept"}]
    assert refused(s3.delete_objects, Bucket=bucket, Delete={"Objects": [{"Key": "x"}] * 1001})[:2] == ("MalformedXML", 400)


def test_tags(s3, bucket, refused):
    s3.put_object(Bucket=bucket, Key="k", Body=b"", Tagging="a=1&b=x%20y")
    assert s3.get_object(Bucket=bucket, Key="k")["TagCount"] == 2
    assert s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "x y"}]
    s3.put_object_tagging(Bucket=bucket, Key="k", Tagging={"TagSet": [{"Key": "c", "Value": ""}]})
    assert s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == [{"Key": "c", "Value": ""}]
    s3.delete_object_tagging(Bucket=bucket, Key="k")
    assert s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == []
    tag = {"Key": "a", "Value": "1"}
    assert refused(s3.put_object_tagging, Bucket=bucket, Key="k", Tagging={"TagSet": [tag, tag]})[:2] == ("InvalidTag", 400)
    many = [{"Key": str(i), "Value": ""} for i in range(11)]
    assert refused(s3.put_object_tagging, Bucket=bucket, Key="k", Tagging={"TagSet": many})[:2] == ("BadRequest", 400)
    assert refused(s3.get_object_tagging, Bucket=bucket, Key="none")[:2] == ("NoSuchKey", 404)


def test_what_is_missing(s3, bucket, refused):
    assert refused(s3.get_object, Bucket=bucket, Key="none") == ("NoSuchKey", 404, "The specified key does not exist.")
    assert refused(s3.head_object, Bucket=bucket, Key="none")[:2] == ("404", 404)
    assert refused(s3.get_object, Bucket="no-such-bucket", Key="k")[:2] == ("NoSuchBucket", 404)
    assert refused(s3.put_object, Bucket="no-such-bucket", Key="k", Body=b"x" * 100_000)[:2] == ("NoSuchBucket", 404)
    assert refused(s3.get_object, Bucket=bucket, Key="none", VersionId="v")[:2] == ("NoSuchVersion", 404)
    assert refused(s3.get_object, Bucket=bucket, Key="none", ExpectedBucketOwner="999999999999")[:2] == ("AccessDenied", 403)
    assert refused(s3.get_object_torrent, Bucket=bucket, Key="none")[:2] == ("UnsupportedOperation", 400)
    assert refused(s3.put_object, Bucket=bucket, Key="k", Body=b"", StorageClass="WOOD")[:2] == ("InvalidStorageClass", 400)
    assert refused(s3.put_object, Bucket=bucket, Key="k", Body=b"", Metadata={"m": "x" * 3000})[:2] == ("MetadataTooLarge", 400)
