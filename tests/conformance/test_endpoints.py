"""Endpoints: a model is deployed, answers, and goes; programs that serve by themselves; what goes wrong."""

import contextlib
import io
import json
import os
import pty
import shutil
import signal
import subprocess
import tarfile
import time

import pytest
from botocore.exceptions import ClientError, EventStreamError

from .. import jobs, tiny_models
from ..servers import Server, await_that

ARN = "arn:aws:sagemaker:us-east-1:123456789012"
ROLE = "arn:aws:iam::123456789012:role/service/Role"

PROGRAM = """#!/usr/bin/python3
# Echoes; "/fail" in the body: an error of its own; "/crash": breaks off in the middle of a stream.
import os, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

assert sys.argv[1:] == ["serve"], sys.argv

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def head(self, status, **fields):
        self.send_response(status)
        for name, value in fields.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
    def do_GET(self):
        self.head(200, Content_Length="0")
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if body == b"/fail":
            self.head(418, Content_Length="9", Content_Type="text/plain")
            return self.wfile.write(b"a teapot!")
        if body in (b"/stream", b"/crash"):
            self.head(200, Transfer_Encoding="chunked", Content_Type="text/plain")
            for i in range(50):
                piece = b"token%d " % i
                self.wfile.write(b"%x\\r\\n%s\\r\\n" % (len(piece), piece))
                self.wfile.flush()
                time.sleep(0.02)
                if body == b"/crash" and i == 20:
                    print("breaking off", flush=True)
                    os._exit(3)
            return self.wfile.write(b"0\\r\\n\\r\\n")
        seen = [self.headers.get(h, "-") for h in ("Content-Type", "Accept", "X-Amzn-SageMaker-Custom-Attributes", "Authorization")]
        answer = ("|".join(seen) + "|").encode() + body
        self.head(200, Content_Length=str(len(answer)), Content_Type="text/x-echo", X_Amzn_SageMaker_Custom_Attributes="from-the-program")
        self.wfile.write(answer)
    def log_message(self, *_): pass

print("the program is up", flush=True)
ThreadingHTTPServer(("127.0.0.1", int(os.environ["SAGEMAKER_BIND_TO_PORT"])), Handler).serve_forever()
"""


@pytest.fixture(scope="module")
def sagemaker(server):
    return server.client("sagemaker")


@pytest.fixture(scope="module")
def runtime(server):
    return server.client("sagemaker-runtime", check=False)


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """program(text): the image of a program with that text."""
    folder = tmp_path_factory.mktemp("programs")
    folder.chmod(0o755)

    def make(text):
        path = folder / f"program{len(list(folder.iterdir()))}"
        path.write_text(text)
        path.chmod(0o755)
        return f"process://{path}"

    return make


@pytest.fixture
def upload(server, name):
    """upload({name: bytes or path}): the address of a model.tar.gz of these files."""

    def make(files):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as tar:
            for inside, content in files.items():
                if isinstance(content, bytes):
                    info = tarfile.TarInfo(inside)
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))
                else:
                    tar.add(content, inside)
        bucket = name("bucket")
        s3 = server.client("s3")
        s3.create_bucket(Bucket=bucket)
        s3.put_object(Bucket=bucket, Key="model.tar.gz", Body=buffer.getvalue())
        return f"s3://{bucket}/model.tar.gz"

    return make


@pytest.fixture
def deploy(sagemaker, name):
    """deploy(image, ...): an endpoint; it is deleted after the test. With `wait`, its description once it is InService or Failed."""
    made = []

    def make(image, url=None, wait=True, count=1, environment=None, isolated=False):
        endpoint = name("Endpoint")
        data = {"ModelDataSource": {"S3DataSource": url}} if isinstance(url, dict) else {"ModelDataUrl": url} if url else {}
        container = {"Image": image, "Environment": environment or {}} | data
        sagemaker.create_model(ModelName=endpoint, PrimaryContainer=container, ExecutionRoleArn=ROLE, EnableNetworkIsolation=isolated)
        sagemaker.create_endpoint_config(EndpointConfigName=endpoint, ProductionVariants=[
            {"VariantName": "AllTraffic", "ModelName": endpoint, "InstanceType": "ml.m5.large", "InitialInstanceCount": count}])
        assert sagemaker.create_endpoint(EndpointName=endpoint, EndpointConfigName=endpoint)["EndpointArn"] == f"{ARN}:endpoint/{endpoint.lower()}"
        made.append(endpoint)
        return settled(sagemaker, endpoint) if wait else sagemaker.describe_endpoint(EndpointName=endpoint)

    yield make
    for endpoint in made:
        try:
            settled(sagemaker, endpoint)
            sagemaker.delete_endpoint(EndpointName=endpoint)
        except ClientError:
            continue
    for endpoint in made:
        await_that(lambda: gone(sagemaker, endpoint), f"{endpoint} is gone", 60)


