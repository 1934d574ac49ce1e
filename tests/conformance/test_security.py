"""Who is let in: signatures, clocks, bodies, sessions, roles."""

import datetime
import json
import urllib.request

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import pytest
from botocore.exceptions import ClientError

MODEL = {"PrimaryContainer": {"Image": "i"}}


@pytest.fixture(scope="module")
def root(server):
    return server.access_key, server.secret


def own_page(server, method, path, body=None, key=None):
    """A signed request to one of our own pages: status and answer."""
    request = botocore.awsrequest.AWSRequest(method, server.url + path, data=json.dumps(body).encode() if body is not None else b"",
                                             headers={"Content-Type": "application/json"})
    botocore.auth.SigV4Auth(botocore.credentials.Credentials(*(key or (server.access_key, server.secret))), "textmill", "us-east-1").add_auth(request)
    prepared = request.prepare()
    call = urllib.request.Request(prepared.url, data=prepared.body or None, headers=dict(prepared.headers), method=method)
    try:
        with urllib.request.urlopen(call) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


@pytest.fixture(scope="module")
def keys(server):
    """A key of each role."""
    made = {}
    for role in ("admin", "write", "read"):
        status, key = own_page(server, "POST", "/_textmill/keys", {"role": role, "name": f"{role}-key"})
        assert status == 200
        made[role] = key["access_key_id"], key["secret_access_key"]
    return made


def test_wrong_secret_and_unknown_key(server, refused):
    wrong = server.client("sagemaker", (server.access_key, "x" * 40))
    assert refused(wrong.list_models)[:2] == ("InvalidSignatureException", 403)
    stranger = server.client("sagemaker", ("AKIASTRANGERSTRANGER", server.secret))
    assert refused(stranger.list_models)[:2] == ("UnrecognizedClientException", 403)
    assert refused(server.client("sts", (server.access_key, "x" * 40)).get_caller_identity)[:2] == ("SignatureDoesNotMatch", 403)
    assert refused(server.client("sts", ("AKIASTRANGERSTRANGER", "x")).get_caller_identity)[:2] == ("InvalidClientTokenId", 403)


def signed_call(server, root, when=None, body=b"{}", sent=None, headers=()):
    """DescribeModel's neighbour by hand: ListModels signed at a time, over a body that may not be the one sent."""
    request = botocore.awsrequest.AWSRequest("POST", server.url + "/", data=body, headers={"X-Amz-Target": "SageMaker.ListModels", "Content-Type": "application/x-amz-json-1.1"} | dict(headers))
    auth = botocore.auth.SigV4Auth(botocore.credentials.Credentials(*root), "sagemaker", "us-east-1")
    auth.add_auth(request)
    if when:
        request.context["timestamp"] = when.strftime("%Y%m%dT%H%M%SZ")
        request.headers.replace_header("X-Amz-Date", request.context["timestamp"])
        del request.headers["Authorization"]
        canonical = auth.canonical_request(request)
        auth._inject_signature_to_request(request, auth.signature(auth.string_to_sign(request, canonical), request))
    call = urllib.request.Request(server.url + "/", data=sent or body, headers=dict(request.headers), method="POST")
    try:
        with urllib.request.urlopen(call) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_the_clock(server, root):
    now = datetime.datetime.now(datetime.timezone.utc)
    for minutes in (-14, 0, 14):
        assert signed_call(server, root, now + datetime.timedelta(minutes=minutes))[0] == 200
    for minutes in (-16, 16, 60 * 24):
        status, answer = signed_call(server, root, now + datetime.timedelta(minutes=minutes))
        assert (status, answer["__type"]) == (403, "InvalidSignatureException"), minutes


def test_the_body_is_the_signed_one(server, root):
    assert signed_call(server, root, body=b'{"MaxResults": 1}')[0] == 200
    status, answer = signed_call(server, root, body=b'{"MaxResults": 1}', sent=b'{"MaxResults": 2}')
    assert (status, answer["__type"]) == (403, "InvalidSignatureException")


def test_the_same_request_twice_is_accepted(server, root):
    when = datetime.datetime.now(datetime.timezone.utc)
    assert signed_call(server, root, when)[0] == signed_call(server, root, when)[0] == 200


def test_nobody(server):
    request = urllib.request.Request(server.url + "/", data=b"{}", headers={"X-Amz-Target": "SageMaker.ListModels"})
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request)
    assert caught.value.code == 403
    assert json.load(caught.value)["__type"] == "MissingAuthenticationTokenException"


