"""Framework images train: the user's script, packed and described as SageMaker's SDK does it, in the image's Python environment."""

import base64
import hashlib
import http.server
import importlib.util
import io
import json
import os
import shutil
import sys
import tarfile
import threading
import types
import venv
import zipfile

import pytest

from ..conftest import ROOT
from ..jobs import channel, finish, log_of, request, script
from ..servers import Server, await_that

IMAGE = "763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-training:2.1-cpu-py310"
SCRIPT = """
import argparse, json, os, sys
parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int)
arguments = parser.parse_args()
for epoch in range(arguments.epochs):
    print(f"loss={1 / (epoch + 1)}")
try:
    import tinypackage
    word = tinypackage.WORD
except ImportError:
    word = None
with open(os.path.join(os.environ["SM_MODEL_DIR"], "seen.json"), "w") as out:
    json.dump({"epochs": arguments.epochs, "word": word, "paths": sys.path, "sm": {k: v for k, v in os.environ.items() if k.startswith("SM_")}}, out)
"""


@pytest.fixture(scope="module", autouse=True)
def environment(server):
    folder = server.folder / "environments" / "pytorch"
    venv.create(folder, with_pip=True, symlinks=True)
    server.client("s3").create_bucket(Bucket="jobs")
    return folder


def wheel(name, version, text, requires="", commands="", data=None):
    """A package of one module: its file's name and bytes. `data`: what goes to the environment's folder, by path."""
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n" + (f"Requires-Dist: {requires}\n" if requires else "")
    files = {f"{name}/__init__.py": text, f"{name}-{version}.dist-info/METADATA": metadata,
             f"{name}-{version}.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"}
    files |= {f"{name}-{version}.data/data/{path}": text for path, text in (data or {}).items()}
    if commands:
        files[f"{name}-{version}.dist-info/entry_points.txt"] = f"[console_scripts]\n{commands}\n"
    record = "".join(f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(data.encode()).digest()).rstrip(b'=').decode()},{len(data)}\n" for path, data in files.items())
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as out:
        for path, data in (files | {f"{name}-{version}.dist-info/RECORD": record}).items():
            out.writestr(path, data)
    return f"{name}-{version}-py3-none-any.whl", buffer.getvalue()


@pytest.fixture(scope="module")
def index():
    """A package index on loopback: the line that names it, what it was asked for. The package outer needs the package inner."""
    wheels = dict([wheel("tinypackage", "1.0", "WORD = 'tiny'\n"), wheel("outer", "1.0", "import inner, os, sys\ndef say(): print('outer says', inner.VERSION)\n"
                         "def call(): os.execv(os.path.join(os.path.dirname(sys.argv[0]), 'outer-say'), ['outer-say'])\n", "inner>=1", "outer-say = outer:say\nouter-call = outer:call"),
                   wheel("uuid", "1.0", "raise ImportError('not the one of the library')\n"),
                   wheel("beside", "1.0", "import os\nPLACE = os.path.join(os.path.dirname(__file__), '../../../../share/beside/word')\n", data={"share/beside/word": "shared"}), wheel("inner", "2.0", "VERSION = 2\n")])
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            links = [f'<a href="/{name}">{name}</a>' for name in wheels if self.path == f"/simple/{name.partition('-')[0]}/"]
            body = "".join(links).encode() or wheels.get(self.path[1:])
            self.send_response(200 if body else 404)
            self.send_header("Content-Type", "text/html" if self.path.endswith("/") else "application/zip")
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        yield f"--index-url http://127.0.0.1:{served.server_port}/simple\n", asked  # what a requirements.txt begins with
        served.shutdown()


