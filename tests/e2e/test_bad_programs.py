"""Programs that do what they should not, as training jobs: each ends with the reason that is documented, nothing is left of
it, and the server goes on."""

import contextlib
import signal
import time

import pytest

from .. import jobs
from ..servers import Server, await_that, small_disk

MIB = 1 << 20


@pytest.fixture(scope="module")
def server(build, tmp_path_factory):
    server = Server(build / "textmill", tmp_path_factory.mktemp("bad") / "data", "--sync", "process", "--stop-grace", "1", "--job-cpus", "8").start()
    server.client("s3").create_bucket(Bucket="jobs")
    yield server
    await_that(lambda: not list((server.folder / "jobs").iterdir()), "no attempt's folder is left")
    assert server.health() == (200, {"status": "ok"}) and server.stop() == 0
    assert not [line for line in server.log_lines() if line["level"] == "error"]


@pytest.fixture
def start(server, tmp_path, request):
    """start("script text", **request): the job's name."""
    count = iter(range(1000))

    def run(text, interpreter="/bin/sh", of=server, **more):
        job = f"{request.node.name.split('[')[0].replace('_', '-')[:30]}-{abs(hash(text)) % 10**9}-{next(count)}"
        of.client("sagemaker").create_training_job(**jobs.request(job, jobs.script(tmp_path, job, text, interpreter), **more))
        return job

    return run


def lines_of(server, job):
    return [line for line in jobs.log_of(server.client("logs"), job) if not line.startswith("Limits")]


SOON = {"StoppingCondition": {"MaxRuntimeInSeconds": 1}}
FAILED, DONE, LATE = ("Failed", "Failed"), ("Completed", "Completed"), ("Stopped", "MaxRuntimeExceeded")

# What the program does, how its job ends, why, what else its request says.
PROGRAMS = {
    "no output": ("exit 0", DONE, None, {}),
    "its folder of output is gone": ("rm -rf model", FAILED, "AlgorithmError: /opt/ml/model: No such file or directory, exit code: 0", {}),
    "deletes its inputs": ("rm -rf input/data/train/* || exit 9; [ -z \"$(ls input/data/train)\" ]", DONE, None, {"InputDataConfig": [jobs.channel("train", "s3://jobs/data/")]}),
    "deletes all of /opt/ml": ("rm -rf /opt/ml/* /opt/ml/.* 2>/dev/null; exit 4", FAILED, "AlgorithmError: exit code: 4", {}),
    "closes its output": ("exec >&- 2>&-; sleep 0.2; echo m > model/m; exit 5", FAILED, "AlgorithmError: exit code: 5", {}),
    "closes all, and goes on": ("exec <&- >&- 2>&-; sleep 0.3; echo m > model/m", DONE, None, {}),
    "stops itself": ("kill -STOP $$", LATE, None, SOON),
    "ignores SIGTERM": ("trap '' TERM HUP INT; echo m > model/m; while :; do sleep 0.1; done", LATE, None, SOON),
    "forks without end": ("while :; do (sleep 1000 &) 2>/dev/null; done", LATE, None, SOON),
    "forks that fork": ("b() { b | b & }; b; sleep 1000", LATE, None, SOON),
    "a child that never ends": ("setsid sleep 1000 & exit 0", DONE, None, {}),
    "a failure file that is a folder": ("mkdir output/failure; exit 6", FAILED, "AlgorithmError: exit code: 6", {}),
    "a failure file that is no text": ("head -c 3000 /dev/urandom > output/failure; exit 7", FAILED, None, {}),
    "its folder of data is a loop": ("rmdir output/data; ln -s data output/data", FAILED,
                                     "AlgorithmError: /opt/ml/output/data: there is a link on the way to it, exit code: 0", {}),
    "a loop, and a reason": ("rmdir output/data; ln -s data output/data; echo boo > output/failure; exit 3", FAILED, "AlgorithmError: boo, exit code: 3",
                             {"RetryStrategy": {"MaximumRetryAttempts": 3}}),
    "a name that is no key": ("touch \"model/$(printf '\\377')\"", FAILED, "AlgorithmError: /opt/ml/model/\ufffd: the name of an object is UTF-8, exit code: 0",
                              {"OutputDataConfig": {"S3OutputPath": "s3://jobs/out", "CompressionType": "NONE"}}),
    "a checkpoint that is no key": ("touch \"checkpoints/$(printf '\\377')\"", DONE, None, {"CheckpointConfig": {"S3Uri": "s3://jobs/checkpoints"}}),
    "status 255": ("exit 255", FAILED, "AlgorithmError: exit code: 255", {}),
    "prints NUL": ("printf 'a\\0b\\n'; exit 1", FAILED, "AlgorithmError: a\0b, exit code: 1", {}),
}