def test_roles(server, keys, name, refused):
    model = name()
    writer, reader = server.client("sagemaker", keys["write"]), server.client("sagemaker", keys["read"])
    writer.create_model(ModelName=model, **MODEL)
    assert reader.describe_model(ModelName=model)["ModelName"] == model
    code, status, message = refused(reader.delete_model, ModelName=model)
    assert (code, status) == ("AccessDeniedException", 400)
    assert message.endswith("assumed-role/textmill-read/read-key is not authorized to perform: sagemaker:DeleteModel")
    for role in ("write", "read"):
        assert own_page(server, "GET", "/_textmill/keys", key=keys[role])[0] == 403
    status, answer = own_page(server, "GET", "/_textmill/keys", key=keys["admin"])
    assert status == 200
    assert {k["name"]: k["role"] for k in answer["keys"]}.items() >= {"root": "admin", "read-key": "read"}.items()
    assert not any("secret_access_key" in k for k in answer["keys"])


def test_revoked_keys_and_their_sessions(server, refused):
    _, key = own_page(server, "POST", "/_textmill/keys", {"role": "write"})
    pair = key["access_key_id"], key["secret_access_key"]
    session = server.client("sts", pair).assume_role(RoleArn="arn:aws:iam::123456789012:role/Any", RoleSessionName="me")["Credentials"]
    inside = server.client("sts", (session["AccessKeyId"], session["SecretAccessKey"]), session["SessionToken"])
    assert inside.get_caller_identity()["Arn"] == "arn:aws:sts::123456789012:assumed-role/Any/me"
    assert own_page(server, "POST", "/_textmill/keys/revoke", {"access_key_id": pair[0]})[0] == 200
    assert refused(server.client("sts", pair).get_caller_identity)[0] == "InvalidClientTokenId"
    assert refused(inside.get_caller_identity)[0] == "InvalidClientTokenId"
    assert own_page(server, "POST", "/_textmill/keys/revoke", {"access_key_id": "AKIANOBODY"})[0] == 404


def test_sessions(server, keys, refused):
    """Sessions have the rights of the key that asked, and a token that nobody can change."""
    sts = server.client("sts", keys["read"])
    for credentials in (sts.get_session_token(DurationSeconds=900)["Credentials"],
                        sts.assume_role(RoleArn="arn:aws:iam::123456789012:role/Admin", RoleSessionName="x@y")["Credentials"]):
        pair, token = (credentials["AccessKeyId"], credentials["SecretAccessKey"]), credentials["SessionToken"]
        inside = server.client("sagemaker", pair, token)
        inside.list_models()
        assert refused(inside.create_model, ModelName="m", **MODEL)[0] == "AccessDeniedException"
        assert refused(server.client("sagemaker", pair, token[::-1]).list_models)[0] == "UnrecognizedClientException"
        assert refused(server.client("sagemaker", pair).list_models)[0] == "UnrecognizedClientException"
        assert refused(server.client("sagemaker", (pair[0], "x" * 40), token).list_models)[0] == "InvalidSignatureException"


def test_own_pages(server, root):
    with urllib.request.urlopen(server.url + "/_textmill/health") as answer:
        assert json.load(answer) == {"status": "ok"}
    with urllib.request.urlopen(server.url + "/_textmill/metrics") as answer:
        assert b"textmill_requests_total" in answer.read()
    assert own_page(server, "POST", "/_textmill/keys", {"role": "king"})[0] == 400
    assert own_page(server, "GET", "/_textmill/nothing")[0] == 404
    assert own_page(server, "GET", "/_textmill/keys", key=(root[0], "x"))[0] == 403


def test_every_answer_names_its_request(server, root):
    client = server.client("sagemaker")
    answer = client.list_models()["ResponseMetadata"]
    with pytest.raises(ClientError) as caught:
        client.describe_model(ModelName="nobody")
    ids = {answer["RequestId"], caught.value.response["ResponseMetadata"]["RequestId"]}
    lines = {line["request_id"]: line for line in server.log_lines() if line["event"] == "request"}
    assert ids <= lines.keys()
    line = lines[answer["RequestId"]]
    assert (line["operation"], line["status"], line["key"]) == ("sagemaker:ListModels", 200, "root")