def packed(files, **header):
    """Files, by path: text or bytes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for path, text in files.items():
            info = tarfile.TarInfo(path)
            data = text if isinstance(text, bytes) else text.encode()
            info.size = len(data)
            for field, value in header.items():
                setattr(info, field, value)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


@pytest.fixture
def train(server, name):
    """train({"entry.py": ...}, epochs=2): the job's description at its end."""
    sagemaker, s3 = server.client("sagemaker"), server.client("s3")

    def run(files, image=IMAGE, environment=None, resources=None, header=None, **hyperparameters):
        job = name("script")
        s3.put_object(Bucket="jobs", Key=f"{job}/source/sourcedir.tar.gz", Body=packed(files, **(header or {})))
        own = {"sagemaker_program": "entry.py", "sagemaker_submit_directory": f"s3://jobs/{job}/source/sourcedir.tar.gz", "sagemaker_job_name": job}
        sagemaker.create_training_job(**request(job, image, HyperParameters={k: json.dumps(v) for k, v in (own | hyperparameters).items()},
                                                algorithm={"MetricDefinitions": [{"Name": "loss", "Regex": "loss=([0-9.]+)"}]}, Environment=environment or {}, resources=resources or {}))
        return finish(sagemaker, job, 120)

    return run


def model_of(server, job):
    bucket, _, key = job["ModelArtifacts"]["S3ModelArtifacts"][len("s3://"):].partition("/")
    body = server.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(body)) as tar:
        return {member.name: json.load(tar.extractfile(member)) for member in tar if member.isfile()}


def test_a_script_trains(server, train, environment):
    job = train({"entry.py": SCRIPT}, epochs=2)
    assert job["TrainingJobStatus"] == "Completed", job
    assert {m["MetricName"]: m["Value"] for m in job["FinalMetricDataList"]} == {"loss": 0.5}
    seen = model_of(server, job)["seen.json"]
    assert seen["epochs"] == 2 and seen["word"] is None
    assert [path for path in seen["paths"] if path.endswith("site-packages")][-1].startswith(os.path.realpath(environment))
    assert seen["sm"]["SM_HP_EPOCHS"] == "2" and seen["sm"]["SM_USER_ENTRY_POINT"] == "entry.py" and seen["sm"]["SM_MODEL_DIR"] == "/opt/ml/model"
    assert "Invoking script with the following command:" in "\n".join(log_of(server.client("logs"), job["TrainingJobName"]))


def test_requirements_are_installed_once(server, train, index):
    source, asked = index
    files = {"entry.py": SCRIPT, "requirements.txt": source + "tinypackage==1.0\n"}
    jobs = [train(files, epochs=1)]
    assert jobs[0]["TrainingJobStatus"] == "Completed", jobs[0]
    before = list(asked)
    assert any(path.endswith(".whl") for path in before)
    jobs.append(train(files, epochs=1))
    assert [model_of(server, job)["seen.json"]["word"] for job in jobs] == ["tiny", "tiny"] and asked == before


@pytest.fixture
def inner(environment):
    """Version 1.0 of the package inner in the environment."""
    site, = environment.glob("lib/python*/site-packages")
    with zipfile.ZipFile(io.BytesIO(wheel("inner", "1.0", "VERSION = 1\n")[1])) as older:
        older.extractall(site)
    command = environment / "bin/inner-say"
    command.write_text(f"#!{environment}/bin/python\nimport inner, tinypackage\nprint('inner', inner.VERSION)\n")
    command.chmod(0o755)
    yield
    command.unlink()
    for folder in site.glob("inner*"):
        shutil.rmtree(folder)


# What requirements.txt has beside the index, and what the source has.
SEES = "import outer, inner\nprint('inner', inner.VERSION)\n"
PIP = "import subprocess, sys\nsubprocess.check_call([sys.executable, '-m', 'pip', 'install', '-q', *{source}.split(), 'outer'])\n" + SEES
WAYS = {
    "a package that needs it": ("outer", {"entry.py": SEES}),
    "the script's own pip": ("", {"entry.py": PIP}),
    "a command of the package": ("outer", {"entry.sh": "outer-say; outer-call | sed 's/outer says/inner/'"}),
    "a command of the environment": ("tinypackage", {"entry.sh": "inner-say"}),
    "pip as a command": ("", {"entry.sh": "pip install -q {source} outer && outer-say | sed 's/outer says/inner/'"}),
}


