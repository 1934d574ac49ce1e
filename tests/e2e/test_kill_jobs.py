"""Server, runner or program of a training job is killed (-9) at random moments. Afterwards every acknowledged job has one
end with a true reason, all that its program said is there once, and nothing is left of any."""

import collections
import json
import os
import random
import re
import signal
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


def programs(folder):
    """Processes whose environment says that they belong to a job of this server, with the job's name."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = (process / "environ").read_bytes()
            command = (process / "cmdline").read_bytes()
        except OSError:
            continue
        found = re.search(rb"TRAINING_JOB_NAME=([^\0]*)", environment)
        if found and str(folder).encode() in command:
            yield int(process.name), found[1].decode()


def left(server):
    """What should not be there once all jobs are over."""
    processes = [pid for pid, _ in programs(server.folder.parent)]
    mounts = [line for line in Path("/proc/self/mounts").read_text().splitlines() if str(server.folder) in line]
    groups = [str(p) for p in Path("/sys/fs/cgroup").rglob("textmill-*") if any(f.name in str(p) for f in (server.folder / "jobs").glob("*"))]
    return processes, mounts, groups, [p.name for p in (server.folder / "jobs").iterdir()]


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
    """Creates jobs, some at a time, whatever happens to the server; knows which were acknowledged."""

    def __init__(self, server, image):
        super().__init__()
        self.server, self.image, self.acknowledged, self.stopping = server, image, {}, threading.Event()

    def run(self):
        for i in range(100_000):
            while not self.stopping.is_set() and len(list((self.server.folder / "jobs").glob("*"))) > 3:
                self.stopping.wait(0.005)
            if self.stopping.is_set():
                return
            retries = {"RetryStrategy": {"MaximumRetryAttempts": 30}} if i % 2 else {}
            try:
                client = self.server.client("sagemaker", check=False)
                client.create_training_job(**jobs.request(f"load-{i}", self.image, HyperParameters={"sleep": "0.1" if i % 3 == 0 else "0"}, **retries))
                self.acknowledged[f"load-{i}"] = bool(retries)
            except (BotoCoreError, ClientError):
                self.stopping.wait(0.05)


def victims_of(server, what):
    """(process, job, whether it is in a transition)"""
    if what == "program":
        return [(pid, name, True) for pid, name in programs(server.folder.parent)]  # its end is one
    found = [(e[0]["pid"], name, in_transition(e)) for name, e in runners(server) if e]
    return found if what == "runner" else [(server.process.pid, "", any(v[2] for v in found))]


def kill_one(server, what, chance):
    """The job that was hit ("" for all: the server), and whether it was in a transition; mostly when one is. None: nothing was there."""
    want, end = chance.random() < 0.8, time.monotonic() + 2
    while not (victims := [v for v in victims_of(server, what) if v[2] or not want]) and time.monotonic() < end:
        time.sleep(0.001)
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


def test_kills_at_random(server, tmp_path, capsys):
    image = jobs.script(tmp_path, "short", 'echo one; sleep $(sed -n "s/.*sleep.: \\"\\(.*\\)\\".*/\\1/p" input/config/hyperparameters.json); echo two; echo m > model/m')
    chance = random.Random()
    load = Load(server, image)
    load.start()
    hit, inside, count = collections.defaultdict(set), 0, collections.Counter()
    try:
        while sum(count.values()) < KILLS:
            time.sleep(chance.uniform(0.02, 0.25))
            what = min(("server", "runner", "program"), key=lambda w: (count[w], chance.random()))
            if killed := kill_one(server, what, chance):
                hit[killed[0]].add(what)
                inside += killed[1]
                count[what] += 1
    finally:
        load.stopping.set()
        load.join()
    sagemaker, logs = server.client("sagemaker"), server.client("logs")
    ends = collections.Counter()
    for name, retries in load.acknowledged.items():
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
    await_that(lambda: left(server) == ([], [], [], []), f"nothing is left: {left(server)}")
    told = collections.Counter(line["job"] for line in server.log_lines() if line["event"] == "job_ended")
    assert not [name for name, times in told.items() if times > 1]
    assert inside >= KILLS / 2
    with capsys.disabled():
        print(f"\n{KILLS} kills ({dict(count)}), {inside} of them inside a transition; {len(load.acknowledged)} jobs acknowledged, each with one end: {dict(ends)}")


def test_a_broken_journal_ends_its_job(server, tmp_path):
    image = jobs.script(tmp_path, "sleeps", "sleep 1000")
    sagemaker = server.client("sagemaker")
    sagemaker.create_training_job(**jobs.request("broken", image))
    await_that(lambda: any(e and not in_transition(e) for _, e in runners(server)), "it runs")
    journal = next((server.folder / "jobs").glob("*/journal"))
    with journal.open("a") as file:
        file.write("no JSON\n")
    done = jobs.finish(sagemaker, "broken")
    assert done["TrainingJobStatus"] == "Failed" and "journal" in done["FailureReason"], done["FailureReason"]
    await_that(lambda: left(server) == ([], [], [], []), "nothing is left of it")  # removed behind the end that is told
