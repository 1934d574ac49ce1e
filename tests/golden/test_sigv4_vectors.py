"""The published test vectors of Signature Version 4, all of them: header and query form, canonical request, string to sign,
signature. They come in the source of the package awscrt, which tools/setup.sh unpacks."""

import hashlib
import json
import re
import subprocess

import pytest

from tests.conftest import ROOT

SUITE = ROOT / ".venv" / "share" / "aws-signing-test-suite" / "v4"
FORMS = ("header", "query")


def signed_requests() -> list:
    """(case, form, folder)"""
    return [pytest.param(folder, form, id=f"{folder.name}-{form}") for folder in (sorted(SUITE.iterdir()) if SUITE.exists() else [])
            for form in FORMS if (folder / f"{form}-signed-request.txt").exists()]


def parse(text):
    """Method, target, headers, body. Targets of the suite hold spaces; values may go on in the next line."""
    head, _, body = text.partition("\n\n")
    first, *lines = re.sub(r"\n[ \t]+", " ", head).split("\n")
    method, rest = first.split(" ", 1)
    headers = [line.split(":", 1) for line in lines if line]
    return method, rest.rsplit(" ", 1)[0], headers, body


@pytest.fixture(scope="module")
def signer(golden):
    process = subprocess.Popen([golden("sigv4")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(**request):
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        return json.loads(process.stdout.readline())

    yield ask
    process.stdin.close()
    process.wait()


@pytest.mark.skipif(not SUITE.exists(), reason="the published vectors are not there: tools/setup.sh python:tests brings them")
def test_the_suite_is_whole():
    assert len(signed_requests()) >= 70


@pytest.mark.parametrize("folder, form", signed_requests())
def test_vector(signer, folder, form):
    context = json.loads((folder / "context.json").read_text())
    method, target, headers, body = parse((folder / f"{form}-signed-request.txt").read_text())
    credentials, time = context["credentials"], re.sub(r"[-:]", "", context["timestamp"])
    if form == "header":
        authorization = next(value for name, value in headers if name.lower() == "authorization")
        signed = re.search(r"SignedHeaders=([^,]*)", authorization)[1].split(";")
        signature = re.search(r"Signature=(\w+)", authorization)[1]
    else:
        signed = re.search(r"X-Amz-SignedHeaders=([^&]*)", target)[1].replace("%3B", ";").split(";")
        signature = re.search(r"X-Amz-Signature=(\w+)", target)[1]
        if context.get("omit_session_token"):  # its client puts the token there after signing
            target = re.sub(r"&X-Amz-Security-Token=[^&]*", "", target)
    got = signer(method=method, target=target, headers=headers, signed=signed, payload=hashlib.sha256(body.encode()).hexdigest(), time=time,
                 region=context["region"], service=context["service"], secret=credentials["secret_access_key"], as_sent=not context["normalize"])
    assert got["canonical"] == (folder / f"{form}-canonical-request.txt").read_text()
    assert got["string_to_sign"] == (folder / f"{form}-string-to-sign.txt").read_text()
    assert got["signature"] == signature == (folder / f"{form}-signature.txt").read_text()