def settled(sagemaker, endpoint):
    return await_that(lambda: (d := sagemaker.describe_endpoint(EndpointName=endpoint))["EndpointStatus"] != "Creating" and d, f"{endpoint} is settled", 60)


def gone(sagemaker, endpoint):
    try:
        sagemaker.describe_endpoint(EndpointName=endpoint)
    except ClientError as error:
        return error.response["Error"]["Message"].startswith("Could not find endpoint")


def instances(server, endpoint):
    """The attempt folders of an endpoint's instances; some are being made or removed as we look."""
    found = []
    for folder in (server.folder / "attempts").glob("i-*"):
        with contextlib.suppress(FileNotFoundError):
            if json.loads((folder / "task.json").read_text())["name"].startswith(endpoint + "/"):
                found.append(folder)
    return found


def runner_of(folder):
    first = (folder / "journal").read_text().splitlines()[0]
    return json.loads(first)["pid"]


def log_of(server, endpoint):
    logs = server.client("logs")
    group = f"/aws/sagemaker/Endpoints/{endpoint}"
    streams = [s["logStreamName"] for s in logs.describe_log_streams(logGroupName=group)["logStreams"]]
    return {s: [e["message"] for e in logs.get_log_events(logGroupName=group, logStreamName=s, startFromHead=True)["events"]] for s in streams}


def test_a_program_from_creation_to_deletion(server, sagemaker, runtime, deploy, program, refused):
    shown = deploy(program(PROGRAM))
    endpoint, arn = shown["EndpointName"], shown["EndpointArn"]
    assert shown["EndpointStatus"] == "InService" and shown["EndpointConfigName"] == endpoint
    variant = shown["ProductionVariants"][0]
    assert (variant["VariantName"], variant["CurrentInstanceCount"], variant["DesiredInstanceCount"], variant["CurrentWeight"]) == ("AllTraffic", 1, 1, 1.0)
    assert [e["EndpointStatus"] for e in sagemaker.list_endpoints(NameContains=endpoint, StatusEquals="InService")["Endpoints"]] == ["InService"]
    answer = runtime.invoke_endpoint(EndpointName=endpoint, Body=b"\x00\xffbytes", ContentType="application/x-mine", Accept="text/x-echo", CustomAttributes="mine")
    assert answer["Body"].read() == b"application/x-mine|text/x-echo|mine|-|\x00\xffbytes"
    assert (answer["ContentType"], answer["InvokedProductionVariant"], answer["CustomAttributes"]) == ("text/x-echo", "AllTraffic", "from-the-program")
    assert answer["ResponseMetadata"]["RequestId"]
    bare = runtime.invoke_endpoint(EndpointName=endpoint, Body=b"x")["Body"].read()
    assert bare == b"-|*/*|-|-|x", "nothing of the caller's signature, whatever else is not said"
    assert runtime.invoke_endpoint(EndpointName=endpoint.upper(), TargetVariant="AllTraffic", Body=b"x")["Body"].read().endswith(b"|x")
    stream, lines = next(iter(await_that(lambda: any((log := log_of(server, endpoint)).values()) and log, "its log").items()))
    assert stream.startswith("AllTraffic/i-") and "the program is up" in lines

    taken = ("ValidationException", 400, f'Cannot create already existing endpoint "{arn}".')
    assert refused(sagemaker.create_endpoint, EndpointName=endpoint, EndpointConfigName=endpoint) == taken
    code, _, message = refused(sagemaker.update_endpoint, EndpointName=endpoint, EndpointConfigName=endpoint)
    assert code == "ValidationException" and "second endpoint" in message
    folders = instances(server, endpoint)
    sagemaker.delete_endpoint(EndpointName=endpoint)
    await_that(lambda: gone(sagemaker, endpoint), "it is gone")
    missing = ("ValidationException", 400, f'Could not find endpoint "{arn}".')
    assert refused(sagemaker.describe_endpoint, EndpointName=endpoint) == missing
    assert refused(sagemaker.delete_endpoint, EndpointName=endpoint) == missing
    assert refused(runtime.invoke_endpoint, EndpointName=endpoint, Body=b"x") == ("ValidationError", 400, f"Endpoint {endpoint} of account 123456789012 not found.")
    assert not any(folder.exists() for folder in folders)


