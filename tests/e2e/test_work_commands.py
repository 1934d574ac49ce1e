"""`textmill ps`, `logs`, `stop`, `clean`, `images`, as a person and as a script use them."""

import json
import os
import pty
import subprocess

import pytest

from .. import jobs
from ..servers import Server, await_that


@pytest.fixture(scope="module")
def server(build, tmp_path_factory):
    server = Server(build / "textmill", tmp_path_factory.mktemp("server") / "data", "--sync", "process").start()
    server.client("s3").create_bucket(Bucket="jobs")
    yield server
    assert server.stop() == 0


@pytest.fixture
def work(textmill, server):
    return lambda *arguments, **kwargs: textmill(arguments[0], *arguments[1:], "--data-dir", server.folder, **kwargs)


def on_terminal(*command):
    """What a command prints on a terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen([str(c) for c in command], stdout=theirs)
    os.close(theirs)
    out = b""
    try:
        while piece := os.read(ours, 65536):
            out += piece
    except OSError:  # its end
        pass
    assert process.wait() == 0
    os.close(ours)
    return out.decode()


def test_follow_and_stop(server, work, build, tmp_path):
    sagemaker = server.client("sagemaker")
    sagemaker.create_training_job(**jobs.request("talks", jobs.script(tmp_path, "talks", "i=0; while true; do i=$((i + 1)); echo line $i; sleep 0.05; done")))
    follower = subprocess.Popen([build / "textmill", "logs", "-f", "talks", "--data-dir", server.folder], stdout=subprocess.PIPE, text=True)
    lines = (json.loads(line)["text"] for line in follower.stdout)
    assert next(line for line in lines if line == "line 20")
    running = json.loads(work("ps").stdout)
    assert [(r["kind"], r["name"], r["status"], r["secondary"]) for r in running] == [("job", "talks", "InProgress", "Training")]
    shown = on_terminal(build / "textmill", "ps", "--data-dir", server.folder)
    assert "NAME" in shown and "talks" in shown and "\x1b[" in shown
    work("stop", "talks")
    rest = list(lines)  # it ends with the job
    assert follower.wait(10) == 0 and all(line.startswith("line") for line in rest)
    assert jobs.finish(sagemaker, "talks")["TrainingJobStatus"] == "Stopped"
    texts = [json.loads(line)["text"] for line in work("logs", "talks").stdout.splitlines()]
    numbers = [int(t.split()[1]) for t in texts if t.startswith("line")]
    assert numbers == list(range(1, len(numbers) + 1))
    assert json.loads(work("ps").stdout) == []


def test_a_failed_job_ends_with_its_reason(server, work, build, tmp_path):
    server.client("sagemaker").create_training_job(**jobs.request("fails", jobs.script(tmp_path, "fails", "echo trying; echo because > output/failure; exit 3")))
    done = work("logs", "-f", "fails")
    assert "trying" in done.stdout and done.stderr == "Failed: AlgorithmError: because, exit code: 3\n"
    assert "algo-1 trying" in on_terminal(build / "textmill", "logs", "fails", "--data-dir", server.folder).replace("\x1b[36m", "").replace("\x1b[0m", "")


def test_what_is_not_there(work):
    for command in ("logs", "stop"):
        done = work(command, "nobody", check=False)
        assert done.returncode == 2 and "there is no training job and no endpoint nobody" in done.stderr


def test_images_and_caches(textmill, work):
    names = {i["image"] for i in json.loads(textmill("images").stdout)}
    assert {"textmill/text-classification", "textmill/serve", "process://"} <= names
    assert json.loads(work("clean").stdout) == []
    assert json.loads(work("clean", "--free").stdout) == {"freed": 0}


def test_attempts_that_nobody_needs_are_freed(server, work, tmp_path):
    """What runs is shown and stays; what is left of something that is gone goes."""
    server.client("sagemaker").create_training_job(**jobs.request("runs", jobs.script(tmp_path, "runs", "sleep 1000")))
    await_that(lambda: list((server.folder / "jobs").glob("*/journal")), "it runs")
    left = [server.folder / "jobs" / "0123456789abcdef0123", server.folder / "attempts" / "i-0123456789abcdef0"]
    for folder in left:
        (folder / "algo-1").mkdir(parents=True)
        (folder / "algo-1" / "file").write_bytes(bytes(1000))
    shown = {one["name"]: (one["what"], one["in_use"]) for one in json.loads(work("clean").stdout)}
    assert [shown.pop(folder.name) for folder in left] == [("job", False), ("instance", False)] and list(shown.values()) == [("job", True)]
    assert json.loads(work("clean", "--free").stdout) == {"freed": 2000}
    assert not any(folder.exists() for folder in left) and [one["in_use"] for one in json.loads(work("clean").stdout)] == [True]
    server.client("sagemaker").stop_training_job(TrainingJobName="runs")
    assert jobs.finish(server.client("sagemaker"), "runs")["TrainingJobStatus"] == "Stopped"
