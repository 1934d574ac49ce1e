"""Training jobs of a server that is not root, and of one whose system makes no namespaces."""

import os
import shutil

import pytest

from .. import jobs
from ..servers import Server

NO_NAMESPACES = ("unshare", "-Ur", "sh", "-c", 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"', "sh")
NOT_ROOT = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")


@pytest.fixture
def run(build, tmp_path):
    """run(wrapper, "script text", **request): the job's end, its log."""
    servers = []

    def make(wrapper, text, **more):
        for folder in (tmp_path, *tmp_path.parents[:2]):
            folder.chmod(0o755)
        program = shutil.copy(build / "textmill", tmp_path / "textmill")
        home = tmp_path / "home"
        home.mkdir()
        os.chown(home, 65534, 65534)
        if wrapper is not NOT_ROOT:
            os.chown(home, 0, 0)
        server = Server(program, home / "data", "--sync", "process", "--stop-grace", "1").start(wrapper)
        servers.append(server)
        s3, sagemaker = server.client("s3"), server.client("sagemaker")
        s3.create_bucket(Bucket="jobs")
        for key, size in (("in/small", 10), ("in/large", 100_000)):
            s3.put_object(Bucket="jobs", Key=key, Body=b"x" * size)
        image = jobs.script(tmp_path, "program", text)
        sagemaker.create_training_job(**jobs.request("job", image, InputDataConfig=[jobs.channel("train", "s3://jobs/in/")], **more))
        done = jobs.finish(sagemaker, "job")
        assert s3.get_object(Bucket="jobs", Key="in/large")["Body"].read() == b"x" * 100_000
        return done, "\n".join(jobs.log_of(server.client("logs"), "job")), server

    yield make
    for server in servers:
        server.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_not_root(run):
    done, said, server = run(NOT_ROOT, "id -u; hostname; pwd; ls /proc | grep -c '^[0-9]'; echo changed > input/data/train/large && cp input/data/train/large model && "
                             "rm input/data/train/small && [ ! -e $TEXTMILL_DATA_FOLDER/lock ]", Environment={"TEXTMILL_DATA_FOLDER": "/none"})
    assert done["TrainingJobStatus"] == "Completed", (done.get("FailureReason"), said)
    assert "\n0\nalgo-1\n/opt/ml\n" in said, said
    assert not list((server.folder / "jobs").iterdir())


@pytest.mark.skipif(os.geteuid() != 0, reason="unshare needs root here")
def test_without_namespaces(run):
    done, said, server = run(NO_NAMESPACES, "echo base $SAGEMAKER_BASE_DIR; echo changed > input/data/train/large && cp input/data/train/large model && "
                                  "(echo hacked > ../input/train/large); (setsid sleep 1000 &); exit 0")  # run() reads the object
    assert done["TrainingJobStatus"] == "Completed", (done.get("FailureReason"), said)
    assert "This system lets us make no namespaces" in said and f"SAGEMAKER_BASE_DIR={server.folder}/jobs/" in said
    assert f"base {server.folder}/jobs/" in said
    assert not list((server.folder / "jobs").iterdir())


@pytest.mark.skipif(os.geteuid() != 0, reason="unshare needs root here")
def test_isolation_without_namespaces(run):
    done, said, _ = run(NO_NAMESPACES, "echo ran", EnableNetworkIsolation=True)
    assert done["FailureReason"].startswith("ClientError: EnableNetworkIsolation: this system lets us make no network"), done
    assert "ran" not in said.split("\n")
