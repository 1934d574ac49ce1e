"""A server that is root: what it runs is another user outside its walls, and sees no more of the machine than anybody."""

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from .. import jobs
from ..servers import NO_NAMESPACES, Server, await_that

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the server of these tests is root")

# What is a secret and can be read; what of the machine can be changed. Says nothing when all is well.
LOOK = """for f in /etc/shadow /root/.bashrc OTHER/secret OTHER/textmill.db DATA/root-key.json; do cat $f >/dev/null 2>&1 && echo "read $f"; done
for d in /root /home OTHER DATA; do [ -n "$(ls -A $d 2>/dev/null)" ] && echo "listed $d"; done
for d in / /etc /usr /var/tmp /root /home OTHER DATA; do (echo x >$d/textmill-was-here) 2>/dev/null && echo "wrote $d/textmill-was-here"; done
for d in /opt/ml /opt/ml/model /tmp $HOME; do echo x >$d/mine || echo "cannot write $d"; done
"""


@pytest.fixture
def top():
    """Where anybody may go, unlike pytest's folders."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


@pytest.fixture
def home():
    with tempfile.TemporaryDirectory(dir="/root") as folder:
        yield Path(folder)


@pytest.fixture
def serve(build, top, home):
    servers = []

    def start(wrapper=(), folder=top, options=()):
        servers.append(Server(build / "textmill", folder / "data", "--sync", "process", "--stop-grace", "1", *options).start(wrapper))
        return servers[0]

    yield start
    for server in servers:
        server.stop()


def look(server, top):
    other = top / "other"
    other.mkdir(mode=0o700)
    for name in ("secret", "textmill.db"):
        (other / name).write_text("x")
        (other / name).chmod(0o600)
    return LOOK.replace("OTHER", str(other)).replace("DATA", str(server.folder))


def run(server, image, name="job", **more):
    sagemaker = server.client("sagemaker")
    sagemaker.create_training_job(**jobs.request(name, image, **more))
    return jobs.finish(sagemaker, name), [line for line in jobs.log_of(server.client("logs"), name) if not line.startswith("Limits")]


def outside(mark: bytes):
    """The users, and the groups, of processes with that in their environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (process / "environ").read_bytes():
                status = (process / "status").read_text()
                found.append((re.search(r"Uid:\s+(.*)", status)[1].split(), re.search(r"Groups:(.*)", status)[1].split()))
        except OSError:
            pass
    return found


def test_a_job(serve, top):
    server = serve()
    s3 = server.client("s3")
    s3.create_bucket(Bucket="jobs")
    for key, size in (("in/small", 10), ("in/deep/large", 100_000)):
        s3.put_object(Bucket="jobs", Key=key, Body=b"x" * size)
    image = jobs.script(top, "program", look(server, top) + """id -u
cd input/data/train && echo changed >deep/large && rm small && [ "$(cat deep/large)" = changed ] || echo "the input is not its own"
mkdir -p /opt/ml/checkpoints && echo 1 >/opt/ml/checkpoints/step
[ -e /opt/ml/model/mine ] && cat /opt/ml/checkpoints/before && while [ ! -e /tmp/go ] && [ ! -e /opt/ml/stop ]; do sleep 0.05; done""")
    s3.put_object(Bucket="jobs", Key="c/before", Body=b"kept\n")
    sagemaker = server.client("sagemaker")
    sagemaker.create_training_job(**jobs.request("job", image, InputDataConfig=[jobs.channel("train", "s3://jobs/in/")],
                                                 CheckpointConfig={"S3Uri": "s3://jobs/c"}))
    await_that(lambda: "kept" in jobs.log_of(server.client("logs"), "job"), "it runs")
    users = outside(b"TRAINING_JOB_NAME=job\0")
    assert users and all(uid == ["61000"] * 4 and groups == [] for uid, groups in users), users
    sagemaker.stop_training_job(TrainingJobName="job")
    done = jobs.finish(sagemaker, "job")
    said = [line for line in jobs.log_of(server.client("logs"), "job") if not line.startswith("Limits")]
    assert said == ["0", "kept"] and done["TrainingJobStatus"] == "Stopped", (said, done)
    assert s3.get_object(Bucket="jobs", Key="in/deep/large")["Body"].read() == b"x" * 100_000
    assert s3.get_object(Bucket="jobs", Key="c/step")["Body"].read() == b"1\n"
    await_that(lambda: not list((server.folder / "jobs").iterdir()), "nothing is left")


