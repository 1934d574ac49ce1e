"""What an operator does with a server: start, ask, keep keys, back up, restore, stop."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import ssl
import stat
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from ..servers import Server, await_that


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "data"


@pytest.fixture
def server(build, folder):
    server = Server(build / "textmill", folder, "--sync", "process").start()
    yield server
    if server.process.poll() is None:
        server.stop()


@pytest.fixture
def operate(textmill, folder):
    """operate("status", check=False): a command on the server's folder."""
    return lambda *arguments, **kwargs: textmill(arguments[0], "--data-dir", folder, *arguments[1:], **kwargs)


def pairs(text):
    return dict(line.split(" = ") for line in text.splitlines())


def test_the_first_start(build, folder):
    log = folder.with_suffix(".log")
    with log.open("wb") as stderr:
        process = subprocess.Popen([build / "textmill", "up", "--data-dir", folder, "--listen", "127.0.0.1:0"], stdout=subprocess.PIPE, stderr=stderr, text=True)
    lines = [process.stdout.readline() for _ in range(3)]
    url = re.fullmatch(r"textmill listens at (http://127\.0\.0\.1:\d+)\n", lines[0])[1]
    assert lines[1:] == [f"health: {url}/_textmill/health\n", f'for AWS\'s clients: eval "$(textmill env --data-dir \'{folder}\')"\n']
    with urllib.request.urlopen(f"{url}/_textmill/health") as answer:
        assert json.load(answer) == {"status": "ok"}
    assert stat.S_IMODE((folder / "root-key.json").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 0
    assert process.stdout.read() == ""
    process.stdout.close()
    events = [json.loads(line) for line in log.read_text().splitlines()]  # for programs, where nobody looks on
    assert {"server_started", "request", "server_stopped"} <= {e["event"] for e in events} and all(e["request_id"] for e in events if e["event"] == "request")


def test_status_and_down(server, operate):
    said = operate("status").stdout
    assert server.url in said and str(server.process.pid) in said
    assert operate("down").stdout == "stopped\n"
    assert server.process.wait(timeout=30) == 0
    assert operate("status", check=False).returncode == 3
    for command in (["down"], ["keys"], ["backup", "somewhere"]):
        done = operate(*command, check=False)
        assert done.returncode == 2 and "no server runs on this folder" in done.stderr


def test_a_disk_that_fails_to_sync(build, folder, operate):
    """What the kernel could not write may be lost: nothing is acknowledged from there on, and whoever watches learns it."""
    if not shutil.which("strace"):
        pytest.skip("strace is not installed")
    server = Server(build / "textmill", folder).start()
    sagemaker = server.client("sagemaker")
    sagemaker.create_model(ModelName="before", PrimaryContainer={"Image": "i"})
    with subprocess.Popen(["strace", "-f", "-qq", "-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO:when=1", "-e", "signal=none", "-p", str(server.process.pid)],
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as strace:
        await_that(lambda: "TracerPid:\t0" not in Path(f"/proc/{server.process.pid}/status").read_text(), "it is traced")
        says = "the disk failed to sync: nothing is written any more"
        for name in ("first", "later"):
            with pytest.raises(ClientError, match=says):
                sagemaker.create_model(ModelName=name, PrimaryContainer={"Image": "i"})
        assert server.health() == (503, {"status": "failing", "error": says})
        strace.terminate()
    done = operate("status", check=False)
    assert done.returncode == 1 and says in done.stderr
    assert sagemaker.describe_model(ModelName="before")
    server.stop()
    server.start()
    assert server.health() == (200, {"status": "ok"})
    server.client("sagemaker").create_model(ModelName="after", PrimaryContainer={"Image": "i"})
    assert {"after", "before"} <= {m["ModelName"] for m in server.client("sagemaker").list_models()["Models"]} <= {"after", "before", "first"}
    server.stop()


def test_what_is_lost_from_the_folder_is_our_failure(server):
    """And an answer does not say where the folder is."""
    s3 = server.client("s3", check=False)
    s3.create_bucket(Bucket="bucket")
    s3.put_object(Bucket="bucket", Key="k", Body=os.urandom(100_000))
    shutil.rmtree(server.folder / "objects")
    (server.folder / "objects").write_text("no folder")
    for call in (lambda: s3.get_object(Bucket="bucket", Key="k")["Body"].read(), lambda: s3.copy_object(Bucket="bucket", Key="l", CopySource="bucket/k", ChecksumAlgorithm="SHA256"),
                 lambda: s3.put_object(Bucket="bucket", Key="m", Body=os.urandom(200_000))):
        with pytest.raises(ClientError) as caught:
            call()
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] >= 500 and str(server.folder) not in str(caught.value), caught.value
    assert s3.list_objects_v2(Bucket="bucket")["KeyCount"] == 1


def test_in_flight_requests_end_before_the_server_does(server, operate):
    """A graceful stop: the answer to a request that had begun is whole, and nobody new is let in."""
    s3 = server.client("s3")
    s3.create_bucket(Bucket="bucket")
    url = s3.generate_presigned_url("put_object", Params={"Bucket": "bucket", "Key": "k"})
    with socket.create_connection(("127.0.0.1", int(server.url.rsplit(":", 1)[1]))) as slow:
        slow.sendall(f"PUT {url.removeprefix(server.url)} HTTP/1.1\r\nHost: {server.url[7:]}\r\nContent-Length: 4\r\n\r\nab".encode())
        await_that(lambda: b"textmill" in urllib.request.urlopen(server.url + "/_textmill/metrics").read(), "answers")
        server.process.send_signal(signal.SIGTERM)
        await_that(lambda: any(line["event"] == "stop_requested" for line in server.log_lines()), "the stop is logged")
        slow.sendall(b"cd")
        assert slow.recv(1000).startswith(b"HTTP/1.1 200")
    assert server.process.wait(timeout=30) == 0
    server.start()
    assert server.client("s3").get_object(Bucket="bucket", Key="k")["Body"].read() == b"abcd"


def test_keys(server, operate):
    made = pairs(operate("keys", "create", "--role", "read", "--name", "visitor").stdout)
    pair = made["access_key_id"], made["secret_access_key"]
    server.client("sagemaker", pair).list_models()
    listed = operate("keys").stdout
    assert re.search(rf"{pair[0]}  read   active .* visitor\n", listed) and pair[1] not in listed
    fresh = pairs(operate("keys", "rotate", pair[0]).stdout)
    server.client("sagemaker", (fresh["access_key_id"], fresh["secret_access_key"])).list_models()
    with pytest.raises(Exception, match="UnrecognizedClient"):
        server.client("sagemaker", pair).list_models()
    operate("keys", "revoke", fresh["access_key_id"])
    assert operate("keys").stdout.count("revoked") == 2
    for arguments, status in ((["revoke", "AKIANOBODY"], 2), (["revoke"], 2), (["dance"], 2), (["create", "--role", "king"], 2)):
        assert operate("keys", *arguments, check=False).returncode == status
    for arguments, says in ((["list", "extra"], 'takes no KEY, got "extra"'), (["create", "--name", "a\nb"], "without control characters")):
        done = operate("keys", *arguments, check=False)
        assert done.returncode == 2 and says in done.stderr
    assert operate("keys").stdout.count("\n") == 3


def test_env_says_what_it_cannot(tmp_path, operate, textmill):
    done = textmill("env", "--data-dir", tmp_path / "none", check=False)
    assert done.returncode == 2 and "textmill up" in done.stderr and "No such file" not in done.stderr
    done = operate("env", "--profile", "--sdk", check=False)
    assert done.returncode == 2 and "--sdk" in done.stderr


def test_the_root_key_is_rotated_and_cannot_be_lost(server, operate):
    before = server.access_key
    other = pairs(operate("keys", "create", "--role", "admin", "--name", "other").stdout)["access_key_id"]
    assert "rotate it" in operate("keys", "revoke", before, check=False).stderr
    operate("keys", "rotate", before)
    after = json.loads((server.folder / "root-key.json").read_text())["access_key_id"]
    assert after != before and re.search(rf"{before}  admin  revoked", operate("keys").stdout)
    assert "is revoked" in operate("keys", "rotate", before, check=False).stderr
    operate("down")
    with contextlib.closing(sqlite3.connect(server.folder / "textmill.db")) as database:
        database.execute("UPDATE access_keys SET active = 0 WHERE id = ?", (after,))
        database.commit()
    assert server.start().access_key == other and operate("keys").returncode == 0


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


def test_a_restore_that_is_killed(build, server, operate, textmill, tmp_path):
    s3 = server.client("s3")
    s3.create_bucket(Bucket="bucket")
    for i in range(4):
        s3.put_object(Bucket="bucket", Key=str(i), Body=bytes([i]) * 20_000_000)
    operate("backup", tmp_path / "copy")
    restored = tmp_path / "restored"
    process = subprocess.Popen([build / "textmill", "restore", "--data-dir", restored, tmp_path / "copy"])
    await_that(lambda: (restored / "objects").exists(), "the restore's first blob")
    process.kill()
    assert process.wait() == -signal.SIGKILL and not (restored / "textmill.db").exists()
    done = textmill("up", "--data-dir", restored, "--listen", "127.0.0.1:0", check=False)
    assert done.returncode == 1 and "a restore into it has not ended" in done.stderr
    textmill("restore", "--data-dir", restored, tmp_path / "copy")
    assert "nothing is wrong" in textmill("doctor", "--deep", "--data-dir", restored).stdout
    assert len([p for p in (restored / "objects").rglob("*") if p.is_file()]) == 4


def test_bytes_that_were_kept_and_are_no_utf8(server, operate):
    """Releases before took them: what has them can be read, changed and deleted."""
    s3, iam = server.client("s3"), server.client("iam")
    s3.create_bucket(Bucket="bucket")
    s3.put_object(Bucket="bucket", Key="k", Body=b"payload")
    iam.create_role(RoleName="role", AssumeRolePolicyDocument="{}")
    operate("down")
    with contextlib.closing(sqlite3.connect(server.folder / "textmill.db")) as database:
        for table, column, name in (("objects", "properties", "CacheControl"), ("buckets", "properties", "Policy"), ("resources", "body", "Description")):
            database.execute(f"""UPDATE {table} SET {column} = '{{"{name}":"caf' || CAST(X'e9' AS TEXT) || '"}}'""")
        database.commit()
    assert operate("doctor", check=False).stdout.count("its properties are no JSON") == 3
    server.start()
    s3, iam = server.client("s3"), server.client("iam")
    assert s3.get_object(Bucket="bucket", Key="k")["Body"].read() == b"payload"
    assert [b["Name"] for b in s3.list_buckets()["Buckets"]] == ["bucket"]
    s3.put_bucket_policy(Bucket="bucket", Policy="{}")
    assert iam.list_roles()["Roles"][0]["Description"] == "caf\ufffd"
    iam.delete_role(RoleName="role")
    s3.copy_object(Bucket="bucket", Key="k", CopySource="bucket/k", MetadataDirective="REPLACE")
    operate("down")
    assert "nothing is wrong" in operate("doctor").stdout


# What went wrong in a folder, and what doctor says.
DAMAGES = [
    ("PRAGMA foreign_keys = OFF; DELETE FROM buckets", "a row of uploads belongs to none of buckets"),
    ("UPDATE objects SET size = 7 WHERE key = CAST('small' AS BLOB)", "object small: of 7 bytes, has 5"),
    ("PRAGMA foreign_keys = OFF; UPDATE parts SET blob = 999", "part 1: its bytes are lost"),
    ("UPDATE blobs SET data = CAST('SMALL' AS BLOB) WHERE data IS NOT NULL AND size = 5", "its bytes are not those that it was made of"),
    ("UPDATE blobs SET uses = 9", "counts 9 uses, has 1"),
    ("""UPDATE objects SET properties = '{"Tags":{"a":"' || CAST(X'ff' AS TEXT) || '"}}' WHERE key = CAST('small' AS BLOB)""", "object small: its properties are no JSON"),
    ("UPDATE buckets SET properties = '{'", "bucket bucket: its properties are no JSON"),
    ("UPDATE uploads SET properties = '{'", "its properties are no JSON"),
    ("UPDATE parts SET properties = '{'", "part 1: its properties are no JSON"),
    ("UPDATE resources SET body = '{' WHERE kind = 'model'", "model model: its properties are no JSON"),
    ("PRAGMA foreign_keys = OFF; DELETE FROM resources WHERE kind = 'model'", "a row of tags belongs to none of resources"),
    ("INSERT INTO attempts (resource, number, token, created) SELECT id, 1, 't', 0 FROM resources WHERE kind = 'model'; UPDATE resources SET status = 'Failed' WHERE kind = 'model'",
     "model model: is Failed, but attempt 1 is open"),
    ("INSERT INTO attempts (resource, number, token, created) VALUES (999, 1, 't', 0)", "a row of attempts belongs to none of resources"),
    ("UPDATE log_streams SET log_group = 999", "log stream s: its group is lost"),
    ("UPDATE log_blocks SET bytes = 8", "log stream s: counts 7 bytes, has 8"),
    ("UPDATE log_blocks SET first = 1", "log stream s: 7 bytes from"),
    ("UPDATE log_blocks SET data = X'0101ff'", "log stream s: a block of log events is damaged"),
    ("UPDATE metric_points SET minimum = 9", "metric m: a point that cannot be"),
]


def test_doctor_finds_what_is_damaged(server, operate, textmill, tmp_path):
    s3, logs = server.client("s3"), server.client("logs")
    s3.create_bucket(Bucket="bucket")
    s3.put_object(Bucket="bucket", Key="small", Body=b"small")
    upload = s3.create_multipart_upload(Bucket="bucket", Key="k")["UploadId"]
    s3.upload_part(Bucket="bucket", Key="k", UploadId=upload, PartNumber=1, Body=b"part")
    server.client("sagemaker").create_model(ModelName="model", PrimaryContainer={"Image": "i"}, Tags=[{"Key": "k", "Value": "v"}])
    logs.create_log_group(logGroupName="g")
    logs.create_log_stream(logGroupName="g", logStreamName="s")
    logs.put_log_events(logGroupName="g", logStreamName="s", logEvents=[{"timestamp": int(time.time() * 1000), "message": "message"}])
    server.client("cloudwatch").put_metric_data(Namespace="N", MetricData=[{"MetricName": "m", "Value": 1}])
    operate("down")
    assert "nothing is wrong" in operate("doctor", "--deep").stdout
    for i, (damage, says) in enumerate(DAMAGES):
        folder = shutil.copytree(server.folder, tmp_path / f"damaged-{i}")
        with contextlib.closing(sqlite3.connect(folder / "textmill.db")) as database:
            database.executescript(damage)
        done = textmill("doctor", "--data-dir", folder, "--deep", check=False)
        assert done.returncode == 1 and says in done.stdout, (damage, done.stdout)


def test_a_second_server_and_a_newer_folder_are_refused(build, server, operate, textmill):
    second = operate("up", "--listen", "127.0.0.1:0", check=False)
    assert second.returncode == 2 and "locked by another process" in second.stderr
    operate("down")
    with sqlite3.connect(server.folder / "textmill.db") as database:
        version = database.execute("PRAGMA user_version").fetchone()[0]
        database.execute(f"PRAGMA user_version = {version + 1}")
    newer = operate("up", "--listen", "127.0.0.1:0", check=False)
    assert newer.returncode == 1 and f"written by a newer textmill (format {version + 1}, this one knows up to {version})" in newer.stderr


def test_an_older_folder_is_migrated_after_a_copy(build, server, operate):
    s3 = server.client("s3")
    s3.create_bucket(Bucket="bucket")
    s3.put_object(Bucket="bucket", Key="k", Body=b"x" * 100_000)
    server.client("sagemaker").create_model(ModelName="model", PrimaryContainer={"Image": "i"})
    server.client("iam").create_role(RoleName="MyRole", AssumeRolePolicyDocument="{}")
    operate("down")
    file = server.folder / "textmill.db"
    with sqlite3.connect(file) as database:  # as format 1 was
        newest = database.execute("PRAGMA user_version").fetchone()[0]
        tables = {row[0] for row in database.execute("SELECT name FROM sqlite_master")}
        database.executescript("DROP TABLE attempts; DROP INDEX live_resources; UPDATE resources SET key = name; PRAGMA user_version = 1")
    (server.folder / "textmill.db.before-2").mkdir()  # no copy can be made: nothing is touched
    failed = operate("up", "--listen", "127.0.0.1:0", check=False)
    assert failed.returncode == 1
    with sqlite3.connect(file) as database:
        assert database.execute("PRAGMA user_version").fetchone()[0] == 1
    (server.folder / "textmill.db.before-2").rmdir()
    server.start()
    assert server.client("s3").get_object(Bucket="bucket", Key="k")["Body"].read() == b"x" * 100_000
    assert server.client("sagemaker").describe_model(ModelName="model")["ModelName"] == "model"
    assert server.client("iam").list_roles()["Roles"][0]["RoleName"] == server.client("iam").get_role(RoleName="MYROLE")["Role"]["RoleName"] == "MyRole"
    server.stop()
    with sqlite3.connect(file) as database:
        assert database.execute("PRAGMA user_version").fetchone()[0] == newest
        assert {row[0] for row in database.execute("SELECT name FROM sqlite_master")} == tables
    with sqlite3.connect(server.folder / "textmill.db.before-2") as copy:
        assert copy.execute("PRAGMA user_version").fetchone()[0] == 1
        assert copy.execute("SELECT count(*) FROM objects").fetchone()[0] == 1


@pytest.mark.parametrize("wrong, says", [
    (["--region", "a b"], "--region"),
    (["--listen", "0.0.0.0:0"], "--insecure"),
    (["--listen", "nonsense"], "127.0.0.1:8333"),
    (["--listen", "127.0.0.1:99999"], "127.0.0.1:8333"),
    (["--account", "12"], "twelve digits"),
    (["--tls-cert", "c.pem"], "belong together"),
    (["--sync", "sometimes"], "full"),
    (["--tls-cert", "/nonexistent/c.pem", "--tls-key", "/nonexistent/k.pem"], "/nonexistent/c.pem"),
    (["--config", "/nonexistent/textmill.toml"], "/nonexistent/textmill.toml"),
])
def test_options_that_cannot_be(operate, wrong, says):
    done = operate("up", *wrong, check=False, timeout=20)
    assert done.returncode == 2 and says in done.stderr


def test_a_folder_with_blanks_and_localhost(build, tmp_path):
    folder = tmp_path / "it's a folder"
    process = subprocess.Popen([build / "textmill", "up", "--data-dir", folder, "--listen", "localhost:0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        lines = [process.stdout.readline() for _ in range(3)]
        script = lines[2].split(": ", 1)[1] + "echo $AWS_ENDPOINT_URL"
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=os.environ | {"PATH": f"{build}:{os.environ['PATH']}"})
        assert done.stdout.strip() == lines[0].split(" at ")[1].strip() and "http://127.0.0.1:" in done.stdout, done.stderr
    finally:
        process.terminate()
        assert process.wait(timeout=30) == 0
        process.stdout.close()


def test_configuration_and_another_address(build, folder, tmp_path):
    (tmp_path / "textmill.toml").write_text('[up]\nregion = "eu-west-1"\naccount = "999999999999"\ninsecure = true\n')
    server = Server(build / "textmill", folder, "--config", str(tmp_path / "textmill.toml"), "--listen", "0.0.0.0:0")
    server.start()
    try:
        server.url = server.url.replace("0.0.0.0", "127.0.0.1")
        arn = server.client("sagemaker").create_model(ModelName="m", PrimaryContainer={"Image": "i"})["ModelArn"]
        assert arn == "arn:aws:sagemaker:eu-west-1:999999999999:model/m"
    finally:
        server.stop()


# What `env` prints is read by a shell and by the clients themselves.

def in_shell(lines, script, home):
    return subprocess.run(["bash", "-c", f"shopt -s expand_aliases\n{lines}\n{script}"], capture_output=True, text=True, timeout=60,
                          env={"PATH": os.environ["PATH"], "HOME": str(home)})


def test_env_is_all_that_a_client_needs(server, operate, tmp_path):
    lines = operate("env").stdout
    python = f"{sys.executable} -c 'import boto3; print(boto3.client(\"sts\").get_caller_identity()[\"Arn\"])'"
    done = in_shell(lines, python, tmp_path)
    assert done.stdout == "arn:aws:sts::123456789012:assumed-role/textmill-admin/root\n", done.stderr
    old = Path("/usr/bin/aws")
    if old.exists():  # Debian's, from before July 2023
        done = in_shell(lines, "PATH=/usr/bin:$PATH\naws s3 mb s3://from-an-old-client", tmp_path)
        assert done.returncode == 0, done.stderr
        assert [b["Name"] for b in server.client("s3").list_buckets()["Buckets"]] == ["from-an-old-client"]


def test_env_as_a_profile(server, operate, tmp_path):
    config = tmp_path / "config"
    config.write_text(operate("env", "--profile").stdout)
    done = subprocess.run([sys.executable, "-c", "import boto3; print(boto3.client('sts').get_caller_identity()['Account'])"], capture_output=True, text=True,
                          env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "AWS_CONFIG_FILE": str(config), "AWS_PROFILE": "textmill"})
    assert done.stdout == "123456789012\n", done.stderr


@pytest.fixture
def certificate(tmp_path):
    """certificate(name): a fresh self-signed one for 127.0.0.1 and localhost; written over the last."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"

    def make(name):
        fresh = [tmp_path / "fresh-cert.pem", tmp_path / "fresh-key.pem"]
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", f"/CN={name}",
                        "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost", "-out", fresh[0], "-keyout", fresh[1]], check=True, capture_output=True)
        os.replace(fresh[1], key)
        os.replace(fresh[0], cert)
        return cert, key

    return make


def test_tls_and_a_new_certificate(build, folder, operate, certificate, tmp_path):
    if not shutil.which("openssl"):
        pytest.skip("the program openssl is not installed")
    cert, key = certificate("first")
    server = Server(build / "textmill", folder, "--tls-cert", str(cert), "--tls-key", str(key)).start()
    try:
        assert server.url.startswith("https://")
        s3 = server.client("s3", verify=str(cert))
        s3.create_bucket(Bucket="secret")
        s3.put_object(Bucket="secret", Key="k", Body=b"x" * 100_000)  # over TLS: aws-chunked, with a trailer
        assert s3.get_object(Bucket="secret", Key="k")["Body"].read() == b"x" * 100_000
        assert "ok runs at https://" in operate("status").stdout

        # SageMaker's SDKs take STS's address from botocore's table alone, and speak TLS to it.
        lines = operate("env", "--sdk").stdout
        script = ("import boto3, botocore.session as s\nhost = s.get_session().get_component('endpoint_resolver').construct_endpoint('sts', 'us-east-1')['hostname']\n"
                  "print(boto3.client('sts', endpoint_url='https://' + host).get_caller_identity()['Account'])")
        done = in_shell(lines, f"{sys.executable} - <<'END'\n{script}\nEND", tmp_path)
        assert done.stdout == "123456789012\n", done.stderr

        def common_name():
            pem = ssl.get_server_certificate(("127.0.0.1", int(server.url.rsplit(":", 1)[1])))
            return subprocess.run(["openssl", "x509", "-noout", "-subject"], input=pem, capture_output=True, text=True, check=True).stdout.split("CN = ")[1].strip()

        assert common_name() == "first"
        certificate("second")
        await_that(lambda: common_name() == "second", "the new certificate")
    finally:
        assert server.stop() == 0


def test_env_for_the_sagemaker_sdk(server, operate):
    lines = operate("env", "--sdk").stdout
    config = re.search(r"export SAGEMAKER_USER_CONFIG_OVERRIDE='(.*)'", lines)[1]
    text = Path(config).read_text()
    assert "DefaultS3Bucket: sagemaker-us-east-1-123456789012" in text and "TelemetryOptOut: true" in text


def test_coverage_is_current(textmill):
    page = Path(__file__).parents[2] / "docs/coverage.md"
    assert page.read_text() == textmill("coverage").stdout, "run: textmill coverage >docs/coverage.md"
