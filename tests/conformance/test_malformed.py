"""Requests that no client of AWS's would send: a well-formed error of the service's own form, and the server goes on."""

import socket

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import pytest
from botocore.config import Config

JSON = {"Content-Type": "application/x-amz-json-1.1"}


def exchange(server, request: bytes) -> tuple[int, bytes]:
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as wire:
        try:
            wire.sendall(request)
            wire.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # refused before all of it was sent
        answer = b""
        try:
            while piece := wire.recv(65536):
                answer += piece
        except ConnectionResetError:
            pass
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]) if head else 0, body


# What HTTP itself forbids, and floods.
WIRE = {
    "no HTTP": (b"nonsense\r\n\r\n", 400),
    "another version": (b"GET / HTTP/3.7\r\nHost: x\r\n\r\n", 400),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "a space before the colon": (b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", 400),
    "NUL in a header": (b"GET / HTTP/1.1\r\nHost: x\r\nA: \0\r\n\r\n", 400),
    "a length that is none": (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: ten\r\n\r\n", 400),
    "a negative length": (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
    "two lengths": (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
    "a length and chunks": (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "a flood of headers": (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"".join(b"x-%d: y\r\n" % i for i in range(20_000)) + b"\r\n", 400),
    "a header without an end": (b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"y" * (1 << 20), 400),
    "a target without an end": (b"GET /" + b"y" * (1 << 20), 400),
    "nobody": (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 403),
    "an Authorization that is none": (b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Basic eHg=\r\n\r\n", 400),
    "half an Authorization": (b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: AWS4-HMAC-SHA256 Credential=a/b\r\n\r\n", 400),
}


@pytest.mark.parametrize("what", WIRE)
def test_http(server, what):
    request, status = WIRE[what]
    assert exchange(server, request)[0] == status


def signed(server, service, method, path, body=b"", headers=()):
    request = botocore.awsrequest.AWSRequest(method, server.url + path, data=body, headers=dict(headers))
    auth = botocore.auth.S3SigV4Auth if service == "s3" else botocore.auth.SigV4Auth
    auth(botocore.credentials.Credentials(server.access_key, server.secret), service, "us-east-1").add_auth(request)
    lines = [f"{method} {path} HTTP/1.1", f"Host: {server.url.removeprefix('http://')}", f"Content-Length: {len(body)}"]
    return exchange(server, "\r\n".join(lines + [f"{k}: {v}" for k, v in request.headers.items()]).encode() + b"\r\n\r\n" + body)


def target(operation, **more):
    return JSON | {"X-Amz-Target": operation} | more


QUERY = {"Content-Type": "application/x-www-form-urlencoded"}
BOMB = b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;">]><Delete><Object><Key>&b;</Key></Object></Delete>'

# Signed, and then not what the operation takes: service, method, path, body, headers; status, word in the answer.
SIGNED = {
    "no JSON": ("sagemaker", "POST", "/", b"{", target("SageMaker.ListModels"), 400, b"SerializationException"),
    "JSON that is no object": ("sagemaker", "POST", "/", b"[]", target("SageMaker.ListModels"), 400, b"SerializationException"),
    "JSON that is not UTF-8": ("sagemaker", "POST", "/", b'{"NameContains": "\xff"}', target("SageMaker.ListModels"), 400, b"SerializationException"),
    "JSON without a bottom": ("sagemaker", "POST", "/", b"[" * 100_000, target("SageMaker.ListModels"), 400, b"SerializationException"),
    "a text for a number": ("sagemaker", "POST", "/", b'{"MaxResults": "ten"}', target("SageMaker.ListModels"), 400, b"SerializationException"),
    "a time that is none": ("sagemaker", "POST", "/", b'{"CreationTimeAfter": 1e300}', target("SageMaker.ListModels"), 400, b"1e+300 can not be converted to a Timestamp at 'creationTimeAfter'"),
    "a time before all": ("sagemaker", "POST", "/", b'{"CreationTimeBefore": -1e300}', target("SageMaker.ListModels"), 400, b"can not be converted to a Timestamp"),
    "a datum of no time": ("monitoring", "POST", "/", b"Action=PutMetricData&Version=2010-08-01&Namespace=n&MetricData.member.1.MetricName=m&MetricData.member.1.Value=1"
                           b"&MetricData.member.1.Timestamp=1e300", QUERY, 400, b"Timestamp"),
    "a header of no time": ("s3", "GET", "/malformed/there?response-expires=1e300", b"", {}, 400, b"InvalidArgument"),
    "an unknown operation": ("sagemaker", "POST", "/", b"{}", target("SageMaker.MakeCoffee"), 400, b"UnknownOperationException"),
    "a service that shares its name": ("sagemaker", "PUT", "/BatchPutMetrics", b"{}", {}, 400, b'sagemaker: \\"PUT /BatchPutMetrics\\" is not served here'),
    "a service of REST that is unknown": ("lambda", "GET", "/2015-03-31/functions/", b"", {}, 400, b"UnsupportedOperation"),
    "an unknown service": ("sagemaker", "POST", "/", b"{}", target("Coffee.Make"), 400, b"UnsupportedOperation"),
    "a NUL": ("sagemaker", "POST", "/", b'{"ModelName": "a\\u0000b"}', target("SageMaker.DescribeModel"), 400, b"failed to satisfy constraint: Member must satisfy"),
    "logs, not JSON": ("logs", "POST", "/", b"<a/>", target("Logs_20140328.DescribeLogGroups"), 400, b"SerializationException"),
    "a query without an action": ("sts", "POST", "/", b"Version=2011-06-15", QUERY, 400, b"InvalidAction"),
    "an unknown action": ("sts", "POST", "/", b"Action=MakeCoffee&Version=2011-06-15", QUERY, 400, b"InvalidAction"),
    "a query that is not UTF-8": ("iam", "POST", "/", b"Action=GetRole&Version=2010-05-08&RoleName=%ff", QUERY, 400, b"<Code>"),
    "XML without an end": ("s3", "POST", "/malformed?delete", b"<Delete><Object>", {}, 400, b"MalformedXML"),
    "XML that is not UTF-8": ("s3", "POST", "/malformed?delete", b"<Delete><Object><Key>\xff</Key></Object></Delete>", {}, 400, b"MalformedXML"),
    "XML with entities": ("s3", "POST", "/malformed?delete", BOMB, {}, 400, b"MalformedXML"),
    "XML with a character that is none": ("s3", "POST", "/malformed?delete", b"<Delete><Object><Key>&#xd800;</Key></Object></Delete>", {}, 400, b"MalformedXML"),
    "a metric that is not UTF-8": ("monitoring", "POST", "/", b"Action=PutMetricData&Version=2010-08-01&Namespace=n&MetricData.member.1.MetricName=%fe&MetricData.member.1.Value=1", QUERY, 400, b"MalformedInput"),
    "a policy's name that is not UTF-8": ("iam", "POST", "/", b"Action=AttachRolePolicy&Version=2010-05-08&RoleName=r&PolicyArn=arn:aws:iam::aws:policy/%FFxxxxxxxxxxxx", QUERY, 400, b"MalformedInput"),
    "a policy that is not UTF-8": ("s3", "PUT", "/malformed?policy", b'{"a":"\xff"}', {}, 400, b"InvalidArgument"),
    "a policy that is no JSON": ("s3", "PUT", "/malformed?policy", b"{nope", {}, 400, b"MalformedPolicy"),
    "tags that are not UTF-8": ("s3", "PUT", "/malformed/k", b"x", {"x-amz-tagging": "a=%E9"}, 400, b"InvalidTag"),
    "a prefix that is not UTF-8": ("s3", "GET", "/malformed?prefix=%FF", b"", {}, 400, b"InvalidArgument"),
    "a bucket that is not UTF-8": ("s3", "GET", "/malf%FFormed", b"", {}, 400, b"InvalidURI"),
    "XML without a bottom": ("s3", "POST", "/malformed?delete", b"<a>" * 100_000, {}, 400, b"MalformedXML"),
    "another document": ("s3", "PUT", "/malformed?tagging", b"<Delete/>", {}, 400, b"MalformedXML"),
    "MD5 that is no base64": ("s3", "PUT", "/malformed/k", b"x", {"Content-MD5": "!!!"}, 400, b"InvalidDigest"),
    "a checksum that is no base64": ("s3", "PUT", "/malformed/k", b"x", {"x-amz-checksum-crc32": "!!!"}, 400, b"InvalidRequest"),
    "a copy of nothing": ("s3", "PUT", "/malformed/k", b"", {"x-amz-copy-source": "%%%"}, 400, b"InvalidArgument"),
    "a part that is no number": ("s3", "PUT", "/malformed/k?partNumber=x&uploadId=y", b"x", {}, 400, b"InvalidArgument"),
    "an upload that is none": ("s3", "PUT", "/malformed/k?partNumber=1&uploadId=y", b"x", {}, 404, b"NoSuchUpload"),
    "a list of too many": ("s3", "GET", "/malformed?max-keys=ten", b"", {}, 400, b"InvalidArgument"),
    "a place that is none": ("s3", "PUT", "/malformed2", b"<CreateBucketConfiguration><LocationConstraint>eu&lt;x</LocationConstraint></CreateBucketConfiguration>", {}, 400,
                             b"InvalidLocationConstraint"),
}


@pytest.fixture(scope="module")
def bucket(server):
    s3 = server.client("s3")
    s3.create_bucket(Bucket="malformed")
    s3.put_object(Bucket="malformed", Key="there", Body=b"x")


@pytest.mark.parametrize("what", SIGNED)
def test_signed(server, bucket, what):
    service, method, path, body, headers, status, word = SIGNED[what]
    got, answer = signed(server, service, method, path, body, headers)
    assert got == status and word in answer, (got, answer[:500])
    answer.decode()


@pytest.mark.parametrize("header", ["Cache-Control", "Content-Disposition", "Content-Type", "Expires"])
def test_headers_that_are_not_utf8(server, bucket, header):
    """In a presigned request, which need not sign them."""
    url = server.client("s3", config=Config(signature_version="s3v4")).generate_presigned_url("put_object", Params={"Bucket": "malformed", "Key": "latin"}).removeprefix(server.url)
    lines = [f"PUT {url} HTTP/1.1", f"Host: {server.url.removeprefix('http://')}", "Content-Length: 1", f"{header}: caf\xe9", "Connection: close"]
    status, answer = exchange(server, "\r\n".join(lines).encode("latin-1") + b"\r\n\r\nx")
    assert status == 400 and b"<Code>InvalidArgument</Code>" in answer, answer
    answer.decode()


def test_a_large_body_of_nobody_is_not_taken(server):
    """Also where its length is not told: the answer comes while all of it is still to come."""
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as wire:
        wire.sendall(b"PUT /malformed/large HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n400\r\n")
        assert wire.recv(65536).startswith(b"HTTP/1.1 403 ")


def test_a_header_smuggled_into_the_answer(server, bucket, refused):
    got = refused(server.client("s3").get_object, Bucket="malformed", Key="there", ResponseContentType="a\r\nb: c")
    assert got[:2] == ("InvalidArgument", 400)


def test_a_body_beyond_the_limit(server):
    assert exchange(server, b"POST / HTTP/1.1\r\nHost: x\r\nX-Amz-Target: SageMaker.ListModels\r\nContent-Length: 99999999999\r\n\r\n")[0] in (400, 403, 413)


@pytest.fixture(scope="module", autouse=True)
def goes_on(server):
    yield
    assert server.client("sagemaker").list_models()["Models"] == []