def test_in_service_means_it_can_be_invoked(sagemaker, runtime, deploy, program):
    """Asked for without a pause, in the moment that the status turns."""
    image = program(PROGRAM)
    for _ in range(5):
        endpoint = deploy(image, wait=False)["EndpointName"]
        while sagemaker.describe_endpoint(EndpointName=endpoint)["EndpointStatus"] == "Creating":
            pass
        assert runtime.invoke_endpoint(EndpointName=endpoint, Body=b"now")["Body"].read().endswith(b"|now")


def test_errors_before_anything_happens(sagemaker, runtime, name, deploy, program, refused):
    endpoint = name()
    assert refused(sagemaker.create_endpoint, EndpointName=endpoint, EndpointConfigName="Nobody") == (
        "ValidationException", 400, f'Could not find endpoint configuration "{ARN}:endpoint-config/nobody".')
    assert refused(sagemaker.create_endpoint, EndpointName="a b", EndpointConfigName="c")[0] == "ValidationException"
    assert refused(sagemaker.update_endpoint, EndpointName=endpoint, EndpointConfigName="c")[2] == f'Could not find endpoint "{ARN}:endpoint/{endpoint}".'
    assert gone(sagemaker, endpoint)
    slow = deploy(program("#!/bin/sh\nexec sleep 2\n"), wait=False)
    assert slow["EndpointStatus"] == "Creating"
    assert refused(sagemaker.update_endpoint, EndpointName=slow["EndpointName"], EndpointConfigName=slow["EndpointConfigName"])[2] == f'Cannot update in-progress endpoint "{slow["EndpointArn"]}".'
    assert refused(runtime.invoke_endpoint, EndpointName=slow["EndpointName"], Body=b"x")[0] == "ValidationError"


def test_a_programs_own_errors(runtime, deploy, program, refused):
    endpoint = deploy(program(PROGRAM))["EndpointName"]
    with pytest.raises(ClientError) as caught:
        runtime.invoke_endpoint(EndpointName=endpoint, Body=b"/fail")
    error = caught.value.response
    assert (error["Error"]["Code"], error["ResponseMetadata"]["HTTPStatusCode"]) == ("ModelError", 424)
    assert error["Error"]["Message"].startswith('Received client error (418) from primary with message "a teapot!". See ')
    assert (error["OriginalStatusCode"], error["OriginalMessage"]) == (418, "a teapot!")
    assert error["LogStreamArn"].endswith(f":log-group:/aws/sagemaker/Endpoints/{endpoint}")
    assert refused(runtime.invoke_endpoint, EndpointName=endpoint, TargetVariant="Other", Body=b"x")[0] == "ValidationError"
    assert refused(runtime.invoke_endpoint, EndpointName=endpoint, TargetModel="m.tar.gz", Body=b"x")[0] == "ValidationError"


def test_a_stream_piece_by_piece(runtime, deploy, program):
    endpoint = deploy(program(PROGRAM))["EndpointName"]
    begin = time.monotonic()
    answer = runtime.invoke_endpoint_with_response_stream(EndpointName=endpoint, Body=b"/stream")
    assert (answer["ContentType"], answer["InvokedProductionVariant"]) == ("text/plain", "AllTraffic")
    arrivals, parts = [], []
    for event in answer["Body"]:
        arrivals.append(time.monotonic() - begin)
        parts.append(event["PayloadPart"]["Bytes"])
    assert b"".join(parts) == b"".join(b"token%d " % i for i in range(50))
    assert len(parts) >= 10
    assert arrivals[0] < arrivals[-1] / 4

    got = []
    with pytest.raises(EventStreamError) as caught:
        for event in runtime.invoke_endpoint_with_response_stream(EndpointName=endpoint, Body=b"/crash")["Body"]:
            got.append(event["PayloadPart"]["Bytes"])
    assert b"".join(got).startswith(b"token0 token1 ") and "ModelStreamError" in str(caught.value)
    # The program is gone; another one takes its place.
    await_that(lambda: answers(runtime, endpoint), "it answers again")