@pytest.mark.parametrize("way", WAYS)
def test_what_the_environment_has_stays(server, train, inner, index, way):
    """As pip does in an environment: what fits is neither fetched nor replaced."""
    source, asked = index
    wanted, files = WAYS[way]
    before, program = len(asked), next(iter(files))
    files = {program: files[program].replace("{source}", repr(source.strip()) if program.endswith(".py") else source.strip())}
    job = train(files | {"requirements.txt": source + wanted}, sagemaker_program=program)
    assert job["TrainingJobStatus"] == "Completed", job
    assert "inner 1" in log_of(server.client("logs"), job["TrainingJobName"])
    assert not any("inner" in path for path in asked[before:])


@pytest.mark.parametrize("wanted, says", [("beside", "import beside; print(open(beside.PLACE).read())"), ("uuid", "import uuid; uuid.uuid4(); print('shared')")])
def test_packages_are_as_in_an_environment(server, train, index, wanted, says):
    """With what they bring beside their modules, and after Python's own library."""
    job = train({"entry.py": says, "requirements.txt": index[0] + wanted})
    assert job["TrainingJobStatus"] == "Completed", job
    assert "shared" in log_of(server.client("logs"), job["TrainingJobName"])


def test_comments_name_no_files(server, train, index):
    source, asked = index
    files = {"entry.py": SCRIPT, "requirements.txt": f"# profile: see docs/x.whl\n{source}-f {source.split()[1]}/tinypackage/\ntinypackage==1.0 # or ./x.whl\n"}
    assert train(files, epochs=1)["TrainingJobStatus"] == "Completed"
    before = len(asked)
    assert train(files, epochs=1)["TrainingJobStatus"] == "Completed" and len(asked) == before


def test_what_does_not_fit_is_there_in_its_place(server, train, inner, index):
    job = train({"entry.py": "import inner\nprint('inner', inner.VERSION)\n", "requirements.txt": index[0] + "inner>=2"})
    assert job["TrainingJobStatus"] == "Completed", job
    assert "inner 2" in log_of(server.client("logs"), job["TrainingJobName"])


# A package whose build needs nothing but itself.
MINE = {"pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n', "mine/__init__.py": "WORD = 'mine'\n",
        "backend.py": """
import os, zipfile
def write(folder, files):
    with zipfile.ZipFile(os.path.join(folder, "mine-1.0-py3-none-any.whl"), "w") as out:
        for name, text in dict(files, METADATA="Metadata-Version: 2.1\\nName: mine\\nVersion: 1.0\\n", RECORD="",
                               WHEEL="Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n").items():
            out.writestr(name if "." in name else "mine-1.0.dist-info/" + name, text)
    return "mine-1.0-py3-none-any.whl"
def build_wheel(folder, settings=None, metadata=None):
    return write(folder, {"mine/__init__.py": open("mine/__init__.py").read()})
def build_editable(folder, settings=None, metadata=None):
    return write(folder, {"mine.pth": os.getcwd() + "\\n"})
"""}
SOURCES = {
    "mine-1.0-py3-none-any.whl": dict([wheel("mine", "1.0", "WORD = 'mine'\n")]),
    "./mine-1.0-py3-none-any.whl": dict([wheel("mine", "1.0", "WORD = 'mine'\n")]),
    "-r more.txt": dict([wheel("mine", "1.0", "WORD = 'mine'\n")]) | {"more.txt": "mine-1.0-py3-none-any.whl"},
    "-e ./lib": {f"lib/{name}": text for name, text in MINE.items()},
    "lib/": {f"lib/{name}": text for name, text in MINE.items()},
    "vendor/mine-1.0.tar.gz": {"vendor/mine-1.0.tar.gz": packed({f"mine-1.0/{name}": text for name, text in MINE.items()})},
}


@pytest.mark.parametrize("line", SOURCES)
def test_requirements_name_files_beside_them(server, train, line):
    job = train(SOURCES[line] | {"entry.py": "import mine\nprint(mine.WORD)\n", "requirements.txt": line})
    assert job["TrainingJobStatus"] == "Completed", job
    assert "mine" in log_of(server.client("logs"), job["TrainingJobName"])


