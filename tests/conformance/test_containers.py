"""Containers: any image that a container engine has trains and serves, behind the same walls as everything else."""

import contextlib
import io
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import tarfile
import tempfile
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from .. import images, jobs, tiny_models
from ..servers import NO_NAMESPACES, Server, await_that

pytestmark = pytest.mark.skipif(not shutil.which("podman") or not images.BUSYBOX.exists(), reason="podman or busybox-static is not installed")

ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
TRAIN = b"""#!/bin/sh
# Shows what it sees to whoever reads the model.
[ "${0##*/} $*" = "train " ] || { echo "started as $0 $*"; exit 9; }
cd /opt/ml/model
ls / > root; ls /bin > programs; ls /opt/ml > ml; ls /proc > processes; ls /dev > devices
env > env; id -u > user; hostname > host; cat /proc/1/comm > first
cp /etc/hosts /etc/hostname /etc/resolv.conf /opt/ml/code/mine.py .
cp /opt/ml/input/config/hyperparameters.json /opt/ml/input/data/train/a.txt .
[ -e /written ] && echo yes > /opt/ml/output/data/written_before
echo mine > /written && echo more >> /app/file && rm /bin/awk && echo changed > /opt/ml/input/data/train/a.txt
[ -w /tmp ] && echo x > /tmp/x && echo x > /dev/shm/x && echo x > /dev/null && ! echo x 2>/dev/null > /sys/x || exit 8
echo "$OLDPWD" > started_in
"""


@pytest.fixture(scope="module")
def podman(tmp_path_factory):
    folder = tmp_path_factory.mktemp("podman")
    podman = images.Podman(folder)
    yield podman
    try:
        assert podman("ps", "--all", "--quiet") == "", "no container is left"
    finally:
        podman.end()


@pytest.fixture(scope="module")
def server_options(podman):
    return "--container-engine", podman.program


@pytest.fixture(scope="module")
def box(podman):
    files = images.busybox() | {"app/bin/train": TRAIN, "app/file": b"of the image\n", "opt/ml/code/mine.py": b"print()\n", "etc/hostname": b"none\n",
                                "etc/resolv.conf": "-> ../run/nowhere/resolv.conf", "etc/hosts": "-> /bin/busybox"}
    return podman.add("localhost/box:1", files, "ENV GREETING=hello there", "ENV AWS_REGION=of-the-image", "ENV PATH=/app/bin:/bin", "WORKDIR /app", "USER nobody")


@pytest.fixture(scope="module")
def clients(server):
    sagemaker, s3, logs = server.client("sagemaker"), server.client("s3"), server.client("logs")
    s3.create_bucket(Bucket="jobs")
    s3.put_object(Bucket="jobs", Key="in/a.txt", Body=b"the channel's\n")
    return sagemaker, s3, logs


@pytest.fixture
def start(clients, name):
    """start(image, **request): the job's name."""

    def make(image, **more):
        job = name("job")
        clients[0].create_training_job(**jobs.request(job, image, **more))
        return job

    return make


@pytest.fixture
def run(clients, start):
    """The same to its end: what describes it then."""
    return lambda *arguments, **more: jobs.finish(clients[0], start(*arguments, **more), 120)


def shell(text):
    """As the algorithm of a job: a script for the image's shell, in pieces that the API takes."""
    pieces = [text[at:at + 250] for at in range(0, len(text), 250)]
    return {"ContainerEntrypoint": ["/bin/sh", "-c", 'IFS=; text="$*"; unset IFS; eval "$text"', "sh", *pieces]}


