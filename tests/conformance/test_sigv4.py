"""The cases of AWS's published signature suite, signed by botocore as the test runs: each is accepted, and refused when one
character of what it covers is another."""

import datetime

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import pytest

from .test_malformed import exchange

TARGET = [("X-Amz-Target", "SageMaker.ListModels"), ("Content-Type", "application/x-amz-json-1.1")]

# name: (service, method, path with query, more headers, body, status when the signature is right)
CASES = {
    "get-vanilla": ("s3", "GET", "/", [], b"", 200),
    "get-vanilla-query": ("s3", "GET", "/?max-buckets=7", [], b"", 200),
    "get-vanilla-empty-query-key": ("s3", "GET", "/?prefix=", [], b"", 200),
    "get-vanilla-query-order-key": ("s3", "GET", "/nobucket?prefix=b&delimiter=a&max-keys=3", [], b"", 404),
    "get-vanilla-query-order-key-case": ("s3", "GET", "/nobucket?list-type=2&Prefix=1&prefix=2", [], b"", 404),
    "get-vanilla-query-unreserved": ("s3", "GET", "/nobucket?prefix=-._~0123456789ABCXYZabcxyz", [], b"", 404),
    "get-vanilla-utf8-query": ("s3", "GET", "/nobucket?prefix=%E1%88%B4", [], b"", 404),
    "get-unreserved": ("s3", "GET", "/nobucket/-._~0123456789ABCXYZabcxyz", [], b"", 404),
    "get-utf8": ("s3", "GET", "/nobucket/%E1%88%B4", [], b"", 404),
    "get-space": ("s3", "GET", "/nobucket/example%20space/", [], b"", 404),
    "get-slashes, not normalized by S3": ("s3", "GET", "/nobucket//a//", [], b"", 404),
    "get-relative, not normalized by S3": ("s3", "GET", "/nobucket/./a/../b", [], b"", 404),
    "get-header-value-trim": ("s3", "GET", "/", [("My-Header1", "  a   b   c  "), ("My-Header2", '"a   b   c"')], b"", 200),
    "post-vanilla": ("sagemaker", "POST", "/", TARGET, b"{}", 200),
    "post-vanilla-query": ("sagemaker", "POST", "/?Param1=value1", TARGET, b"{}", 200),
    "post-vanilla-empty-query-value": ("sagemaker", "POST", "/?Param1=", TARGET, b"{}", 200),
    "post-header-key-case": ("sagemaker", "POST", "/", [(n.upper(), v) for n, v in TARGET], b"{}", 200),
    "post-header-key-sort": ("sagemaker", "POST", "/", [*TARGET, ("Zoo", "z"), ("Aardvark", "a")], b"{}", 200),
    "post-header-value-case": ("sagemaker", "POST", "/", [*TARGET, ("My-Header1", "VALUE1")], b"{}", 200),
    "post-x-www-form-urlencoded": ("sts", "POST", "/", [("Content-Type", "application/x-www-form-urlencoded")],
                                   b"Action=GetCallerIdentity&Version=2011-06-15", 200),
    "post-x-www-form-urlencoded-parameters": ("sts", "POST", "/", [("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")],
                                              b"Action=GetCallerIdentity&Version=2011-06-15", 200),
}


def signed(server, case, credentials):
    service, method, path, headers, body, _ = CASES[case]
    request = botocore.awsrequest.AWSRequest(method, server.url + path, data=body, headers=dict(headers))
    auth = botocore.auth.S3SigV4Auth if service == "s3" else botocore.auth.SigV4Auth
    auth(credentials, service, "us-east-1").add_auth(request)
    lines = [f"{method} {path} HTTP/1.1", f"Host: {server.url.removeprefix('http://')}", f"Content-Length: {len(body)}"]
    return "\r\n".join(lines + [f"{k}: {v}" for k, v in request.headers.items()]).encode() + b"\r\n\r\n" + body


@pytest.fixture(scope="module")
def session(server):
    """Keys with a token: the suite's post-sts-token."""
    made = server.client("sts").get_session_token()["Credentials"]
    return botocore.credentials.Credentials(made["AccessKeyId"], made["SecretAccessKey"], made["SessionToken"])


@pytest.mark.parametrize("with_token", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_case(server, session, case, with_token):
    credentials = session if with_token else botocore.credentials.Credentials(server.access_key, server.secret)
    request = signed(server, case, credentials)
    status, body = exchange(server, request)
    assert status == CASES[case][-1], body
    line, rest = request.split(b"\r\n", 1)
    path = line.split()[1]
    more = path + (b"&" if b"?" in path else b"?") + b"other=1"
    signature = request.index(b"Signature=") + len("Signature=")
    other = b"0" if request[signature:signature + 1] != b"0" else b"1"
    for changed in (line.replace(path, more, 1) + b"\r\n" + rest, request[:signature] + other + request[signature + 1:]):
        assert exchange(server, changed)[0] == 403


def test_an_expired_date(server):
    """Signed right, but for another time: the date in the scope and the clock are looked at."""
    credentials = botocore.credentials.Credentials(server.access_key, server.secret)
    request = signed(server, "get-vanilla", credentials)
    stamp = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT").encode()
    assert exchange(server, request.replace(stamp, b"20150830T"))[0] in (400, 403)
