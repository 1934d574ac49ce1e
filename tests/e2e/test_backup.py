"""Backups of a running server, and what is restored of them."""

import os
import signal
import sqlite3
import subprocess

import pytest

from ..servers import Server, await_that, small_disk
from .test_operate import AS_FORMAT_1, folder, operate, server  # noqa: F401


def test_backup_restore_and_doctor(build, server, operate, textmill, tmp_path):
    s3, sagemaker = server.client("s3"), server.client("sagemaker")
    s3.create_bucket(Bucket="bucket")
    large = os.urandom(300_000)
    s3.put_object(Bucket="bucket", Key="large", Body=large)
    s3.put_object(Bucket="bucket", Key="small", Body=b"small")
    sagemaker.create_model(ModelName="model", PrimaryContainer={"Image": "i"})
    copy = tmp_path / "copy"
    operate("backup", copy)
    s3.put_object(Bucket="bucket", Key="later", Body=b"x")
    assert operate("backup", copy, check=False).returncode == 2  # is there already
    assert "a server runs on it" in operate("doctor", check=False).stderr
    assert operate("down").returncode == 0
    assert "nothing is wrong" in operate("doctor", "--deep").stdout

    restored = tmp_path / "restored"
    textmill("restore", "--data-dir", restored, copy)
    assert textmill("restore", "--data-dir", restored, copy, check=False).returncode == 2  # not empty
    again = Server(build / "textmill", restored).start()
    try:
        s3 = again.client("s3")
        assert [o["Key"] for o in s3.list_objects_v2(Bucket="bucket")["Contents"]] == ["large", "small"]
        assert s3.get_object(Bucket="bucket", Key="large")["Body"].read() == large
        assert again.client("sagemaker").describe_model(ModelName="model")["PrimaryContainer"]["Image"] == "i"
        assert again.access_key == server.access_key
    finally:
        again.stop()

    blob = next(p for p in (copy / "objects").rglob("*") if p.is_file())
    blob.write_bytes(blob.read_bytes()[:-1] + b"?")
    assert textmill("restore", "--data-dir", tmp_path / "third", copy, check=False).returncode == 2
    assert textmill("doctor", "--data-dir", copy, "--deep", check=False).returncode == 1
    blob.unlink()
    assert "not there" in textmill("doctor", "--data-dir", copy, check=False).stdout


def test_backups_to_one_place(build, server, operate, textmill, tmp_path):
    """One is made; who comes meanwhile is refused, and what is nobody's backup stays."""
    s3 = server.client("s3")
    s3.create_bucket(Bucket="bucket")
    for i in range(6):
        s3.put_object(Bucket="bucket", Key=str(i), Body=bytes([i]) * 30_000_000)
    copy = tmp_path / "copy"
    first = subprocess.Popen([build / "textmill", "backup", "--data-dir", server.folder, copy], stderr=subprocess.PIPE, text=True)
    await_that(lambda: list((tmp_path / "copy.part").glob("objects/*")), "the first blob")
    second = operate("backup", copy, check=False)
    _, said = first.communicate(timeout=60)
    assert first.returncode == 0, said
    assert second.returncode != 0 and ("copy.part" in second.stderr or "is there already" in second.stderr), second.stderr
    assert "nothing is wrong" in textmill("doctor", "--deep", "--data-dir", copy).stdout
    assert not list(tmp_path.glob("*.part")) and not list(copy.glob(".*"))

    (tmp_path / "mine.part").mkdir()
    (tmp_path / "mine.part" / "precious").write_text("mine")
    done = operate("backup", tmp_path / "mine", check=False)
    assert done.returncode == 2 and "mine.part: is there already, and is no backup" in done.stderr, done.stderr
    assert (tmp_path / "mine.part" / "precious").read_text() == "mine"

    cut_off = tmp_path / "again.part"
    cut_off.mkdir()
    (cut_off / ".making").touch()  # as the end of a server leaves it
    (cut_off / "textmill.db.part").write_text("half")
    operate("backup", f"{tmp_path}/again/")
    assert "nothing is wrong" in textmill("doctor", "--data-dir", tmp_path / "again").stdout


