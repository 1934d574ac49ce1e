"""Instances of endpoints through what happens to them: programs with a port of their own, limits, hangs, much to say, slow answers,
restarts of the server."""

import contextlib
import json
import os
import signal
import socket
import threading
import time
from pathlib import Path

import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from .. import jobs
from ..servers import NO_NAMESPACES, Server, await_that, small_disk

# Answers with its port. "sleep N": N seconds later; "print N": says N MiB first; "fill": takes all of the disk.
PROGRAM = """#!/usr/bin/python3
import os, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
PORT = int({port})
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def answer(self, body=b""):
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers(); self.wfile.write(body)
    do_GET = answer
    def do_POST(self):
        word, _, number = self.rfile.read(int(self.headers["Content-Length"])).decode().partition(" ")
        if word == "sleep":
            print("sleeping", flush=True)
            time.sleep(float(number))
            print("slept", flush=True)
        if word == "print":
            for _ in range(int(number) * 1024): print("x" * 1023)
            print("the last line", flush=True)
        if word == "fill":
            with open("/tmp/cache", "wb", buffering=0) as cache:
                try:
                    while True: cache.write(b"x" * 65536)
                except OSError: pass
        self.answer(str(PORT).encode())
    def log_message(self, *_): pass
class Server(ThreadingHTTPServer):
    allow_reuse_address = {port} != 8080
Server(("0.0.0.0", PORT), Handler).serve_forever()
"""
TOLD = 'os.environ["SAGEMAKER_BIND_TO_PORT"]'


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """image(port): of the program, which listens at that port."""
    top = tmp_path_factory.mktemp("programs")

    def make(port=TOLD):
        path = top / f"program-{len(str(port))}"
        path.write_text(PROGRAM.format(port=port))
        path.chmod(0o755)
        for folder in (top, *top.parents[:2]):
            folder.chmod(0o755)
        return f"process://{path}"

    return make


@contextlib.contextmanager
def serving(build, folder, *options, wrapper=()):
    server = Server(build / "textmill", folder, "--sync", "process", *options).start(wrapper)
    try:
        yield server
    finally:
        sagemaker = server.client("sagemaker")
        for endpoint in sagemaker.list_endpoints()["Endpoints"]:
            sagemaker.delete_endpoint(EndpointName=endpoint["EndpointName"])
        await_that(lambda: not sagemaker.list_endpoints()["Endpoints"], "all are gone", 60)
        server.stop()


@pytest.fixture
def serve(build, tmp_path):
    tmp_path.chmod(0o755)  # without namespaces, programs of another user go there
    with contextlib.ExitStack() as stack:
        yield lambda *options, **more: stack.enter_context(serving(build, tmp_path / "data", *options, **more))


@pytest.fixture(scope="module")
def slow(build, image, tmp_path_factory):
    """A request that takes too long, on its way while the other tests run: its thread, and what comes of it."""
    with serving(build, tmp_path_factory.mktemp("slow") / "data") as server:
        deploy(server, "slow", image())
        before, outcome = programs(server), {}

        def run():
            begin = time.monotonic()
            try:
                ask(server, "slow", "sleep 70")
            except ClientError as error:
                outcome.update(error.response, seconds=time.monotonic() - begin)

        thread = threading.Thread(target=run)
        thread.start()
        yield thread, outcome, lambda: programs(server) == before


def deploy(server, name, image, count=1, kind="ml.m5.large", **more):
    sagemaker = server.client("sagemaker")
    sagemaker.create_model(ModelName=name, PrimaryContainer={"Image": image}, ExecutionRoleArn=jobs.ROLE, **more)
    sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[
        {"VariantName": "v", "ModelName": name, "InstanceType": kind, "InitialInstanceCount": count}])
    sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
    return await_that(lambda: (d := sagemaker.describe_endpoint(EndpointName=name))["EndpointStatus"] != "Creating" and d, "it is settled", 60)


