"""Server, runner or program of a training job, or a process of an endpoint's replica, is killed (-9) at random moments.
Afterwards every acknowledged job has one end with a true reason, all that its program said is there once, the endpoint
is back in service with all its replicas, and nothing is left of any."""

import collections
import json
import os
import random
import re
import signal
import socket
import threading
import time
from pathlib import Path

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from .. import jobs
from ..servers import Server, await_that

KILLS = 300 if os.environ.get("TEXTMILL_SOAK") else 30


@pytest.fixture
def server(build, tmp_path):
    server = Server(build / "textmill", tmp_path / "data", "--sync", "process", "--job-cpus", "4").start()
    server.client("s3").create_bucket(Bucket="jobs")
    yield server
    if server.process.poll() is None:
        server.stop()


def runners(server):
    """Of each attempt that is there: its journal's process, its events."""
    for folder in (server.folder / "jobs").glob("*"):
        try:
            events = [json.loads(line) for line in (folder / "journal").read_text().splitlines(keepends=True) if line.endswith("\n")]
            name = json.loads((folder / "task.json").read_text())["name"]
        except (FileNotFoundError, ValueError):
            events, name = [], None
        yield name, events


def in_transition(events):
    """Not begun, between two phases, or ended and not yet taken: all but a program that runs."""
    phases = [e["phase"] for e in events if e["e"] == "phase"]
    return not phases or phases[-1] != "Training" or events[-1]["e"] == "end"


def replicas(server):
    """Of each instance of the endpoint: its processes, the runner first; whether it takes requests."""
    for folder in (server.folder / "attempts").glob("i-*"):
        try:
            runner = json.loads((folder / "journal").read_text().splitlines()[0])["pid"]
            port = int(json.loads((folder / "task.json").read_text())["environment"]["SAGEMAKER_BIND_TO_PORT"])
        except (OSError, ValueError, IndexError):
            continue
        with socket.socket() as probe:
            yield [runner, *below(runner)], probe.connect_ex(("127.0.0.1", port)) == 0


def below(pid):
    """The processes that a process started, and those that they started."""
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            for child in map(int, children.read_text().split()):
                yield child
                yield from below(child)
        except OSError:
            pass


def belongs(pid, folder, mark=b"TRAINING_JOB_NAME="):
    """Whether it is the program of a job of this server."""
    try:
        return mark in Path(f"/proc/{pid}/environ").read_bytes() and str(folder).encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def left(server):
    """What should not be there once all jobs and endpoints are over."""
    folder = server.folder.parent
    processes = [int(p.name) for p in Path("/proc").glob("[0-9]*") if any(belongs(p.name, folder, mark) for mark in (b"TRAINING_JOB_NAME=", b"HOSTNAME=i-"))]
    mounts = [line for line in Path("/proc/self/mounts").read_text().splitlines() if str(server.folder) in line]
    attempts = {line["token"] for line in server.log_lines() if line["event"] == "job_attempt"} | {line["of"] for line in server.log_lines() if line.get("of")}
    groups = [str(p) for p in Path("/sys/fs/cgroup").rglob("textmill-*") if any(token in p.name for token in attempts)]
    return processes, mounts, groups, [p.name for where in ("jobs", "attempts") for p in (server.folder / where).glob("*")]


def test_a_job_goes_on_without_its_server(server, tmp_path):
    image = jobs.script(tmp_path, "slow", "for i in $(seq 1 40); do echo line $i loss=$i; sleep 0.05; done; echo m > model/m")
    sagemaker = server.client("sagemaker")
    metrics = {"MetricDefinitions": [{"Name": "loss", "Regex": "loss=(.*)"}]}
    sagemaker.create_training_job(**jobs.request("slow", image, algorithm=metrics))
    await_that(lambda: any("line 5" in e.get("text", "") for _, events in runners(server) for e in events), "it runs")
    server.kill()
    await_that(lambda: all(events[-1]["e"] == "end" for _, events in runners(server)), "it ends on its own")
    server.start()
    done = jobs.finish(server.client("sagemaker"), "slow")
    assert jobs.statuses(done) == ["Starting", "Downloading", "Training", "Uploading", "Completed"]
    lines = [line for line in jobs.log_of(server.client("logs"), "slow") if line.startswith("line")]
    assert lines == [f"line {i} loss={i}" for i in range(1, 41)]
    assert done["FinalMetricDataList"][0]["Value"] == 40
    assert server.client("s3").list_objects_v2(Bucket="jobs")["KeyCount"] == 1
    await_that(lambda: left(server) == ([], [], [], []), "nothing is left of it")  # removed behind the end that is told


