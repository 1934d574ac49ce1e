"""Channels of InputMode Pipe: what a program reads from CHANNEL_0, CHANNEL_1, ... is the channel, each time anew."""

import contextlib
import gzip
import io
import json
import os
import pathlib
import signal
import struct
import tarfile

import pytest

from .. import jobs
from ..servers import await_that

MAGIC = struct.pack("<I", 0xCED7230A)
READS = "cat input/data/train_0 > model/0 && cat input/data/train_1 > model/1 && ls input/data > model/names"


@pytest.fixture(scope="module")
def sagemaker(server):
    server.client("s3").create_bucket(Bucket="jobs")
    return server.client("sagemaker")


@pytest.fixture
def put(server, name):
    """put({"a.txt": bytes}): their prefix."""

    def make(objects):
        prefix = name("in")
        for key, body in objects.items():
            server.client("s3").put_object(Bucket="jobs", Key=f"{prefix}/{key}", Body=body)
        return f"s3://jobs/{prefix}"

    return make


@pytest.fixture
def run(server, sagemaker, name, tmp_path):
    """run(script, channel, ...): the job's description at its end, and what it left in model/."""

    def go(text, channel, **more):
        job = name("pipe")
        sagemaker.create_training_job(**jobs.request(job, jobs.script(tmp_path, job, text), InputDataConfig=[channel], **more))
        done = jobs.finish(sagemaker, job)
        if done["TrainingJobStatus"] != "Completed":
            return done, {}
        body = server.client("s3").get_object(Bucket="jobs", Key=f"out/{job}/output/model.tar.gz")["Body"].read()
        with tarfile.open(fileobj=io.BytesIO(body), mode="r:gz") as tar:
            return done, {m.name: tar.extractfile(m).read() for m in tar if m.isfile()}

    return go


def piped(uri, **more):
    return jobs.channel("train", uri, InputMode="Pipe", **more)


def records(data):
    """As MXNet's reader takes RecordIO apart (dmlc-core, recordio.h)."""
    out, at, parts = [], 0, []
    while at < len(data):
        assert data[at : at + 4] == MAGIC, at
        head = struct.unpack("<I", data[at + 4 : at + 8])[0]
        kind, size = head >> 29, head & ((1 << 29) - 1)
        parts.append(data[at + 8 : at + 8 + size])
        at += 8 + (size + 3) // 4 * 4
        if kind in (0, 3):
            out.append(MAGIC.join(parts))
            parts = []
    assert not parts
    return out


def test_an_epoch_is_all_objects_in_order(run, put):
    objects = {"a.csv": b"1,2\n", "b/c.csv": b"3,4\n" * 100_000, "b/d.csv": b"5,6\n"}
    _, left = run(READS, piped(put(objects)))
    whole = b"".join(objects.values())
    assert left["0"] == left["1"] == whole and "train" not in left["names"].decode().split()
    _, left = run("head -c 3 input/data/train_0 > model/0; cat input/data/train_1 > model/1", piped(put(objects)))
    assert (left["0"], left["1"]) == (b"1,2", whole), "who leaves early gets the next epoch whole"


def test_the_mode_of_the_algorithm_is_that_of_its_channels(run, put):
    _, left = run(READS, jobs.channel("train", put({"a": b"x"})), algorithm={"TrainingInputMode": "Pipe"})
    assert left["0"] == b"x"


def test_records(run, put):
    objects = {"a": b"one", "b": b"", "c": b"1234" + MAGIC + b"5678" + MAGIC, "d": bytes(range(256)) * 1000, "e": b"x" + MAGIC}
    done, left = run(READS + " && cp input/config/inputdataconfig.json model", piped(put(objects), RecordWrapperType="RecordIO"))
    assert records(left["0"]) == records(left["1"]) == list(objects.values()), done
    assert json.loads(left["inputdataconfig.json"])["train"] == {"TrainingInputMode": "Pipe", "S3DistributionType": "FullyReplicated", "RecordWrapperType": "RecordIO"}


@pytest.mark.parametrize("wrapper", ["None", "RecordIO"])
def test_gzip_is_undone_and_its_damage_is_said(run, put, wrapper):
    objects = {"a.gz": gzip.compress(b"a" * 100_000), "b.gz": gzip.compress(b"b")}
    _, left = run(READS, piped(put(objects), CompressionType="Gzip", RecordWrapperType=wrapper))
    assert (left["0"] if wrapper == "None" else b"".join(records(left["0"]))) == b"a" * 100_000 + b"b"
    done, _ = run(READS, piped(put({"a.gz": objects["a.gz"][:-9]}), CompressionType="Gzip", RecordWrapperType=wrapper))
    assert done["FailureReason"].startswith("ClientError: ") and "a.gz" in done["FailureReason"], done