@pytest.mark.parametrize("what", PROGRAMS)
def test_it_ends_and_says_why(server, start, what):
    text, end, reason, more = PROGRAMS[what]
    if "InputDataConfig" in more:
        server.client("s3").put_object(Bucket="jobs", Key="data/a", Body=b"a")
    job = start(text, **more)
    done = jobs.finish(server.client("sagemaker"), job, 40)
    assert (done["TrainingJobStatus"], done["SecondaryStatus"]) == end, (done.get("FailureReason"), lines_of(server, job))
    if end == FAILED and reason is None:
        assert done["FailureReason"].startswith("AlgorithmError: ") and len(done["FailureReason"]) <= 1024
    else:
        assert done.get("FailureReason") == reason
    if "InputDataConfig" in more:
        assert server.client("s3").get_object(Bucket="jobs", Key="data/a")["Body"].read() == b"a"


def test_every_signal(server, start):
    """Those that end a process."""
    ends = [s for s in signal.valid_signals() if s not in (signal.SIGCHLD, signal.SIGCONT, signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU,
                                                           signal.SIGURG, signal.SIGWINCH)]
    names = {int(s): start(f"kill -{int(s)} $$; sleep 1000") for s in ends if s < 32}
    for number, name in names.items():
        done = jobs.finish(server.client("sagemaker"), name)
        assert (done["TrainingJobStatus"], done["FailureReason"]) == ("Failed", f"AlgorithmError: exit code: {128 + number}"), number
    assert len(names) >= 20


def test_a_line_without_end(server, start):
    job = start("head -c 200000000 /dev/zero | tr '\\0' x; exit 3")
    done = jobs.finish(server.client("sagemaker"), job)
    lines = lines_of(server, job)
    assert done["TrainingJobStatus"] == "Failed" and done["FailureReason"].endswith(", exit code: 3") and len(done["FailureReason"]) <= 1024
    assert max(map(len, lines)) <= 65536 and sum(map(len, lines)) < 70 * MIB and any("were not kept" in line for line in lines[-2:])


@pytest.fixture
def disk(tmp_path):
    with small_disk(tmp_path / "disk", 400) as folder:
        yield folder