def archive(s3, job, what="model"):
    body = s3.get_object(Bucket="jobs", Key=f"out/{job}/output/{what}.tar.gz")["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(body), mode="r:gz") as tar:
        return {m.name: tar.extractfile(m).read().decode() for m in tar.getmembers() if m.isfile()}


def said(clients, done):
    return "\n".join(jobs.log_of(clients[2], done["TrainingJobName"]))


def test_what_a_container_sees(server, clients, run, box):
    for _ in range(2):  # the second time nothing of the first is there
        done = run(box, HyperParameters={"a": "1"}, Environment={"MINE": "yes"}, InputDataConfig=[jobs.channel("train", "s3://jobs/in")])
        assert done["TrainingJobStatus"] == "Completed", (done["FailureReason"], said(clients, done))
        seen = archive(clients[1], done["TrainingJobName"])
        assert seen["root"].split() == ["app", "bin", "dev", "etc", "opt", "proc", "sys", "tmp"]
        assert "awk" in seen["programs"].split() and seen["ml"].split() == ["checkpoints", "code", "input", "model", "output"]
        assert (seen["mine.py"], seen["a.txt"], json.loads(seen["hyperparameters.json"])) == ("print()\n", "the channel's\n", {"a": "1"})
        env = dict(line.split("=", 1) for line in seen["env"].splitlines())
        assert (env["GREETING"], env["PATH"], env["MINE"], env["HOME"]) == ("hello there", "/app/bin:/bin", "yes", "/root")
        assert env["AWS_REGION"] == "us-east-1" and env["TRAINING_JOB_NAME"] == done["TrainingJobName"], "the contract comes before the image"
        assert env["AWS_ENDPOINT_URL"] == server.url and not [n for n in env if n.startswith("TEXTMILL")]
        assert seen["user"] == "0\n" and seen["first"] == "textmill-init\n" and seen["started_in"] == "/app\n"
        assert seen["host"] == seen["hostname"] == "algo-1\n" and re.search(r"^127\.[1-9]\d*\.\d+\.1 algo-1$", seen["hosts"], re.M)
        assert seen["resolv.conf"] == Path("/etc/resolv.conf").read_text()
        assert len([p for p in seen["processes"].split() if p.isdigit()]) <= 4 and "sda" not in seen["devices"] and "null" in seen["devices"]
    assert clients[1].list_objects_v2(Bucket="jobs", Prefix=f"out/{done['TrainingJobName']}/")["KeyCount"] == 1, "no output.tar.gz: it did not see the first"
    assert "A container of the image localhost/box:1 (" in said(clients, done) and "asks for the user nobody" in said(clients, done)
    root, = (server.folder / "cache/images").iterdir()
    assert (root / "app/file").read_text() == "of the image\n" and (root / "bin/awk").is_symlink() and not (root / "written").exists()


def test_failures_have_reasons(clients, run, box):
    done = run(box, algorithm=shell("echo -n the true reason > /opt/ml/output/failure; exit 3"))
    assert done["FailureReason"] == "AlgorithmError: the true reason, exit code: 3"
    done = run(box, algorithm={"ContainerEntrypoint": ["no-such-program"]})
    assert done["FailureReason"] == "ClientError: cannot start no-such-program: No such file or directory"
    done = run(box, algorithm={"ContainerEntrypoint": ["/usr/bin/python3"]})
    assert done["FailureReason"] == "ClientError: cannot start /usr/bin/python3: No such file or directory", "not the machine's"


def test_entrypoint_and_arguments(run, podman):
    image = podman.add("localhost/says", images.busybox() | {"say": b'#!/bin/sh\necho "said: $*"; exit 9\n'}, 'ENTRYPOINT ["/say", "first"]', 'CMD ["never"]')
    for algorithm, words in (({}, "first train"), ({"ContainerArguments": ["a", "b c"]}, "first a b c"),
                             ({"ContainerEntrypoint": ["/say"]}, ""), ({"ContainerEntrypoint": ["/say", "x"], "ContainerArguments": ["y"]}, "x y")):
        assert run(image, algorithm=algorithm)["FailureReason"] == f"AlgorithmError: said: {words}".rstrip() + ", exit code: 9"


def test_walls(clients, run, box):
    """Nothing of the machine, whichever way; a network that leads nowhere, if asked; devices are no way out."""
    look = ("for d in /srv /home /usr /var /run /proc/1/root/usr ../../../../usr; do ls $d/. 2>/dev/null; done; "
            "mount -o remount,rw /sys && echo remounted; mknod /disk b 8 0 && cat /disk; chroot /proc/1/root /bin/ls && echo chrooted; cat /proc/1/environ; true")
    done = run(box, algorithm=shell(f"({look}) 2>/dev/null > /opt/ml/model/seen"))
    assert archive(clients[1], done["TrainingJobName"]) == {"seen": ""}, done
    for isolated, interfaces in ((False, interfaces_in(Path("/proc/net/dev").read_text())), (True, ["lo"])):
        done = run(box, algorithm=shell("cat /proc/net/dev > /opt/ml/model/net; env > /opt/ml/model/env"), EnableNetworkIsolation=isolated)
        seen = archive(clients[1], done["TrainingJobName"])
        assert interfaces_in(seen["net"]) == interfaces and ("AWS_SECRET" in seen["env"]) != isolated


def interfaces_in(table):
    return [line.split(":")[0].strip() for line in table.splitlines()[2:]]


def test_stop_checkpoints_and_instances(clients, start, box):
    sagemaker, s3, logs = clients
    job = start(box, algorithm=shell("trap 'echo leaving; exit 0' TERM; ping -c 1 -W 1 algo-2 > /dev/null; echo done > /opt/ml/save/$HOSTNAME; echo e > /opt/ml/events/$HOSTNAME; "
                                     "echo $HOSTNAME > /opt/ml/model/$HOSTNAME; echo ready; while true; do sleep 0.05; done"),
                resources={"InstanceCount": 2}, CheckpointConfig={"S3Uri": "s3://jobs/saved", "LocalPath": "/opt/ml/save"},
                TensorBoardOutputConfig={"S3OutputPath": "s3://jobs/events", "LocalPath": "/opt/ml/events"})
    await_that(lambda: all("ready" in jobs.log_of(logs, job, host) for host in ("algo-1", "algo-2")), "both run", 60)
    sagemaker.stop_training_job(TrainingJobName=job)
    done = jobs.finish(sagemaker, job)
    assert done["TrainingJobStatus"] == "Stopped" and "leaving" in jobs.log_of(logs, job), done
    assert archive(s3, job) == {"algo-1": "algo-1\n", "algo-2": "algo-2\n"}
    for place in ("saved", f"events/{job}/tensorboard-output"):
        assert sorted(o["Key"] for o in s3.list_objects_v2(Bucket="jobs", Prefix=f"{place}/")["Contents"]) == [f"{place}/algo-1", f"{place}/algo-2"]


def processes_with(words):
    found = []
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if process.name.isdigit() and words.encode() in (process / "cmdline").read_bytes():
                found.append(int(process.name))
    return found


def test_a_killed_runner_leaves_nothing(server, clients, start, box):
    sagemaker, _, logs = clients
    job = start(box, algorithm=shell("sleep 54321 & setsid sleep 54321 & echo ready; wait"))
    await_that(lambda: "ready" in jobs.log_of(logs, job), "it runs", 60)
    attempt, = (f.parent for f in (server.folder / "jobs").glob("*/journal"))
    os.kill(json.loads((attempt / "journal").read_text().splitlines()[0])["pid"], signal.SIGKILL)
    done = jobs.finish(sagemaker, job)
    assert done["TrainingJobStatus"] == "Failed" and done["FailureReason"].startswith("InternalServerError"), done
    assert not processes_with("54321")
    await_that(lambda: not attempt.exists(), "its folder is gone")
    assert str(server.folder) not in Path("/proc/self/mounts").read_text()


@pytest.fixture
def with_engine(build, tmp_path):
    """with_engine(words for `textmill up`, wrapper): another server's client."""
    servers = []

    def make(*options, wrapper=()):
        server = Server(build / "textmill", tmp_path / f"data{len(servers)}", "--sync", "process", *map(str, options)).start(wrapper)
        servers.append(server)
        server.client("s3").create_bucket(Bucket="jobs")
        return server, server.client("sagemaker")

    yield make
    for server in servers:
        assert server.stop() == 0


def create_endpoint(sagemaker, endpoint, container, count):
    sagemaker.create_model(ModelName=endpoint, PrimaryContainer=container, ExecutionRoleArn=jobs.ROLE)
    variant = {"VariantName": "AllTraffic", "ModelName": endpoint, "InstanceType": "ml.m5.large", "InitialInstanceCount": count}
    sagemaker.create_endpoint_config(EndpointConfigName=endpoint, ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName=endpoint, EndpointConfigName=endpoint)


def deploy(sagemaker, endpoint, container, count):
    """Its name, once it is in service."""
    create_endpoint(sagemaker, endpoint, container, count)
    described = lambda: sagemaker.describe_endpoint(EndpointName=endpoint)
    shown = await_that(lambda: (d := described())["EndpointStatus"] != "Creating" and d, "it is settled", 60)
    assert shown["EndpointStatus"] == "InService", shown
    return endpoint


def test_a_container_serves(with_engine, podman, build, tmp_path, name):
    server, sagemaker = with_engine("--container-engine", podman.program)
    files = images.program_and_libraries(build / "textmill", "usr/bin/textmill")
    image = podman.add("registry.example.com/team/textmill-server:3", files, 'ENTRYPOINT ["textmill"]', "ENV PATH=/usr/bin")
    folder, packed = tiny_models.tiny_bert(tmp_path / "model", labels=["neg", "pos"]), io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for file in folder.iterdir():
            tar.add(file, file.name)
    server.client("s3").put_object(Bucket="jobs", Key="model.tar.gz", Body=packed.getvalue())
    endpoint = deploy(sagemaker, name("endpoint"), {"Image": image, "ModelDataUrl": "s3://jobs/model.tar.gz"}, 2)
    runtime = server.client("sagemaker-runtime", check=False)
    ask = lambda: runtime.invoke_endpoint(EndpointName=endpoint, ContentType="application/json", Body=json.dumps({"inputs": ["a good film"]}))
    assert json.loads(ask()["Body"].read())[0]["label"] in ("neg", "pos")
    # Its files are in use, and it outlives the server.
    shown = json.loads(subprocess.run([build / "textmill", "clean", "--data-dir", server.folder], capture_output=True, text=True, check=True).stdout)
    assert True in [one["in_use"] for one in shown if one["what"] == "image"]
    server.kill()
    server.start()
    runtime = server.client("sagemaker-runtime", check=False)
    assert json.loads(ask()["Body"].read())[0]["label"] in ("neg", "pos")
    sagemaker = server.client("sagemaker")
    sagemaker.delete_endpoint(EndpointName=endpoint)
    await_that(lambda: not list((server.folder / "attempts").iterdir()), "nothing of it is left", 60)
    for file in (server.folder / "cache/images").iterdir():
        os.utime(file, (1, 1))  # else it was used just now
    subprocess.run([build / "textmill", "clean", "--free", "--data-dir", server.folder], capture_output=True, check=True)
    assert not list((server.folder / "cache/images").iterdir())


def test_a_server_that_listens_where_it_likes(with_engine, podman, name):
    """As most images that serve do: at 8080, each in a network of its own."""
    image = podman.add("localhost/httpd", images.busybox() | {"bin/serve": b"#!/bin/sh\nexec httpd -f -p 8080 -h /www\n", "www/ping": b"ok"}, "ENV PATH=/bin")
    server, sagemaker = with_engine("--container-engine", podman.program)
    endpoint = deploy(sagemaker, name("endpoint"), {"Image": image}, 2)
    with pytest.raises(ClientError) as caught:  # it answers, but takes no POST
        server.client("sagemaker-runtime", check=False).invoke_endpoint(EndpointName=endpoint, Body=b"x")
    assert caught.value.response["OriginalStatusCode"] == 501
    sagemaker.delete_endpoint(EndpointName=endpoint)
    await_that(lambda: not list((server.folder / "attempts").iterdir()), "nothing of it is left", 60)


@pytest.fixture
def engine(tmp_path):
    """engine(shell script): the path of a container engine that is none."""

    def make(text):
        path = tmp_path / "engine"
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return path

    return make


def reason(sagemaker, name, image, **more):
    job = name("job")
    sagemaker.create_training_job(**jobs.request(job, image, **more))
    done = jobs.finish(sagemaker, job)
    assert done["TrainingJobStatus"] == "Failed", done
    return done["FailureReason"]


def test_images_that_are_not_there(clients, with_engine, podman, name, run, build):
    assert run("localhost/nobody:7")["FailureReason"] == (
        f"ClientError: the image localhost/nobody:7 is none that `textmill images` lists, and {podman.program} does not have it: "
        "`podman pull localhost/nobody:7` or `podman load` brings it there (this server pulls no images)")
    assert run("--help")["FailureReason"].startswith(f"ClientError: the image --help is none that `textmill images` lists, and {podman.program} takes it for no image's name: ")
    assert run("textmill/serve")["FailureReason"] == "ClientError: the image textmill/serve does not train on this server: `textmill images` lists those that do"
    images.pack(podman.folder / "foreign.tar", {"train": b"x"})
    podman("import", "--arch", "s390x", podman.folder / "foreign.tar", "localhost/foreign")
    assert run("localhost/foreign")["FailureReason"] == f"ClientError: the image localhost/foreign is for linux/s390x, and this machine is linux/{ARCHITECTURE}"
    _, sagemaker = with_engine("--container-engine", "none")
    assert reason(sagemaker, name, "localhost/box:1") == (
        "ClientError: the image localhost/box:1 is none that this server runs: `textmill images` lists those that it does; others need podman or docker, and this "
        "server has neither (textmill up --container-engine): install one, or name the program as process:///path/program")
    shown = subprocess.run([build / "textmill", "images", "--container-engine", podman.program], capture_output=True, text=True, check=True).stdout
    assert json.loads(shown)[-1] == {"image": "any other", "trains": True, "serves": True, "help": f"containers, as {podman.program} has them"}
    done = subprocess.run([build / "textmill", "up", "--container-engine", "/no/such/podman"], capture_output=True, text=True)
    assert done.returncode == 2 and "the container engine '/no/such/podman' is no program: expected podman, docker, none, or the path of a program" in done.stderr


def test_engines_that_fail(with_engine, engine, name):
    fails = engine('echo "cannot connect to the daemon" >&2; exit 125')
    _, sagemaker = with_engine("--container-engine", fails)
    assert reason(sagemaker, name, "x") == f"InternalServerError: {fails} image inspect x failed with status 125: cannot connect to the daemon"
    engine(f"echo >> {fails}.asked; exit 125")
    assert reason(sagemaker, name, "x", RetryStrategy={"MaximumRetryAttempts": 2}).startswith("InternalServerError: ")
    assert len(fails.with_suffix(".asked").read_text()) == 3, "by its RetryStrategy; then it ends"
    engine("echo '[{}]'")
    assert reason(sagemaker, name, "x").startswith(f"InternalServerError: {fails} image inspect x: image inspect: ")
    engine("exec cat /dev/zero")
    assert reason(sagemaker, name, "x") == f"InternalServerError: {fails} image inspect -- x says more than 16 MiB"
    fails.unlink()
    assert reason(sagemaker, name, "x") == f"InternalServerError: cannot start {fails}: No such file or directory"


def test_an_engine_that_hangs(with_engine, engine, name, tmp_path):
    """Nobody else waits for it, the job can be stopped, and nothing of it is left."""
    _, sagemaker = with_engine("--container-engine", engine("sleep 65432 & wait"))
    stuck, other = name("stuck"), name("other")
    sagemaker.create_training_job(**jobs.request(stuck, "x"))
    await_that(lambda: processes_with("65432"), "it is asked")
    sagemaker.create_training_job(**jobs.request(other, jobs.script(tmp_path, "quick", "exit 0")))
    assert jobs.finish(sagemaker, other, 10)["TrainingJobStatus"] == "Completed"
    assert sagemaker.describe_training_job(TrainingJobName=stuck)["TrainingJobStatus"] == "InProgress"
    sagemaker.stop_training_job(TrainingJobName=stuck)
    assert jobs.finish(sagemaker, stuck, 20)["TrainingJobStatus"] == "Stopped"
    assert not processes_with("65432")
    create_endpoint(sagemaker, stuck, {"Image": "x"}, 6)
    await_that(lambda: len(processes_with("65432")) >= 6, "it is asked by all of them")
    sagemaker.delete_endpoint(EndpointName=stuck)
    await_that(lambda: not sagemaker.list_endpoints()["Endpoints"] and not processes_with("65432"), "nothing of it is left")


INSPECTION = json.dumps([{"Id": "sha256:" + "ab" * 32, "Os": "linux", "Architecture": ARCHITECTURE, "Config": {"Entrypoint": None, "Env": None}}])


@pytest.mark.parametrize("files, expected", [
    ({"../../../../escaped": b"x"}, 'ClientError: the image x: entry "../../../../escaped": a name outside the folder'),
    ({"out": "-> /", "out/escaped": b"x"}, 'ClientError: the image x: entry "out/escaped": goes through a link or a file, or replaces a folder'),
    (None, "ClientError: the image x: not a readable tar archive: "),
])
def test_files_that_try_to_leave(with_engine, engine, name, tmp_path, files, expected):
    if files is None:
        (tmp_path / "files.tar").write_bytes(b"nothing of that kind" * 100)
    else:
        images.pack(tmp_path / "files.tar", files)
    server, sagemaker = with_engine("--container-engine", engine(f"""echo "$1 $2" >> {tmp_path}/asked
case "$1" in image) echo '{INSPECTION}';; export) cat {tmp_path}/files.tar;; esac"""))
    assert reason(sagemaker, name, "x").startswith(expected)
    assert not list((server.folder / "cache/images").iterdir()) and not Path("/escaped").exists()
    asked = (tmp_path / "asked").read_text().split()
    assert asked == ["image", "inspect", "create", "--name", "export", asked[5], "rm", "--force"]


def test_links_that_lead_out_lead_nowhere(with_engine, engine, name, tmp_path):
    """Of an image every path that we mount on is a way out of it: they all end in it."""
    with tempfile.TemporaryDirectory(dir="/tmp") as open_to_all:
        os.chmod(open_to_all, 0o777)
        files = {f"bin/{n}": content for n, content in (("busybox", images.BUSYBOX), ("sh", "-> busybox"), ("ls", "-> busybox"))}
        ways = {"etc": "-> ../../../../../../etc", "proc": "-> /../../proc", "dev": b"", "tmp": "-> /proc/1/root/tmp", "sys": "-> /", "opt": f"-> ../../..{open_to_all}",
                "start": "-> /proc/self/fd"}
        images.pack(tmp_path / "files.tar", files | ways | {"bin/train": b"#!/bin/sh\nls / > /opt/ml/model/root && ls /etc > /opt/ml/model/etc || exit 7\n"})
        says = lambda inspection: engine(f"case $1 in image) echo '{inspection}';; export) cat {tmp_path}/files.tar;; esac")
        server, sagemaker = with_engine("--container-engine", says(INSPECTION))
        job = name("job")
        sagemaker.create_training_job(**jobs.request(job, "x"))
        done = jobs.finish(sagemaker, job)
        assert done["TrainingJobStatus"] == "Completed", done.get("FailureReason")
        seen = archive(server.client("s3"), job)
        assert seen["root"].split() == ["bin", "dev", "etc", "opt", "proc", "start", "sys", "tmp"] and seen["etc"].split() == ["hostname", "hosts", "resolv.conf"]
        says(INSPECTION.replace('"Env"', '"WorkingDir": "/start/9/x", "Env"'))  # what it leads to is one of our own descriptors
        assert reason(sagemaker, name, "x") == "ClientError: /start/9/x: No such file or directory"
        assert not os.listdir(open_to_all)


@pytest.mark.skipif(os.geteuid() != 0, reason="the namespace that may make no others is root's")
def test_where_there_are_no_namespaces(with_engine, engine, name, tmp_path):
    images.pack(tmp_path / "files.tar", images.busybox() | {"bin/train": TRAIN})
    _, sagemaker = with_engine("--container-engine", engine(f"case $1 in image) echo '{INSPECTION}';; export) cat {tmp_path}/files.tar;; esac"), wrapper=NO_NAMESPACES)
    said = reason(sagemaker, name, "x")
    assert said.startswith("ClientError: a container: this system lets us make no root of its own for it (namespaces: "), said


def test_a_damaged_cache_of_a_killed_server(with_engine, engine, name, tmp_path):
    """Killed while it unpacks: the next one removes the container and unpacks anew."""
    images.pack(tmp_path / "files.tar", images.busybox() | {"bin/train": b"#!/bin/sh\n"})
    slow = engine(f"""echo "$1 $3" >> {tmp_path}/asked
case $1 in image) echo '{INSPECTION}';; export) head -c 100000 {tmp_path}/files.tar; [ -e {tmp_path}/go ] || exec sleep 87654; tail -c +100001 {tmp_path}/files.tar;; esac""")
    server, sagemaker = with_engine("--container-engine", slow)
    job = name("job")
    sagemaker.create_training_job(**jobs.request(job, "x"))
    await_that(lambda: processes_with("87654"), "it is being unpacked")
    server.kill()
    for process in processes_with("87654"):
        os.kill(process, signal.SIGKILL)
    (tmp_path / "go").touch()
    (tmp_path / "asked").unlink()
    server.start()
    assert jobs.finish(server.client("sagemaker"), job)["TrainingJobStatus"] == "Completed"
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked[0].startswith("image") and asked[1].startswith("rm textmill-"), asked