def test_a_job_that_runs_begins_again_in_a_restored_folder(build, server, textmill, tmp_path):
    """A backup holds what was acknowledged, not what runs: there the job begins anew, and its log tells of both."""
    image = jobs.script(tmp_path, "waits", "echo it begins; until [ -e checkpoints/go ]; do sleep 0.05; done; echo it ends; echo m > model/m")
    sagemaker = server.client("sagemaker")
    sagemaker.create_training_job(**jobs.request("waits", image, CheckpointConfig={"S3Uri": "s3://jobs/c"}))
    await_that(lambda: "it begins" in jobs.log_of(server.client("logs"), "waits"), "it runs")
    server.client("s3").put_object(Bucket="jobs", Key="c/go", Body=b"")  # a job reads it when it begins
    textmill("backup", "--data-dir", server.folder, tmp_path / "copy")
    textmill("restore", "--data-dir", tmp_path / "restored", tmp_path / "copy")
    again = Server(build / "textmill", tmp_path / "restored", "--sync", "process").start()
    try:
        done = jobs.finish(again.client("sagemaker"), "waits")
        assert done["TrainingJobStatus"] == "Completed", done
        lines = [line for line in jobs.log_of(again.client("logs"), "waits") if line.startswith("it ")]
        assert lines == ["it begins", "it begins", "it ends"]
    finally:
        again.stop()
    sagemaker.stop_training_job(TrainingJobName="waits")
    assert jobs.finish(sagemaker, "waits")["TrainingJobStatus"] == "Stopped"


def test_a_lost_runner_is_followed_by_another(server, tmp_path):
    """It goes on from its checkpoint, as often as RetryStrategy allows; then the job fails and says why."""
    image = jobs.script(tmp_path, "count", "n=$(cat checkpoints/n 2>/dev/null || echo 0); echo from $n; for i in $(seq $((n + 1)) 1000); do echo $i > checkpoints/t; "
                        "mv checkpoints/t checkpoints/n; [ -e checkpoints/go ] && exit 0; sleep 0.02; done")
    sagemaker, s3, logs = (server.client(s) for s in ("sagemaker", "s3", "logs"))
    sagemaker.create_training_job(**jobs.request("count", image, CheckpointConfig={"S3Uri": "s3://jobs/c"}, RetryStrategy={"MaximumRetryAttempts": 1}))
    await_that(lambda: s3.list_objects_v2(Bucket="jobs", Prefix="c/").get("Contents"), "its first checkpoint")
    for last in (False, True):
        pid = await_that(lambda: next((e[0]["pid"] for _, e in runners(server) if e and not in_transition(e)), None), "its runner")
        os.kill(pid, signal.SIGKILL)
        if not last:
            await_that(lambda: sum(line.startswith("from") for line in jobs.log_of(logs, "count")) == 2, "the second attempt")
    done = jobs.finish(sagemaker, "count")
    assert done["TrainingJobStatus"] == "Failed" and done["FailureReason"].startswith("InternalServerError: the process that looked after the job ended")
    assert jobs.statuses(done) == ["Starting", "Downloading", "Training", "Restarting", "Downloading", "Training", "Failed"]
    begun = [int(line.split()[1]) for line in jobs.log_of(logs, "count") if line.startswith("from")]
    assert begun[0] == 0 and begun[1] > 0
    await_that(lambda: left(server) == ([], [], [], []), "nothing is left of it")  # removed behind the end that is told


class Load(threading.Thread):
    """Does its work over and over, whatever happens to the server."""

    service = "sagemaker"

    def __init__(self, server):
        super().__init__()
        self.server, self.stopping = server, threading.Event()

    def run(self):
        url, i = None, 0
        while not self.stopping.is_set():
            if url != self.server.url:  # it was started again
                url, self.client = self.server.url, self.server.client(self.service, check=False)
            try:
                self.work(i)
                i += 1
            except (BotoCoreError, ClientError):
                self.failed(i)
                i += 1
                self.stopping.wait(0.03)

    def failed(self, i):
        pass