def test_a_program_that_fills_the_disk(build, disk, start):
    """It is ended while there is space left for others, and its space comes back. Who writes nothing goes on, whoever filled the disk."""
    server = Server(build / "textmill", disk / "data", "--sync", "process", "--stop-grace", "1", "--job-cpus", "8").start()
    try:
        s3, sagemaker = server.client("s3"), server.client("sagemaker")
        s3.create_bucket(Bucket="jobs")
        quiet = start("head -c 30000000 /dev/zero > model/kept; while :; do sleep 0.1; done", of=server)
        await_that(lambda: "Training" in jobs.statuses(sagemaker.describe_training_job(TrainingJobName=quiet)), "it runs")
        begin = time.monotonic()
        job = start("i=0; while :; do i=$((i + 1)); head -c 4000000 /dev/zero > model/$i || sleep 0.1; sleep 0.02; done", of=server)
        s3.put_object(Bucket="jobs", Key="meanwhile", Body=b"x" * MIB)
        done = jobs.finish(sagemaker, job)
        assert done["FailureReason"].startswith("AlgorithmError: the disk is full: less than 256 MiB were left, and the program went on"), done
        assert time.monotonic() - begin < 30
        await_that(lambda: len(list((server.folder / "jobs").iterdir())) == 1, "its folder is gone")
        s3.put_object(Bucket="jobs", Key="after", Body=b"x" * 170 * MIB)  # less than 256 MiB are left
        assert jobs.finish(sagemaker, start("sleep 5", of=server))["TrainingJobStatus"] == "Completed"
        assert sagemaker.describe_training_job(TrainingJobName=quiet)["TrainingJobStatus"] == "InProgress"
        sagemaker.stop_training_job(TrainingJobName=quiet)
        assert jobs.finish(sagemaker, quiet)["TrainingJobStatus"] == "Stopped"
    finally:
        server.stop()


@pytest.mark.parametrize("place", ["model", "/tmp"])
@pytest.mark.parametrize("then", ["exit 1", "while :; do sleep 0.1; done"], ids=["and fails", "and stays"])
def test_a_program_that_takes_the_last_block(build, disk, start, then, place):
    """Its end has no room but where its own files were. Who is through meanwhile waits with what is to be kept."""
    server = Server(build / "textmill", disk / "data", "--sync", "process", "--stop-grace", "1", "--job-cpus", "8").start()
    try:
        sagemaker = server.client("sagemaker")
        server.client("s3").create_bucket(Bucket="jobs")
        other = start("echo m > model/m; while :; do head -c 100000 /dev/zero >> model/m || exit 0; sleep 0.01; done", of=server)
        await_that(lambda: "Training" in jobs.statuses(sagemaker.describe_training_job(TrainingJobName=other)), "it runs")
        done = jobs.finish(sagemaker, start(f"head -c 1G /dev/zero > {place}/all; {then}", of=server))
        assert done["TrainingJobStatus"] == "Failed" and done["FailureReason"].startswith("AlgorithmError: "), done
        assert jobs.finish(sagemaker, other)["TrainingJobStatus"] == "Completed"
        await_that(lambda: not list((server.folder / "jobs").iterdir()), "their folders are gone")
        assert jobs.finish(sagemaker, start("exit 0", of=server))["TrainingJobStatus"] == "Completed"
    finally:
        server.stop()


def test_what_is_said_while_the_disk_is_full_comes_when_it_is_not(build, disk, start):
    """Another's file takes all there is: a program that prints goes on, and its runner waits with what it said, and with its end."""
    server = Server(build / "textmill", disk / "data", "--sync", "process", "--job-cpus", "8").start()
    try:
        sagemaker, logs = server.client("sagemaker"), server.client("logs")
        server.client("s3").create_bucket(Bucket="jobs")
        said = start("i=0; while [ $i -lt 60 ]; do i=$((i + 1)); echo line $i; sleep 0.1; done", of=server)
        await_that(lambda: "Training" in jobs.statuses(sagemaker.describe_training_job(TrainingJobName=said))
                   and "line 3" in jobs.log_of(logs, said), "it speaks")
        with open(disk / "others", "wb", buffering=0) as others, contextlib.suppress(OSError):
            while True:
                others.write(b"x" * 65536)
        with open(disk / "others", "ab", buffering=0) as others, contextlib.suppress(OSError):
            while True:
                others.write(b"x")
        time.sleep(3)  # 30 lines: nobody can tell of them
        (disk / "others").unlink()
        done = jobs.finish(sagemaker, said)
        assert done["TrainingJobStatus"] == "Completed", done
        assert [line for line in jobs.log_of(logs, said) if line.startswith("line ")] == [f"line {i}" for i in range(1, 61)]
    finally:
        server.stop()