def test_a_backup_that_cannot_be_written(server, operate, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small disk")
    server.client("s3").create_bucket(Bucket="bucket")
    server.client("s3").put_object(Bucket="bucket", Key="k", Body=os.urandom(8_000_000))
    with small_disk(tmp_path / "small", 4) as small:
        done = operate("backup", small / "copy", check=False)
        assert done.returncode == 1 and "copy.part: the disk is full" in done.stderr, done.stderr
        assert not list(small.iterdir())
    done = operate("backup", "/proc/copy", check=False)
    assert done.returncode == 1 and "/proc/copy.part" in done.stderr and "full" not in done.stderr, done.stderr


def test_events_that_wait_for_their_removal_are_no_finding(server, operate, textmill, tmp_path):
    """Of a group that was just deleted, the only resource of the folder."""
    logs = server.client("logs")
    logs.create_log_group(logGroupName="g")
    logs.create_log_stream(logGroupName="g", logStreamName="s")
    logs.put_log_events(logGroupName="g", logStreamName="s", logEvents=[{"timestamp": 1_700_000_000_000, "message": "m"}])
    logs.delete_log_group(logGroupName="g")
    operate("backup", tmp_path / "copy")
    assert "nothing is wrong" in textmill("doctor", "--deep", "--data-dir", tmp_path / "copy").stdout
    textmill("restore", "--data-dir", tmp_path / "restored", tmp_path / "copy")


def test_a_backup_that_an_older_version_made(build, server, operate, textmill, tmp_path):
    """Whoever upgraded may need the one of before: it is restored as it is, and migrated when a server takes it."""
    s3 = server.client("s3")
    s3.create_bucket(Bucket="bucket")
    s3.put_object(Bucket="bucket", Key="k", Body=b"x" * 100_000)
    operate("backup", tmp_path / "copy")
    with sqlite3.connect(tmp_path / "copy" / "textmill.db") as database:
        newest = database.execute("PRAGMA user_version").fetchone()[0]
        database.executescript(AS_FORMAT_1)
    restored = tmp_path / "restored"
    textmill("restore", "--data-dir", restored, tmp_path / "copy")
    assert "nothing is wrong" in textmill("doctor", "--deep", "--data-dir", restored).stdout
    again = Server(build / "textmill", restored).start()
    try:
        assert again.client("s3").get_object(Bucket="bucket", Key="k")["Body"].read() == b"x" * 100_000
    finally:
        again.stop()
    with sqlite3.connect(tmp_path / "copy" / "textmill.db") as database:
        database.execute(f"PRAGMA user_version = {newest + 1}")
    refused = textmill("restore", "--data-dir", tmp_path / "other", tmp_path / "copy", check=False)
    assert refused.returncode == 2 and f"of format {newest + 1}, this textmill reads 1 to {newest}" in refused.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root restores for others")
def test_root_restores_for_a_service(build, server, operate, textmill, tmp_path):
    """Into its empty folder: the service finds everything its own, and what `env --sdk` leaves there."""
    server.client("s3").create_bucket(Bucket="bucket")
    server.client("s3").put_object(Bucket="bucket", Key="k", Body=b"x" * 100_000)
    operate("backup", tmp_path / "copy")
    restored = tmp_path / "restored"
    restored.mkdir(mode=0o700)
    os.chown(restored, 65534, 65534)
    for parent in restored.parents[:3]:
        parent.chmod(0o755)
    textmill("restore", "--data-dir", restored, tmp_path / "copy")
    mounted = tmp_path / "root's" / "data"  # the host's folder of another user, below one that is root's alone
    mounted.mkdir(parents=True)
    mounted.parent.chmod(0o700)
    os.chown(mounted, 65534, 65534)
    assert Server(build / "textmill", mounted).start().stop() == 0
    textmill("env", "--sdk", "--data-dir", mounted)
    again = Server(build / "textmill", restored)
    again.start(("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"))
    try:
        assert again.client("s3").get_object(Bucket="bucket", Key="k")["Body"].read() == b"x" * 100_000
        textmill("env", "--sdk", "--data-dir", restored)
        assert {path.stat().st_uid for path in restored.rglob("*")} == {65534}
    finally:
        again.stop()


def test_a_restore_that_is_killed(build, server, operate, textmill, tmp_path):
    s3 = server.client("s3")
    s3.create_bucket(Bucket="bucket")
    for i in range(4):
        s3.put_object(Bucket="bucket", Key=str(i), Body=bytes([i]) * 20_000_000)
    operate("backup", tmp_path / "copy")
    restored = tmp_path / "restored"
    process = subprocess.Popen([build / "textmill", "restore", "--data-dir", restored, tmp_path / "copy"])
    await_that(lambda: (restored / "objects").exists(), "the restore's first blob")
    os.kill(process.pid, signal.SIGSTOP)
    done = textmill("restore", "--data-dir", restored, tmp_path / "copy", check=False)
    assert done.returncode == 2 and "lock: locked by another process" in done.stderr, "one at a time"
    process.kill()
    assert process.wait() == -signal.SIGKILL and not (restored / "textmill.db").exists()
    done = textmill("up", "--data-dir", restored, "--listen", "127.0.0.1:0", check=False)
    assert done.returncode == 1 and "a restore into it has not ended" in done.stderr
    textmill("restore", "--data-dir", restored, tmp_path / "copy")
    assert "nothing is wrong" in textmill("doctor", "--deep", "--data-dir", restored).stdout
    assert len([p for p in (restored / "objects").rglob("*") if p.is_file()]) == 4