def ask(server, name, body="x"):
    runtime = server.client("sagemaker-runtime", check=False, config=Config(read_timeout=80))
    return runtime.invoke_endpoint(EndpointName=name, Body=body.encode())["Body"].read().decode()


def said(server, name):
    logs, group = server.client("logs"), f"/aws/sagemaker/Endpoints/{name}"
    pages = logs.get_paginator("filter_log_events").paginate(logGroupName=group)
    return [e["message"] for page in pages for e in page["events"]]


def programs(server):
    """The processes of instances' programs, by instance."""
    found, known = {}, {f.name for f in (server.folder / "attempts").iterdir()}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            environment = (process / "environ").read_bytes()
            name = environment.partition(b"HOSTNAME=")[2].split(b"\0")[0].decode()
            if name in known:
                found.setdefault(name, []).append(int(process.name))
    return found


def is_free(port):
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def test_programs_with_a_port_of_their_own(serve, image, slow):  # begins
    server = serve()
    shown = deploy(server, "two", image(8080), count=2)
    assert shown["EndpointStatus"] == "InService", (shown, said(server, "two"))
    assert deploy(server, "third", image(8080))["EndpointStatus"] == "InService", said(server, "third")
    assert {ask(server, "two") for _ in range(4)} == {ask(server, "third")} == {"8080"}
    assert any("it is started again in a network of its own" in line for line in said(server, "two"))
    assert len(programs(server)) == 3
    runtime = server.client("sagemaker-runtime", check=False)
    body = os.urandom(3 << 20)  # both ways through the relay
    with pytest.raises(ClientError):  # no text: the program breaks off
        runtime.invoke_endpoint(EndpointName="two", Body=body)
    assert ask(server, "two", "x" * (3 << 20)) == "8080"


@pytest.mark.skipif(os.geteuid() != 0, reason="the system without namespaces is made by root")
def test_a_port_of_its_own_without_namespaces(serve, image):
    if not is_free(8080):
        pytest.skip("something listens at port 8080 here")
    server = serve(wrapper=NO_NAMESPACES)
    alone = deploy(server, "alone", image(8080), EnableNetworkIsolation=True)
    assert alone["EndpointStatus"] == "Failed" and "EnableNetworkIsolation: this system lets us make no network" in alone["FailureReason"], alone
    assert deploy(server, "first", image(8080))["EndpointStatus"] == "InService", said(server, "first")
    assert ask(server, "first") == "8080"
    second = deploy(server, "second", image(8080))
    assert second["EndpointStatus"] == "Failed" and "Port 8080 is taken. Where the system makes no network" in second["FailureReason"], second


