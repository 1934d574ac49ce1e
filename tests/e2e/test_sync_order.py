"""What the kernel saw: no 2xx leaves before the sync that covers it. Several clients write at once under strace; each
fact is found in the write-ahead log by its name, and its answer by the request id that the client chose."""

import hashlib
import re
import shutil
import threading
import uuid

import pytest

from ..servers import Server

STRACE = ("strace", "-f", "-y", "-s", "5000", "-e", "trace=pwrite64,fsync,fdatasync,sendmsg,linkat", "-e", "signal=none", "-o")


def calls_in(trace):
    """(first line, last line, name, text) of each call: other threads' lines may lie between."""
    begun = {}
    for number, line in enumerate(trace.read_text(errors="replace").splitlines()):
        thread, text = line.split(None, 1)
        if "<unfinished ...>" in text:
            begun[thread] = number, text
            continue
        first, head = number, ""
        if resumed := re.match(r"<\.\.\. \w+ resumed>", text):
            if thread not in begun:
                continue
            first, head = begun.pop(thread)
            text = text[resumed.end():]
        text = head + text
        if name := re.match(r"\w+(?=\()", text):
            yield first, number, name[0], text


def too_early(trace, facts) -> list[str]:
    """The names among `facts` (name: request id) that were acknowledged before they were on disk."""
    calls = list(calls_in(trace))
    early = []
    for name, request in facts.items():
        written = min((last for _, last, call, text in calls if call == "pwrite64" and "-wal>" in text and name in text), default=None)
        answered = min((first for first, _, call, text in calls if call == "sendmsg" and request in text), default=None)
        assert answered is not None, name
        if written is None or not any(call in ("fsync", "fdatasync") and "-wal>" in text and first > written and last < answered for first, last, call, text in calls):
            early.append(name)
    return early


def write_under_strace(program, tmp_path):
    """Models, objects in rows and objects in files, by several clients: their names, and the ids of their requests."""
    trace, facts = tmp_path / "trace", {}
    server = Server(program, tmp_path / "data").start((*STRACE, str(trace)))

    def client(service):
        made = server.client(service, check=False)
        made.meta.events.register("before-sign", lambda request, **_: request.headers.__setitem__("x-request-id", made.next_id))
        return made

    def write(number):
        sagemaker, s3 = client("sagemaker"), client("s3")
        for i in range(6):
            for kind in ("model", "small", "large"):
                name, request = f"{kind}-{number}-{i}-{uuid.uuid4().hex}", uuid.uuid4().hex
                sagemaker.next_id = s3.next_id = request
                if kind == "model":
                    sagemaker.create_model(ModelName=name, PrimaryContainer={"Image": "i"})
                else:
                    s3.put_object(Bucket="bucket", Key=name, Body=uuid.uuid4().bytes * (10 if kind == "small" else 20_000))
                facts[name] = request

    try:
        first = client("s3")
        first.next_id = uuid.uuid4().hex
        first.create_bucket(Bucket="bucket")
        for name in ("twin-1", "twin-2"):  # of the same bytes
            first.put_object(Bucket="bucket", Key=name, Body=b"twin" * 20_000)
        threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        server.stop()
    assert len(facts) == 4 * 6 * 3
    return trace, facts


@pytest.fixture(autouse=True)
def strace():
    if not shutil.which("strace"):
        pytest.skip("strace is not installed")


def test_no_answer_before_its_sync(build, tmp_path):
    trace, facts = write_under_strace(build / "textmill", tmp_path)
    assert too_early(trace, facts) == []
    # An object's file: its bytes are synced before it has a name, and the name's folder before the fact is written.
    calls = list(calls_in(trace))
    links = [(first, last, text) for first, last, call, text in calls if call == "linkat" and text.endswith("= 0")]
    assert len(links) == 25
    for first, last, text in links:
        descriptor = re.search(r"/proc/self/fd/(\d+)", text)[1]
        assert any(call in ("fsync", "fdatasync") and text.startswith((f"fsync({descriptor}<", f"fdatasync({descriptor}<")) and end < first
                   for _, end, call, text in calls)
        folder = re.search(r'"[^"]*/objects/(\w\w)/\w+"', text)[1]
        assert any(call == "fsync" and f"/objects/{folder}>" in text and begin > last for begin, _, call, text in calls)
    # Bytes that are there already: whoever named their file may not have come to its folder yet.
    folder = hashlib.sha256(b"twin" * 20_000).hexdigest()[:2]
    first, second = (next(begin for begin, _, call, text in calls if call == "pwrite64" and "-wal>" in text and f"twin-{i}" in text) for i in (1, 2))
    assert any(call == "fsync" and f"/objects/{folder}>" in text and first < begin and end < second for begin, end, call, text in calls)


def test_a_server_that_answers_too_early_is_found_out(build, tmp_path):
    trace, facts = write_under_strace(build / "broken" / "textmill", tmp_path)
    assert too_early(trace, facts)