def test_a_source_that_is_a_package(server, train):
    """The toolkit installs it, and runs the entry point as a module."""
    files = MINE | {"setup.py": "", "mine/train.py": "from . import WORD\nprint(WORD, __package__)\n"}
    job = train(files, sagemaker_program="mine/train.py")
    assert job["TrainingJobStatus"] == "Completed", job
    assert "mine mine" in log_of(server.client("logs"), job["TrainingJobName"])


def test_requirements_come_from_the_index_that_the_job_names(server, train, index):
    source, asked = index
    before = len(asked)
    job = train({"entry.py": SCRIPT, "requirements.txt": "tinypackage==1.0\n"}, environment={"PIP_INDEX_URL": source.split()[1]}, epochs=1)
    assert job["TrainingJobStatus"] == "Completed", job
    assert model_of(server, job)["seen.json"]["word"] == "tiny" and len(asked) > before


def test_requirements_name_variables_of_the_job(train, index):
    """As pip has it; and a proxy that the job names is no way to the server itself."""
    files = {"entry.py": "import tinypackage\n", "requirements.txt": index[0].replace("/simple", "/${PLACE}") + "tinypackage==1.0\n"}
    job = train(files, environment={"PLACE": "simple", "HTTP_PROXY": "http://127.0.0.1:1", "NO_PROXY": "127.0.0.1"})
    assert job["TrainingJobStatus"] == "Completed", job
    job = train({"entry.py": ""}, environment={"HTTP_PROXY": "http://127.0.0.1:1"})
    assert job["TrainingJobStatus"] == "Completed", job


def test_what_was_installed_can_be_cleaned(server, train, index, textmill):
    source, asked = index
    files = {"entry.py": SCRIPT, "requirements.txt": source + "tinypackage==1.0\n"}
    assert train(files, epochs=1)["TrainingJobStatus"] == "Completed"
    held = lambda: [c for c in json.loads(textmill("clean", "--data-dir", server.folder).stdout) if c["what"] == "requirements" and c["bytes"]]
    assert any(c["in_use"] for c in held())  # a job may be about to use the new one
    textmill("clean", "--free", "--data-dir", server.folder)
    assert held()
    for entry in held():
        os.utime(server.folder / "cache/requirements" / entry["name"], (0, 0))
    assert not any(c["in_use"] for c in held())
    freed = json.loads(textmill("clean", "--free", "--data-dir", server.folder).stdout)["freed"]
    assert freed >= 1 and not held()
    before = len(asked)
    assert train(files, epochs=1)["TrainingJobStatus"] == "Completed" and len(asked) > before
    environments = [c["name"] for c in json.loads(textmill("clean", "--data-dir", server.folder).stdout) if c["what"] == "environment"]
    assert environments == ["pytorch"]


def test_a_source_that_leaves_its_folder(train):
    reason = train({"entry.py": SCRIPT, "../x": ""})["FailureReason"]
    assert reason.startswith("ClientError: s3://jobs/") and 'sourcedir.tar.gz: entry "../x": ' in reason and "/tmp/" not in reason, reason


def test_requirements_that_are_not_there(train, index):
    job = train({"entry.py": SCRIPT, "requirements.txt": index[0] + "nosuchpackage==1.0\n"}, epochs=1)
    assert job["TrainingJobStatus"] == "Failed"
    assert job["FailureReason"].startswith("ClientError: The packages of requirements.txt could not be installed:") and "nosuchpackage" in job["FailureReason"]


@pytest.mark.parametrize("program", ["run.sh", "launch"])
def test_an_entry_point_that_is_no_python(server, train, program):
    """Its first line says what runs it, as the toolkit has it."""
    job = train({program: "#!/bin/bash\nset -o pipefail\na=(1 2 3)\necho loss=${#a[@]} $*"}, sagemaker_program=program, epochs=2)
    assert job["TrainingJobStatus"] == "Completed", job
    assert "loss=3 --epochs 2" in log_of(server.client("logs"), job["TrainingJobName"])


