"""What an operator does with a server: start, ask, keep keys, back up, restore, stop."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
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


def in_shell(lines, script, home, **environment):
    return subprocess.run(["bash", "-c", f"shopt -s expand_aliases\n{lines}\n{script}"], capture_output=True, text=True, timeout=60,
                          env={"PATH": os.environ["PATH"], "HOME": str(home)} | environment)


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
    with urllib.request.urlopen(urllib.request.Request(f"{url}/_textmill/health", method="HEAD")) as answer:
        assert answer.status == 200 and not answer.read()
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


def test_a_rotated_root_key_is_its_owner_s_alone(build, operate, folder):
    """Whoever rotates it, under whatever umask: a service must be able to read it at its next start."""
    folder.mkdir(mode=0o755)
    wrapper = ()
    if os.geteuid() == 0:
        os.chown(folder, 65534, 65534)
        for parent in folder.parents[:3]:
            parent.chmod(0o755)
        wrapper = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    server = Server(build / "textmill", folder)
    server.start(wrapper)
    try:
        operate("keys", "rotate", server.access_key)
        key = (folder / "root-key.json").stat()
        assert stat.S_IMODE(key.st_mode) == 0o600 and key.st_uid == folder.stat().st_uid
    finally:
        server.stop()
    server.start(wrapper)
    server.stop()


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


AS_FORMAT_1 = """DROP TABLE attempts; DROP INDEX live_resources; DROP INDEX listed_resources;
CREATE INDEX resources_by_creation ON resources (kind, created, id); UPDATE resources SET key = name; PRAGMA user_version = 1"""


def test_an_older_folder_is_migrated_after_a_copy(build, server, operate):
    s3 = server.client("s3")
    s3.create_bucket(Bucket="bucket")
    s3.put_object(Bucket="bucket", Key="k", Body=b"x" * 100_000)
    server.client("sagemaker").create_model(ModelName="model", PrimaryContainer={"Image": "i"})
    server.client("iam").create_role(RoleName="MyRole", AssumeRolePolicyDocument="{}")
    operate("down")
    file = server.folder / "textmill.db"
    with sqlite3.connect(file) as database:
        newest = database.execute("PRAGMA user_version").fetchone()[0]
        tables = {row[0] for row in database.execute("SELECT name FROM sqlite_master")}
        database.executescript(AS_FORMAT_1)
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
    (["--tls-ca", "c.pem"], "--tls-ca: there is no --tls-cert"),
    (["--tls-cert", "/etc/hosts", "--tls-key", "/etc/hosts", "--tls-ca", "/nonexistent/ca.pem"], "/nonexistent/ca.pem"),
    (["--url", "https://there"], "--url: 'https://there' is no http://NAME:PORT"),
    (["--url", "http://there/path"], "--url: 'http://there/path' is no"),
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
        assert server.url.startswith("http://127.0.0.1:"), "as clients on this machine reach it"
        arn = server.client("sagemaker").create_model(ModelName="m", PrimaryContainer={"Image": "i"})["ModelArn"]
        assert arn == "arn:aws:sagemaker:eu-west-1:999999999999:model/m"
    finally:
        server.stop()


# What `env` prints is read by a shell and by the clients themselves.

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


def test_env_in_a_shell_that_spoke_to_others(server, operate, tmp_path):
    left = {"AWS_SESSION_TOKEN": "old", "AWS_PROFILE": "nope", "AWS_ENDPOINT_URL_STS": "http://127.0.0.1:9", "AWS_CA_BUNDLE": "/nowhere.pem"}
    done = in_shell(operate("env").stdout, f"{sys.executable} -c 'import boto3; print(boto3.client(\"sts\").get_caller_identity()[\"Account\"])'", tmp_path, **left)
    assert done.stdout == "123456789012\n", done.stderr
    proxy = {"HTTP_PROXY": "http://127.0.0.1:9", "NO_PROXY": "intern", "no_proxy": "intern"}
    lines = operate("env", env=os.environ | proxy).stdout
    assert "export NO_PROXY='127.0.0.1,intern' no_proxy='127.0.0.1,intern'\n" in lines
    done = in_shell(lines, f"{sys.executable} -c 'import boto3; print(boto3.client(\"sts\").get_caller_identity()[\"Account\"])'", tmp_path, **proxy)
    assert done.stdout == "123456789012\n", done.stderr
    with pytest.raises(ClientError, match="InvalidToken"):
        server.client("s3", token="old").list_buckets()


def test_env_as_a_profile(server, operate, tmp_path):
    config = tmp_path / "config"
    config.write_text(operate("env", "--profile").stdout)
    done = subprocess.run([sys.executable, "-c", "import boto3; print(boto3.client('sts').get_caller_identity()['Account'])"], capture_output=True, text=True,
                          env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "AWS_CONFIG_FILE": str(config), "AWS_PROFILE": "textmill"})
    assert done.stdout == "123456789012\n", done.stderr


def test_env_for_the_sagemaker_sdk(server, operate):
    lines = operate("env", "--sdk").stdout
    config = re.search(r"export SAGEMAKER_USER_CONFIG_OVERRIDE='(.*)'", lines)[1]
    text = Path(config).read_text()
    assert "DefaultS3Bucket: sagemaker-us-east-1-123456789012" in text and "TelemetryOptOut: true" in text


def test_coverage_is_current(textmill):
    page = Path(__file__).parents[2] / "docs/coverage.md"
    assert page.read_text() == textmill("coverage").stdout, "run: textmill coverage >docs/coverage.md"