def test_an_instance_of_an_endpoint(serve, top, home):
    server = serve(folder=home)
    program = top / "serves"
    program.write_text(f"""#!/usr/bin/python3
import http.server, os, subprocess
said = subprocess.run(["/bin/sh", "-c", {look(server, top)!r}], capture_output=True, text=True)
class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self):
        body = (said.stdout + said.stderr + "done").encode()
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers(); self.wfile.write(body)
    do_GET = do_POST = answer
http.server.HTTPServer(("127.0.0.1", int(os.environ["SAGEMAKER_BIND_TO_PORT"])), Handler).serve_forever()
""")
    program.chmod(0o755)
    sagemaker = server.client("sagemaker")
    sagemaker.create_model(ModelName="m", PrimaryContainer={"Image": f"process://{program}"}, ExecutionRoleArn=jobs.ROLE)
    sagemaker.create_endpoint_config(EndpointConfigName="c", ProductionVariants=[
        {"VariantName": "v", "ModelName": "m", "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}])
    sagemaker.create_endpoint(EndpointName="e", EndpointConfigName="c")
    await_that(lambda: sagemaker.describe_endpoint(EndpointName="e")["EndpointStatus"] == "InService", "it serves")
    answer = server.client("sagemaker-runtime", check=False).invoke_endpoint(EndpointName="e", Body=b"x")["Body"].read()
    assert answer == b"done"
    port = next(v for v in (server.folder / "attempts").glob("*/task.json")).read_text()
    mark = b"SAGEMAKER_BIND_TO_PORT=" + re.search(r'SAGEMAKER_BIND_TO_PORT": *"(\d+)', port)[1].encode() + b"\0"
    assert outside(mark) and all(uid == ["61000"] * 4 for uid, _ in outside(mark))
    sagemaker.delete_endpoint(EndpointName="e")


@pytest.mark.parametrize("where", ["/root", "/var/tmp"])  # hidden from programs; there, but closed to others
def test_a_certificate_in_a_closed_folder(serve, top, where):
    if not shutil.which("openssl"):
        pytest.skip("the program openssl is not installed")
    with tempfile.TemporaryDirectory(dir=where) as closed:
        cert, key = f"{closed}/cert.pem", f"{closed}/key.pem"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=x",
                        "-addext", "subjectAltName=IP:127.0.0.1", "-out", cert, "-keyout", key], check=True, capture_output=True)
        server = serve(options=("--tls-cert", cert, "--tls-key", key))
        server.client("s3", verify=cert).create_bucket(Bucket="jobs")
        asks = f"""import os, ssl, urllib.request
trusted = ssl.create_default_context(cafile=os.environ["AWS_CA_BUNDLE"])
print("health", urllib.request.urlopen(os.environ["AWS_ENDPOINT_URL"] + "/_textmill/health", context=trusted).status)
print("key", os.access({key!r}, os.R_OK))"""
        sagemaker, logs = server.client("sagemaker", verify=cert), server.client("logs", verify=cert)
        sagemaker.create_training_job(**jobs.request("job", jobs.script(top, "asks", asks, "/usr/bin/python3")))
        done = jobs.finish(sagemaker, "job")
        assert done["TrainingJobStatus"] == "Completed", done
        assert {"health 200", "key False"} <= set(jobs.log_of(logs, "job"))


def test_a_program_that_the_user_cannot_read(serve, home):
    server = serve()
    server.client("s3").create_bucket(Bucket="jobs")
    why = ("Permission denied (the server is root, so programs run as the user 61000, who must be allowed to read this one and to enter its folders)")
    with tempfile.TemporaryDirectory(dir="/var/tmp") as closed:
        image = jobs.script(Path(closed), "program", "echo hello")
        assert run(server, image)[0]["FailureReason"] == f"ClientError: cannot start {closed}/program: {why}"
        os.chmod(closed, 0o755)
        os.chmod(Path(closed, "program"), 0o700)
        assert run(server, image, "again")[0]["FailureReason"].endswith(why)
    # A home is entered for what is named, and shows nothing else.
    (home / "other").write_text("x")
    done, _ = run(server, "process:///bin/true", "names", algorithm={"ContainerEntrypoint": ["/bin/cat", f"{home}/other"]})
    assert "No such file" in done["FailureReason"], done
    done, _ = run(server, f"process://{home}/other", "shown", algorithm={"ContainerEntrypoint": ["sh", "-c", f"cat {home}/other"]})
    assert "No such file" in done["FailureReason"], done  # what cannot be run is no program that was named
    done, said = run(server, jobs.script(home, "program", f"ls -A {home}; echo hello"), "home")
    assert (done["TrainingJobStatus"], said) == ("Completed", ["program", "hello"]), done
    (home / "sh").symlink_to("/bin/sh")
    image = jobs.script(home, "by-its-own", "echo hello", interpreter=f"{home}/sh")
    assert run(server, image, "hidden")[0]["FailureReason"].startswith(
        f'ClientError: cannot start {home}/by-its-own: No such file or directory (what its first line, "#!", names is not there for it: the server is root')


@pytest.mark.parametrize("count", [1, 2])
def test_inputs_stay_the_servers(serve, top, count):
    """A program may write to them, small or large; the store's own files have the owner, the mode and the bytes that they had."""
    server = serve()
    s3 = server.client("s3")
    s3.create_bucket(Bucket="jobs")
    for key in ("in/large", "in/more/large", "cp/large", "in/small"):
        s3.put_object(Bucket="jobs", Key=key, Body=key.encode() * (20_000 if "large" in key else 1))
    stats = lambda: {file: (s.st_uid, s.st_gid, s.st_mode, s.st_size) for file in (server.folder / "objects").rglob("*") for s in [file.stat()] if file.is_file()}
    before = stats()
    assert len(before) == 3
    image = jobs.script(top, "program", """set -e; cd /opt/ml/input/data/train; stat -c '%u %n' . more large more/large small
echo changed >>large; echo changed >>small; rm more/large; mkdir -p more/new; echo new >more/new/file; chown 0:0 small; chmod 600 large
tail -n 1 large small | grep -c changed; ls more; wc -c </opt/ml/checkpoints/large; cat small >/opt/ml/model/$(hostname)""")
    done, said = run(server, image, resources={"InstanceCount": count}, InputDataConfig=[jobs.channel("train", "s3://jobs/in/")], CheckpointConfig={"S3Uri": "s3://jobs/cp"})
    assert done["TrainingJobStatus"] == "Completed", (done.get("FailureReason"), said)
    assert [line for line in said if not line.startswith("Limits")] == ["0 .", "0 more", "0 large", "0 more/large", "0 small", "2", "new", "160000"], said  # of the first
    assert stats() == before
    assert s3.get_object(Bucket="jobs", Key="in/large")["Body"].read() == b"in/large" * 20_000
    await_that(lambda: not list((server.folder / "jobs").iterdir()) and not list((server.folder / "gone").iterdir()), "its folders are gone")


def test_without_namespaces(serve, top):
    server = serve(NO_NAMESPACES)
    s3 = server.client("s3")
    s3.create_bucket(Bucket="jobs")
    s3.put_object(Bucket="jobs", Key="in/large", Body=b"x" * 100_000)
    image = jobs.script(top, "program", f"""id -u; id -G; cat /etc/shadow {server.folder}/root-key.json {server.folder}/textmill.db; ls {server.folder} {server.folder}/jobs
echo changed >input/data/train/large && cp input/data/train/large model""")
    done, said = run(server, image, InputDataConfig=[jobs.channel("train", "s3://jobs/in/")])
    assert done["TrainingJobStatus"] == "Completed", (done.get("FailureReason"), said)
    assert {file.stat().st_uid for file in (server.folder / "objects").rglob("*")} == {0}
    assert said[0].startswith("This system lets us make no namespaces") and said[1:3] == ["61000", "61000"], said
    assert len([line for line in said if line.endswith("Permission denied")]) == 5 and len(said) == 8, said
    assert s3.get_object(Bucket="jobs", Key="in/large")["Body"].read() == b"x" * 100_000