def test_an_archive_packed_by_another_user(server, train):
    """Whose id the job's namespace does not map: files keep their mode and times all the same."""
    calls = "import os, subprocess\nprint('loss=1', subprocess.check_output(['./helper.sh'], text=True), os.stat('helper.sh').st_mtime)"
    job = train({"entry.py": calls, "helper.sh": "#!/bin/sh\nprintf helped\n"}, header={"uid": 1000, "gid": 1000, "uname": "ec2-user", "gname": "users", "mode": 0o755, "mtime": 1e9})
    assert job["TrainingJobStatus"] == "Completed", job
    assert "loss=1 helped 1000000000.0" in log_of(server.client("logs"), job["TrainingJobName"])


def test_a_script_that_fails(train):
    job = train({"entry.py": "raise SystemExit(7)"})
    assert job["TrainingJobStatus"] == "Failed" and job["FailureReason"].startswith("AlgorithmError: ExecuteUserScriptError: ExitCode 7"), job


def test_an_environment_that_is_not_there(train):
    job = train({"entry.py": SCRIPT}, image=IMAGE.replace("pytorch", "mxnet"), epochs=1)
    assert job["TrainingJobStatus"] == "Failed"
    assert job["FailureReason"].startswith("ClientError: The Python environment mxnet for the image")
    assert "in the server's data folder (textmill up --data-dir): python3 -m venv environments/mxnet && environments/mxnet/bin/pip install mxnet" in job["FailureReason"]


@pytest.mark.parametrize("prefix", ["sourcedir.tar.gz", ""])
def test_a_script_without_a_network(server, name, index, prefix):
    """The SDK then sends the source as a channel. What requirements.txt names is there before the network is gone."""
    sagemaker, job = server.client("sagemaker"), name("alone")
    server.client("s3").put_object(Bucket="jobs", Key=f"{job}/source/sourcedir.tar.gz",
                                    Body=packed({"entry.py": SCRIPT, "requirements.txt": index[0] + "tinypackage==1.0\n"}))
    own = {"sagemaker_program": "entry.py", "sagemaker_submit_directory": "/opt/ml/input/data/code/sourcedir.tar.gz", "epochs": 1}
    sagemaker.create_training_job(**request(job, IMAGE, HyperParameters={k: json.dumps(v) for k, v in own.items()}, EnableNetworkIsolation=True,
                                            InputDataConfig=[channel("code", f"s3://jobs/{job}/source/{prefix}")]))
    done = finish(sagemaker, job)
    assert done["TrainingJobStatus"] == "Completed", done
    assert model_of(server, done)["seen.json"]["epochs"] == 1


ANSWERS = """
import os, tinypackage
def model_fn(model_dir): return tinypackage.WORD
def predict_fn(data, model): return [model, "AWS_ENDPOINT_URL" in os.environ, open("/proc/net/dev").read().count(":")]
"""