class Creating(Load):
    """Jobs, some at a time; knows which were acknowledged, and whether they may begin again."""

    def __init__(self, server, image):
        super().__init__(server)
        self.image, self.acknowledged = image, {}

    def work(self, i):
        while len(list((self.server.folder / "jobs").glob("*"))) > 3:
            if self.stopping.wait(0.005):
                return
        retries = {"RetryStrategy": {"MaximumRetryAttempts": 30}} if i % 2 else {}
        self.client.create_training_job(**jobs.request(f"load-{i}", self.image, HyperParameters={"sleep": "0.1" if i % 3 == 0 else "0"}, **retries))
        self.acknowledged[f"load-{i}"] = bool(retries)


class Asking(Load):
    """The endpoint; counts its answers, and those that are wrong."""

    service = "sagemaker-runtime"
    answered = wrong = refused = 0

    def work(self, i):
        body = str(i).encode()
        right = self.client.invoke_endpoint(EndpointName="endpoint", Body=body)["Body"].read() == body
        self.answered, self.wrong = self.answered + right, self.wrong + (not right)
        self.stopping.wait(0.01)

    def failed(self, i):
        self.refused += 1


def victims_of(server, what):
    """(process, job or "", whether it is in a transition)"""
    found = [(e[0]["pid"], name, in_transition(e)) for name, e in runners(server) if e]
    if what == "program":
        return [(pid, name, moving) for runner, name, moving in found for pid in below(runner) if belongs(pid, server.folder.parent)]
    if what == "replica":
        return [(pid, "", not ready) for pids, ready in replicas(server) for pid in pids]
    if what == "server":
        return [(server.process.pid, "", any(moving for _, _, moving in found) or any(not ready for _, ready in replicas(server)))]
    return found


def kill_one(server, what, chance, want):
    """The job that was hit ("" for none), and whether it was in a transition, as is wanted if that can be had. None: nothing was there."""
    end = time.monotonic() + 2
    while not (victims := [v for v in victims_of(server, what) if v[2] == want]) and time.monotonic() < end:
        time.sleep(0.001)
    victims = victims or victims_of(server, what)
    if not victims:
        return None
    pid, name, transition = chance.choice(victims)
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return None
    if what == "server":
        server.kill()
        server.start()
    return name, transition


# Answers with what it gets; takes a moment to begin.
ECHO = """import os, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers(); self.wfile.write(body)
    do_POST = do_GET
    def log_message(self, *_): pass
time.sleep(0.2)
ThreadingHTTPServer(("127.0.0.1", int(os.environ["SAGEMAKER_BIND_TO_PORT"])), Handler).serve_forever()"""


def deploy(server, image):
    sagemaker = server.client("sagemaker")
    sagemaker.create_model(ModelName="echo", PrimaryContainer={"Image": image}, ExecutionRoleArn=jobs.ROLE)
    variant = {"VariantName": "v", "ModelName": "echo", "InstanceType": "ml.m5.large", "InitialInstanceCount": 2}
    sagemaker.create_endpoint_config(EndpointConfigName="echo", ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName="endpoint", EndpointConfigName="echo")
    await_that(lambda: sagemaker.describe_endpoint(EndpointName="endpoint")["EndpointStatus"] == "InService", "it serves")


def check_jobs(server, acknowledged, hit):
    """Each has one end, with a true reason. How many ended how."""
    sagemaker, logs, ends = server.client("sagemaker"), server.client("logs"), collections.Counter()
    for name, retries in acknowledged.items():
        job = jobs.finish(sagemaker, name)
        status, reason = job["TrainingJobStatus"], job.get("FailureReason", "")
        ends[status] += 1
        assert [s for s in jobs.statuses(job) if s in ("Completed", "Failed", "Stopped")] == [status], job
        lines = [line for line in jobs.log_of(logs, name) if line in ("one", "two")]
        if status == "Completed":
            assert lines[-2:] == ["one", "two"] and (retries or lines == ["one", "two"]), (name, lines, hit[name])
        elif "exit code: 137" in reason:
            assert "program" in hit[name], (name, reason)
        else:
            assert "runner" in hit[name] and not retries and reason.startswith("InternalServerError: "), (name, reason, hit[name])
    told = collections.Counter(line["job"] for line in server.log_lines() if line["event"] == "job_ended")
    assert not [name for name, times in told.items() if times > 1]
    return dict(ends)