def answers(runtime, endpoint):
    try:
        return runtime.invoke_endpoint(EndpointName=endpoint, Body=b"x")["Body"].read().endswith(b"|x")
    except ClientError as error:
        assert error.response["Error"]["Code"] in ("ServiceUnavailable", "ModelError"), error
        return False


def test_what_does_not_come_into_service(sagemaker, deploy, program, upload, minilm):
    words = "The primary container for production variant AllTraffic did not pass the ping health check. Please check CloudWatch logs for this endpoint."
    shown = deploy(program("#!/bin/sh\necho first words; echo last words >&2; exit 3\n"))
    assert shown["EndpointStatus"] == "Failed" and shown["FailureReason"].startswith(words) and "last words" in shown["FailureReason"]
    assert "Its last lines: first words" in shown["FailureReason"], "none of our own notes"
    hf = "763104351884.dkr.ecr.us-east-1.amazonaws.com/huggingface-pytorch-inference:2.1-transformers4.37-cpu"
    cases = {
        "process:///nowhere/program": (None, "process:///nowhere/program"),
        "example.com/own/image:1": (None, "others need podman or docker, and this server has neither"),
        hf: ({"weights.bin": b"x"}, "has no code/inference.py"),
        hf + "-py310": ({"code/inference.py": b"x"}, "python3 -m venv"),
        "textmill/serve": ({"../out": b"x"}, "../out"),
    }
    for image, (files, expected) in cases.items():
        shown = deploy(image, upload(files) if files else None)
        assert shown["EndpointStatus"] == "Failed" and shown["FailureReason"].startswith("ClientError: ") and expected in shown["FailureReason"], shown
        assert "/tmp/" not in shown["FailureReason"], "no path of the server's"
    assert "Could not find model data at s3://none/model.tar.gz." in deploy("textmill/serve", "s3://none/model.tar.gz")["FailureReason"]


@pytest.mark.parametrize("image", ["textmill/serve", "763104351884.dkr.ecr.us-east-1.amazonaws.com/huggingface-pytorch-inference:2.1-cpu"])
def test_a_model_of_ours(runtime, deploy, upload, tmp_path, image):
    folder = tiny_models.tiny_bert(tmp_path / "model", labels=["neg", "pos", "mixed"])
    shown = deploy(image, upload({f.name: f for f in folder.iterdir()}))
    assert shown["EndpointStatus"] == "InService", shown
    body = json.dumps({"inputs": ["a good film", "awful"], "parameters": {"top_k": 2}})
    answer = json.loads(runtime.invoke_endpoint(EndpointName=shown["EndpointName"], ContentType="application/json", Body=body)["Body"].read())
    assert len(answer) == 2 and all(len(one) == 2 and one[0]["score"] >= one[1]["score"] for one in answer)