def test_limits_by_instance_type(serve, image):
    server = serve()
    assert deploy(server, "small", image(), kind="ml.c5.large")["EndpointStatus"] == "InService"
    limits = next(line for line in said(server, "small") if line.startswith("Limits: "))
    name = next(iter(programs(server)))
    groups = {p.name: p for p in Path("/sys/fs/cgroup").glob(f"**/textmill-{name}-{name}/*")}
    if "rlimit" in limits:
        assert "Max data size             4294967296" in Path(f"/proc/{programs(server)[name][0]}/limits").read_text()
    else:
        memory = groups.get("memory.max") or groups["memory.limit_in_bytes"]
        assert int(memory.read_text()) == min(4 << 30, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGESIZE")) // 4096 * 4096
        if cpu := groups.get("cpu.cfs_quota_us"):
            assert int(cpu.read_text()) == 100_000 * min(2, os.cpu_count())
    assert deploy(server, "gpu", image(), kind="ml.p3.16xlarge")["EndpointStatus"] == "InService"
    assert any("has GPUs: this runs on the CPU" in line for line in said(server, "gpu"))


def test_a_hung_instance_is_replaced(serve, image):
    server = serve("--hung-after", "2")
    deploy(server, "e", image())
    (before, pids), = programs(server).items()
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    await_that(lambda: set(programs(server)) - {before}, "another one", 60)
    for pid in pids:
        os.kill(pid, signal.SIGCONT)  # it was asked to end
    await_that(lambda: before not in programs(server), "the hung one is gone")
    await_that(lambda: server.client("sagemaker").describe_endpoint(EndpointName="e")["ProductionVariants"][0]["CurrentInstanceCount"] == 1, "it is ready", 30)
    assert ask(server, "e") and server.client("sagemaker").describe_endpoint(EndpointName="e")["EndpointStatus"] == "InService"
    # One that works is none that hangs, however long it takes.
    (name, _), = programs(server).items()
    assert ask(server, "e", "sleep 6") and list(programs(server)) == [name]


def test_its_log_goes_on_after_much(serve, image):
    server = serve()
    deploy(server, "e", image())
    ask(server, "e", "print 80")
    last = lambda: said_last(server, "e")
    time.sleep(2)  # it may say some KiB more each second
    ask(server, "e", "sleep 0.001")
    await_that(lambda: last() == "slept", "the log goes on", 60)
    journal = next((server.folder / "attempts").glob("*/journal"))
    assert journal.stat().st_size > 64 << 20 and journal.stat().st_blocks * 512 < 16 << 20, "what was read does not stay on the disk"


def said_last(server, name):
    logs, group = server.client("logs"), f"/aws/sagemaker/Endpoints/{name}"
    stream = logs.describe_log_streams(logGroupName=group)["logStreams"][0]["logStreamName"]
    events = logs.get_log_events(logGroupName=group, logStreamName=stream, limit=1)["events"]
    return events and events[-1]["message"]


def test_restarts(serve, image):
    """An instance keeps what it holds, whether the server ends in order or not."""
    server = serve()
    deploy(server, "e", image())
    before = programs(server)
    answers = {}

    def keep(name, body):
        try:
            answers[name] = ask(server, "e", body)
        except (ClientError, BotoCoreError) as error:
            answers[name] = error

    def hold(name, body):
        thread = threading.Thread(target=keep, args=(name, body))
        count = said(server, "e").count("sleeping")
        thread.start()
        await_that(lambda: said(server, "e").count("sleeping") == count + 1, "it has the request")
        return thread

    held = hold("in order", "sleep 12")
    server.stop()
    held.join()
    assert answers["in order"].isdigit(), answers
    server.start()
    held = hold("killed", "sleep 3")
    server.kill()
    held.join()
    assert isinstance(answers["killed"], BotoCoreError), answers  # its connection went with the server
    server.start()
    assert ask(server, "e") and programs(server) == before
    await_that(lambda: said(server, "e").count("slept") == 2, "what it held was done to the end")


def test_an_answer_has_a_minute(slow):
    thread, outcome, unchanged = slow
    thread.join()
    assert outcome["Error"]["Code"] == "ModelError" and outcome["OriginalStatusCode"] == 0, outcome
    assert outcome["Error"]["Message"].startswith('Received server error (0) from primary with message "Your invocation timed out while waiting for a '
                                                  'response from container primary. Review the latency metrics'), outcome
    assert 59 < outcome["seconds"] < 66 and unchanged()


def test_an_instance_that_fills_the_disk(build, image, tmp_path):
    """It is ended, its files go, and another takes its place."""
    with small_disk(tmp_path / "disk", 400) as disk, serving(build, disk / "data") as server:
        deploy(server, "fills", image())
        deploy(server, "other", image())
        before = programs(server)
        answer_or_none(server, "fills", "fill")  # it may be ended before it has answered
        await_that(lambda: len(now := programs(server)) == 2 and now != before, "another instance is there", 30)
        port = await_that(lambda: answer_or_none(server, "fills"), "it answers", 30)
        assert port.isdigit() and ask(server, "other").isdigit()
        assert server.health() == (200, {"status": "ok"})


def answer_or_none(server, name, body="x"):
    with contextlib.suppress(ClientError):
        return ask(server, name, body)