def answer_of(server, model, code, beside=False, isolated=False):
    """What an endpoint of a script answers; it is deleted then."""
    sagemaker, s3 = server.client("sagemaker"), server.client("s3")
    s3.put_object(Bucket="jobs", Key=f"{model}/code.tar.gz", Body=packed(code))
    s3.put_object(Bucket="jobs", Key=f"{model}/model.tar.gz", Body=packed({"x": ""} if beside else {f"code/{file}": text for file, text in code.items()}))
    sagemaker.create_model(ModelName=model, ExecutionRoleArn="arn:aws:iam::123456789012:role/Role", EnableNetworkIsolation=isolated, PrimaryContainer={
        "Image": IMAGE.replace("training", "inference"), "ModelDataUrl": f"s3://jobs/{model}/model.tar.gz",
        "Environment": {"SAGEMAKER_SUBMIT_DIRECTORY": f"s3://jobs/{model}/code.tar.gz"} if beside else {}})
    sagemaker.create_endpoint_config(EndpointConfigName=model, ProductionVariants=[{"VariantName": "v", "ModelName": model, "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}])
    sagemaker.create_endpoint(EndpointName=model, EndpointConfigName=model)
    try:
        done = await_that(lambda: (d := sagemaker.describe_endpoint(EndpointName=model))["EndpointStatus"] != "Creating" and d, "it is settled", 60)
        assert done["EndpointStatus"] == "InService", done
        answer = server.client("sagemaker-runtime").invoke_endpoint(EndpointName=model, ContentType="application/json", Body=b"1")
        return json.loads(answer["Body"].read())
    finally:
        sagemaker.delete_endpoint(EndpointName=model)


@pytest.mark.parametrize("beside", [False, True])
def test_a_script_serves_without_a_network(server, name, index, beside):
    """What requirements.txt names is there all the same, with the script in the model, or beside it as SDK 2 sends scikit-learn's."""
    code = {"inference.py": ANSWERS, "requirements.txt": index[0] + "tinypackage==1.0\n"}
    assert answer_of(server, name("Alone"), code, beside, isolated=True) == ["tiny", False, 1]  # the loopback


SAYS = "def model_fn(model_dir): return None\ndef predict_fn(data, model): return says\n"
SERVES = {
    "its own pip": ("", PIP + "says = inner.VERSION\n" + SAYS, 1),
    "a command of a package": ("outer", "import subprocess\nsays = subprocess.check_output(['outer-say'], text=True)\n" + SAYS, "outer says 1\n"),
    "a command of the environment": ("tinypackage", "import subprocess\nsays = subprocess.check_output(['inner-say'], text=True)\n" + SAYS, "inner 1\n"),
    "a package beside it": ("-e ./lib", "import mine\nsays = mine.WORD\n" + SAYS, "mine"),
}


@pytest.mark.parametrize("way", SERVES)
def test_a_script_that_serves_has_what_it_needs(server, name, inner, index, way):
    wanted, script, says = SERVES[way]
    code = {"inference.py": script.replace("{source}", repr(index[0].strip())), "requirements.txt": index[0] + wanted}
    code |= {f"lib/{file}": text for file, text in MINE.items()}
    assert answer_of(server, name("Needs"), code) == says


def test_packages_that_never_come_keep_nobody_waiting(build, tmp_path, textmill):
    """Two jobs whose packages never come: each can be stopped, others run beside, the server ends."""
    tmp_path.chmod(0o755)
    server = Server(build / "textmill", tmp_path / "data", "--sync", "process", "--job-cpus", "8").start()
    try:
        sagemaker, s3 = server.client("sagemaker"), server.client("s3")
        s3.create_bucket(Bucket="jobs")
        python = server.folder / "environments/pytorch/bin/python"
        python.parent.mkdir(parents=True)
        python.write_text('#!/bin/sh\ncase "$*" in *requirements*) trap "" TERM; while :; do sleep 1; done;; esac\n')
        python.chmod(0o755)
        runs = lambda: len(list((server.folder / "cache/requirements").glob("*.partial/journal")))

        def start(job, package, **more):
            s3.put_object(Bucket="jobs", Key=f"{job}.tar.gz", Body=packed({"entry.py": "", "requirements.txt": package}))
            own = {"sagemaker_program": "entry.py", "sagemaker_submit_directory": f"s3://jobs/{job}.tar.gz"}
            sagemaker.create_training_job(**request(job, IMAGE, HyperParameters={k: json.dumps(v) for k, v in own.items()}, **more))

        start("first", "a==1\n", InputDataConfig=[channel("train", "s3://jobs/first")])
        start("other", "b==1\n")
        await_that(lambda: runs() == 2, "both are installed at once")
        assert sagemaker.describe_training_job(TrainingJobName="first")["SecondaryStatus"] == "Downloading", "not only when all is there"
        start("same", "a==1\n")
        sagemaker.stop_training_job(TrainingJobName="same")
        sagemaker.stop_training_job(TrainingJobName="other")
        sagemaker.create_training_job(**request("plain", script(tmp_path, "plain", "exit 0")))
        assert finish(sagemaker, "plain")["TrainingJobStatus"] == "Completed"
        for job in ("same", "other"):
            assert finish(sagemaker, job)["TrainingJobStatus"] == "Stopped"
        textmill("clean", "--free", "--data-dir", server.folder)
        assert runs() == 1 and sagemaker.describe_training_job(TrainingJobName="first")["TrainingJobStatus"] == "InProgress"
    finally:
        assert server.stop() == 0  # first's too is given up


def test_torch_distributed(server, train):
    """As SDK v2's distribution={"torch_distributed": {"enabled": True}} says it: two hosts sum what they have."""
    (server.folder / "environments" / "huggingface-pytorch").symlink_to(ROOT / ".venv")
    sums = """
import json, os, torch, torch.distributed as distributed
distributed.init_process_group("gloo")
value = torch.tensor([float(distributed.get_rank() + 1)])
distributed.all_reduce(value)
with open(os.path.join(os.environ["SM_MODEL_DIR"], f"{distributed.get_rank()}.json"), "w") as out:
    json.dump([distributed.get_world_size(), value.item()], out)
distributed.barrier()  # who has the store leaves last
distributed.destroy_process_group()
"""
    job = train({"sums.py": sums}, image=IMAGE.replace("pytorch-training", "huggingface-pytorch-training"), sagemaker_program="sums.py",
                resources={"InstanceCount": 2}, sagemaker_torch_distributed_enabled=True)
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    assert model_of(server, job) == {"0.json": [2, 3.0], "1.json": [2, 3.0]}


@pytest.fixture(scope="module")
def serve():
    spec = importlib.util.spec_from_file_location("serve", ROOT / "src/fleet/python/serve.py")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, os.path.dirname(spec.origin))  # what it stands beside
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.pop(0)
    return module


@pytest.mark.parametrize("framework, module", [("pytorch", "torch"), ("scikit-learn", "numpy"), ("mxnet", "mxnet"), ("huggingface-pytorch", None), ("", None)])
def test_without_the_frameworks_package_input_is_plain(serve, monkeypatch, framework, module):
    if module:
        monkeypatch.setitem(sys.modules, module, None)  # its import fails
    input_fn = serve.input_fn_of(framework)
    assert input_fn("[[1, 2]]", "application/json") == [[1, 2]] and input_fn("1,2\n", "text/csv") == [[1.0, 2.0]]
    with pytest.raises(serve.Unsupported):
        input_fn(b"", "image/png")


def test_mxnets_arrays_come_in_and_go_out(serve, monkeypatch):
    """By a stand-in: the tests' environment has no mxnet."""
    import numpy

    class NDArray:
        def __init__(self, data): self.data = numpy.array(data, dtype="float32")
        def detach(self): return self  # it has no cpu()
        def asnumpy(self): return self.data

    monkeypatch.setitem(sys.modules, "mxnet", types.SimpleNamespace(nd=types.SimpleNamespace(array=NDArray)))
    data = serve.input_fn_of("mxnet")("[[1, 2]]", "application/json")
    assert isinstance(data, NDArray) and serve.default_output_fn(data, "application/json") == ("[[1.0, 2.0]]", "application/json")


def test_a_torch_model_takes_lists_and_arrays(serve):
    """A script of the PyTorch image need define model_fn alone."""
    import numpy
    import torch
    model = torch.nn.Sequential(torch.nn.Linear(3, 1), torch.nn.Dropout(0.9))
    expected = model[0](torch.tensor([[1.0, 2, 3]])).tolist()
    for data in ([[1, 2, 3]], numpy.array([[1, 2, 3]], dtype="float32"), torch.tensor([[1.0, 2, 3]])):
        assert serve.plain(serve.default_predict_fn(data, model)) == expected
    assert serve.plain(serve.default_predict_fn(numpy.array([1]), torch.nn.Embedding(4, 2))), "arrays stay what they are"