def test_a_model_of_ours_by_an_executable_that_programs_do_not_see(build, tmp_path):
    """It may lie in /tmp, which is empty for a program, as may a build below /home."""
    shutil.copy(build / "textmill", tmp_path / "textmill")
    folder = tiny_models.tiny_bert(tmp_path / "model", labels=["neg", "pos"])
    server = Server(tmp_path / "textmill", tmp_path / "data").start()
    try:
        s3, sagemaker = server.client("s3"), server.client("sagemaker")
        s3.create_bucket(Bucket="models")
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as tar:
            tar.add(folder, ".")
        s3.put_object(Bucket="models", Key="model.tar.gz", Body=buffer.getvalue())
        for name, image in (("framework", "763104351884.dkr.ecr.us-east-1.amazonaws.com/huggingface-pytorch-inference:2.1-cpu"), ("own", "textmill/serve")):
            sagemaker.create_model(ModelName=name, PrimaryContainer={"Image": image, "ModelDataUrl": "s3://models/model.tar.gz"})
            sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[{"VariantName": "v", "ModelName": name, "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}])
            sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
        for name in ("framework", "own"):
            await_that(lambda: sagemaker.describe_endpoint(EndpointName=name)["EndpointStatus"] != "Creating", "it is made")
            assert (shown := sagemaker.describe_endpoint(EndpointName=name))["EndpointStatus"] == "InService", shown
            sagemaker.delete_endpoint(EndpointName=name)
            await_that(lambda: gone(sagemaker, name), "it is gone")
    finally:
        server.stop()


def test_killed_instances_are_replaced_and_outlive_the_server(server, sagemaker, runtime, deploy, program):
    endpoint = deploy(program(PROGRAM), count=2)["EndpointName"]
    before = {f.name for f in instances(server, endpoint)}
    assert len(before) == 2
    victim = instances(server, endpoint)[0]
    os.kill(runner_of(victim), signal.SIGKILL)
    await_that(lambda: victim.name not in {f.name for f in instances(server, endpoint)} and
               sagemaker.describe_endpoint(EndpointName=endpoint)["ProductionVariants"][0]["CurrentInstanceCount"] == 2, "another one")
    assert sagemaker.describe_endpoint(EndpointName=endpoint)["EndpointStatus"] == "InService"
    assert answers(runtime, endpoint)


def test_an_instance_that_cannot_be_replaced_says_so(server, sagemaker, deploy, upload, program):
    url = upload({"word": b"hello"})
    endpoint = deploy(program(PROGRAM), url)["EndpointName"]
    server.client("s3").delete_object(Bucket=url.split("/")[2], Key="model.tar.gz")
    os.kill(runner_of(instances(server, endpoint)[0]), signal.SIGKILL)
    why = f"This instance could not be started: ClientError: Could not find model data at {url}."
    await_that(lambda: any(why in lines for lines in log_of(server, endpoint).values()), "it says so")
    assert sagemaker.describe_endpoint(EndpointName=endpoint)["EndpointStatus"] == "InService"


def test_instances_outlive_the_server(build, tmp_path, program):
    from ..servers import Server
    server = Server(build / "textmill", tmp_path / "data", "--sync", "process").start()
    try:
        sagemaker = server.client("sagemaker")
        sagemaker.create_model(ModelName="m", PrimaryContainer={"Image": program(PROGRAM)}, ExecutionRoleArn=ROLE)
        sagemaker.create_endpoint_config(EndpointConfigName="c", ProductionVariants=[
            {"VariantName": "v", "ModelName": "m", "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}])
        sagemaker.create_endpoint(EndpointName="e", EndpointConfigName="c")
        assert settled(sagemaker, "e")["EndpointStatus"] == "InService"
        before = [(f.name, runner_of(f)) for f in instances(server, "e")]
        server.kill()
        server.start()
        # In service from the first request on: what was ready is known before the server listens.
        assert answers(server.client("sagemaker-runtime", check=False), "e")
        assert [(f.name, runner_of(f)) for f in instances(server, "e")] == before
        server.client("sagemaker").delete_endpoint(EndpointName="e")
        await_that(lambda: gone(server.client("sagemaker"), "e"), "it is gone")
    finally:
        server.stop()


def test_packages_that_never_come_keep_nobody_waiting(server, sagemaker, deploy, upload, program):
    python = server.folder / "environments/mxnet/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\ncase "$*" in *requirements*) trap "" TERM; while :; do sleep 1; done;; esac\n')
    python.chmod(0o755)
    waiting = [deploy("x/mxnet-inference:1", upload({"code/inference.py": b"", "code/requirements.txt": b"a==%d\n" % i}), wait=False)["EndpointName"] for i in range(5)]
    await_that(lambda: len(list((server.folder / "cache/requirements").glob("*.partial/journal"))) == 5, "five installations run")
    assert deploy(program(PROGRAM))["EndpointStatus"] == "InService"
    for endpoint in waiting:
        assert sagemaker.describe_endpoint(EndpointName=endpoint)["EndpointStatus"] == "Creating"
        sagemaker.delete_endpoint(EndpointName=endpoint)
    for endpoint in waiting:
        await_that(lambda: gone(sagemaker, endpoint), f"{endpoint} is gone", 30)


def test_one_that_ends_when_it_was_ready_is_started_ever_more_slowly(server, deploy, program):
    shown = deploy(program(PROGRAM.replace("def do_GET(self):", "def do_GET(self):\n        import threading; threading.Timer(0.05, os._exit, [1]).start()")))
    begun = lambda: [base_time(line) for line in server.log_lines() if line["event"] == "instance_started" and line["endpoint"] == shown["EndpointName"]]
    times = await_that(lambda: len(t := begun()) >= 4 and t, "four were started", 30)
    assert times[3] - times[0] > 1.4, times  # two pauses: half a second, and a second


def base_time(line):
    from datetime import datetime
    return datetime.fromisoformat(line["time"].replace("Z", "+00:00")).timestamp()


@pytest.mark.parametrize("port", ["9123", "abc"])
def test_a_models_own_port_is_not_asked_for(deploy, program, runtime, port):
    shown = deploy(program(PROGRAM), environment={"SAGEMAKER_BIND_TO_PORT": port})
    assert shown["EndpointStatus"] == "InService" and answers(runtime, shown["EndpointName"])


PROBE = PROGRAM.replace("answer = (", """import json, socket, urllib.parse
        try:
            where = urllib.parse.urlparse(body.decode())
            socket.create_connection((where.hostname, where.port), 2)
            reached = "reached"
        except OSError as error:
            reached = str(error)
        answer = json.dumps([reached, sorted(n for n in os.environ if n.startswith(("AWS_", "S3_")))]).encode() or (""")


@pytest.mark.parametrize("port", ["int(os.environ[\"SAGEMAKER_BIND_TO_PORT\"])", "8080"])
def test_isolation(server, deploy, program, runtime, port):
    """No network but its own, no credentials; requests come in all the same, wherever it listens, and to each instance."""
    image = program(PROBE.replace('int(os.environ["SAGEMAKER_BIND_TO_PORT"])', port))
    probe = lambda endpoint: json.loads(runtime.invoke_endpoint(EndpointName=endpoint, Body=server.url)["Body"].read())
    alone = deploy(image, count=2, isolated=True)
    assert alone["EndpointStatus"] == "InService", alone
    for _ in range(4):
        assert probe(alone["EndpointName"]) == ["[Errno 111] Connection refused", ["AWS_DEFAULT_REGION", "AWS_REGION"]]
    assert not any("started again" in line for lines in log_of(server, alone["EndpointName"]).values() for line in lines)
    if port != "8080":
        reached, names = probe(deploy(image)["EndpointName"])
        assert reached == "reached" and {"AWS_ENDPOINT_URL", "AWS_SECRET_ACCESS_KEY"} <= set(names)


def test_by_the_command_line(server, sagemaker, deploy, program, tmp_path, build):
    """An endpoint with the name of a job that is over; its instances on a terminal; that it was deleted ends what follows it."""
    endpoint = deploy(program(PROGRAM), count=2)["EndpointName"]
    server.client("s3").create_bucket(Bucket="jobs")
    tmp_path.chmod(0o755)
    sagemaker.create_training_job(**jobs.request(endpoint, jobs.script(tmp_path, "job", "echo from the job")))
    assert jobs.finish(sagemaker, endpoint)["TrainingJobStatus"] == "Completed"

    def run(command, *more, **kwargs):
        return subprocess.Popen([build / "textmill", command, endpoint, "--data-dir", server.folder, *more], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, **kwargs)

    names = await_that(lambda: all((log := log_of(server, endpoint)).values()) and list(log), "both speak")
    ours, theirs = pty.openpty()
    shown = run("logs", stdout=theirs)
    os.close(theirs)
    text = b""
    with contextlib.suppress(OSError):  # EIO: nobody holds the terminal any more
        while piece := os.read(ours, 65536):
            text += piece
    os.close(ours)
    assert shown.wait(30) == 0 and len(names) == 2 and all(name.encode() in text for name in names), text
    assert run("logs", "--kind", "job", stdout=subprocess.PIPE).communicate(timeout=30)[0].count("from the job") == 1
    follower = run("logs", "-f", stdout=subprocess.PIPE)
    assert "AllTraffic/i-" in follower.stdout.readline()
    stopper = run("stop", stdout=subprocess.PIPE)
    assert stopper.wait(30) == 0, stopper.communicate()
    await_that(lambda: gone(sagemaker, endpoint), "it is gone")
    assert not follower.communicate(timeout=30)[1] and follower.returncode == 0