def test_shards_and_shuffles(run, put):
    uri = put({f"{i:02}": f"{i:02} ".encode() for i in range(20)})
    _, left = run("cat input/data/train_0 > model/$(hostname)", piped(uri, distribution="ShardedByS3Key"), resources={"InstanceCount": 2})
    assert [int(n) for n in left["algo-1"].split()] == list(range(0, 20, 2)) and [int(n) for n in left["algo-2"].split()] == list(range(1, 20, 2))
    orders = []
    for seed in (7, 7, 8):
        _, left = run(READS, piped(uri, ShuffleConfig={"Seed": seed}))
        orders.append((left["0"], left["1"]))
        assert sorted(left["0"].split()) == sorted(left["1"].split()) == [f"{i:02}".encode() for i in range(20)]
    assert orders[0] == orders[1] != orders[2] and orders[0][0] != orders[0][1], "by the seed, and each epoch in another order"


def test_augmented_manifests(run, put):
    uri = put({"1.jpg": b"first image", "2.jpg": b"second"})
    lines = [{"source-ref": f"{uri}/1.jpg", "class": 0, "class-metadata": {"human": True}, "words": "a b"}, {"source-ref": f"{uri}/2.jpg", "class": 1, "words": "c"}]
    manifest = put({"lines.manifest": "".join(json.dumps(line) + "\n" for line in lines)}) + "/lines.manifest"

    def channel(*names, **more):
        made = piped(manifest, kind="AugmentedManifestFile", RecordWrapperType="RecordIO", **more)
        made["DataSource"]["S3DataSource"]["AttributeNames"] = list(names)
        return made

    _, left = run(READS, channel("source-ref", "class", "words"))
    assert records(left["0"]) == [b"first image", b"0", b"a b", b"second", b"1", b"c"]
    done, _ = run(READS, channel("source-ref", "class-metadata"))
    assert done["FailureReason"].startswith("ClientError: Data download failed: ") and "lines.manifest:2: class-metadata is missing" in done["FailureReason"]


def test_nothing_is_left_of_a_runner_that_is_killed(server, sagemaker, put, name, tmp_path):
    job = name("pipe")
    sagemaker.create_training_job(**jobs.request(job, jobs.script(tmp_path, job, "head -c 1 input/data/train_0; echo; exec sleep 1000"), InputDataConfig=[piped(put({"a": b"x" * 100_000}))]))
    await_that(lambda: "x" in jobs.log_of(server.client("logs"), job), "it has read")
    [folder] = [f for f in (server.folder / "jobs").iterdir() if json.loads((f / "task.json").read_text())["name"] == job]
    os.kill(json.loads((folder / "journal").read_text().splitlines()[0])["pid"], signal.SIGKILL)
    done = jobs.finish(sagemaker, job)
    assert done["FailureReason"].startswith("InternalServerError: the process that looked after the job ended")
    left = [p for p in pathlib.Path("/proc").glob("[0-9]*/fd/*") if points_into(p, folder)]
    assert not left, "the feeder too has gone"


def points_into(link, folder):
    try:
        return os.readlink(link).startswith(str(folder))
    except OSError:
        return False


def test_a_pipe_whose_writer_is_killed_ends_the_job(server, sagemaker, run, put, name, tmp_path):
    """As the kernel does it that is out of memory: what came before it is not the channel."""
    job, uri = name("pipe"), put({"a": b"x" * 3_000_000})
    text = "exec 3< input/data/train_0; head -c 1 <&3; echo; sleep 1000 & wait"
    sagemaker.create_training_job(**jobs.request(job, jobs.script(tmp_path, job, text), InputDataConfig=[piped(uri)], RetryStrategy={"MaximumRetryAttempts": 1}))
    for _ in range(2):  # it is tried again, as its RetryStrategy says
        await_that(lambda: feeders(server, job), "it is fed")
        await_that(lambda: "x" in jobs.log_of(server.client("logs"), job), "it has read")
        for process in feeders(server, job):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        await_that(lambda: not feeders(server, job), "its attempt is over")
    done = jobs.finish(sagemaker, job)
    assert done["FailureReason"] == "InternalServerError: what wrote the pipe of channel train was killed", done
    assert "Restarting" in jobs.statuses(done)


def feeders(server, job):
    """Children of the job's runner that hold /opt/ml/input/data."""
    folders = [f for f in (server.folder / "jobs").iterdir() if (f / "task.json").exists() and json.loads((f / "task.json").read_text())["name"] == job]
    return [int(p.parts[2]) for f in folders for p in pathlib.Path("/proc").glob("[0-9]*/fd/*") if points_into(p, f / "algo-1/ml/input/data")]


def test_the_pipe_is_there_before_the_program(run, put):
    """However long the list is that goes through it."""
    manifest = put({"m": "".join(json.dumps({"text": f"text {i}"}) + "\n" for i in range(100_000))}) + "/m"
    channel = piped(manifest, kind="AugmentedManifestFile", RecordWrapperType="RecordIO")
    channel["DataSource"]["S3DataSource"]["AttributeNames"] = ["text"]
    _, left = run("cat input/data/train_0 > model/0", channel)
    assert len(records(left["0"])) == 100_000


def test_what_a_program_puts_in_a_pipe_s_place_is_left_alone(run, put, tmp_path):
    """The feeder is outside of the walls: it must not follow where it is led."""
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    done, _ = run(f"cat input/data/train_0 > model/0; rm input/data/train_1 && ln -s {victim} input/data/train_1; exec 3< input/data/train_2", piped(put({"a": b"x"})))
    assert done["TrainingJobStatus"] == "Failed" and victim.read_text() == "untouched"