def check_endpoint(server):
    """In service, with both replicas; then it goes."""
    sagemaker, runtime = server.client("sagemaker"), server.client("sagemaker-runtime")
    await_that(lambda: (d := sagemaker.describe_endpoint(EndpointName="endpoint"))["EndpointStatus"] == "InService"
               and d["ProductionVariants"][0]["CurrentInstanceCount"] == 2, "both are back", 60)
    assert all(runtime.invoke_endpoint(EndpointName="endpoint", Body=b"x")["Body"].read() == b"x" for _ in range(8))
    sagemaker.delete_endpoint(EndpointName="endpoint")


def test_kills_at_random(server, tmp_path, capsys):
    image = jobs.script(tmp_path, "short", 'echo one; sleep $(sed -n "s/.*sleep.: \\"\\(.*\\)\\".*/\\1/p" input/config/hyperparameters.json); echo two; echo m > model/m')
    deploy(server, jobs.script(tmp_path, "echo", ECHO, "/usr/bin/python3"))
    chance = random.Random()
    creating, asking = Creating(server, image), Asking(server)
    for load in (creating, asking):
        load.start()
    hit, inside, count = collections.defaultdict(set), collections.Counter(), collections.Counter()
    try:
        while count.total() < KILLS:
            time.sleep(chance.uniform(0.02, 0.25))
            what = min(("server", "runner", "program", "replica"), key=lambda w: (count[w], chance.random()))
            # A replica at work; then at once one that begins, such as the next. A program mostly runs.
            for want in (False, True) if what == "replica" else (what != "program",):
                if killed := kill_one(server, what, chance, want):
                    hit[killed[0]].add(what)
                    inside[what] += killed[1]
                    count[what] += 1
    finally:
        for load in (creating, asking):
            load.stopping.set()
            load.join()
    ends = check_jobs(server, creating.acknowledged, hit)
    check_endpoint(server)
    await_that(lambda: left(server) == ([], [], [], []), f"nothing is left: {left(server)}")
    assert inside.total() >= KILLS / 2 and asking.answered and not asking.wrong
    with capsys.disabled():
        print(f"\n{count.total()} kills ({dict(count)}), {inside.total()} of them inside a transition ({dict(inside)}); {len(creating.acknowledged)} jobs acknowledged, each with one end: {ends}; "
              f"{asking.answered} invocations answered, {asking.refused} refused or broken off, none wrong; the endpoint is back in service")


# Lines that no runner writes; N is the number that is due.
BROKEN = ["no JSON", "[]", "{}", '{"n": N, "t": 0, "e": "metric", "name": "m", "value": null}', '{"n": N, "t": "0", "e": "log"}', '{"n": 99999, "t": 0, "e": "log"}',
          '{"n": N, "t": 0, "e": "gone", "of": "checkpoint", "name": "x"}', '{"n": N, "t": 0, "e": "kept", "of": "model", "name": "x", "file": "../none", "size": 1, "sha256": "zz"}']


def test_a_broken_journal_ends_its_job(server, tmp_path):
    image = jobs.script(tmp_path, "sleeps", "sleep 1000")
    sagemaker = server.client("sagemaker")
    for i in range(len(BROKEN)):
        sagemaker.create_training_job(**jobs.request(f"broken-{i}", image))
    for i, line in enumerate(BROKEN):
        number = await_that(lambda: next((e[-1]["n"] for name, e in runners(server) if name == f"broken-{i}" and e and not in_transition(e)), None), "it runs")
        journal, = (task.with_name("journal") for task in (server.folder / "jobs").glob("*/task.json") if json.loads(task.read_text())["name"] == f"broken-{i}")
        with journal.open("a") as file:
            file.write(re.sub(r"\bN\b", str(number + 1), line) + "\n")
    for i, line in enumerate(BROKEN):
        done = jobs.finish(sagemaker, f"broken-{i}")
        assert done["TrainingJobStatus"] == "Failed" and done["FailureReason"].startswith("InternalServerError: "), (line, done["FailureReason"])
        assert str(server.folder) not in done["FailureReason"], done["FailureReason"]
    await_that(lambda: left(server) == ([], [], [], []), "nothing is left of it")  # removed behind the end that is told
