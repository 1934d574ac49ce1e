"""The script mode's layer (src/fleet/python/train.py) over a laid-out /opt/ml: variables, flags, code from S3, failures."""

import io
import json
import os
import subprocess
import sys
import tarfile

import pytest

from ..conftest import ROOT
from ..servers import Server

SCRIPT = b"""
import json, os, sys
json.dump({"argv": sys.argv[1:], "sm": {k: v for k, v in os.environ.items() if k.startswith("SM_")}}, open(os.environ["SM_MODEL_DIR"] + "/seen.json", "w"))
if "--fail" in sys.argv: sys.exit(7)
"""


def archive(*members):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for member, content in members:
            info = tarfile.TarInfo(member) if isinstance(member, str) else member
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture
def run(tmp_path):
    """run(source, hyperparameters, environment): status, the text of output/failure, what the script saw."""

    def go(source, hyperparameters=None, environment=None):
        config = tmp_path / "input/config"
        config.mkdir(parents=True)
        (tmp_path / "input/data/train").mkdir(parents=True)
        every = {"sagemaker_program": "entry.py", "sagemaker_submit_directory": source} | (hyperparameters or {})
        (config / "hyperparameters.json").write_text(json.dumps({k: json.dumps(v) for k, v in every.items()}))
        (config / "inputdataconfig.json").write_text('{"train": {"TrainingInputMode": "File"}}')
        (config / "resourceconfig.json").write_text('{"current_host": "algo-2", "hosts": ["algo-1", "algo-2"], "current_instance_type": "ml.m5.large"}')
        done = subprocess.run([sys.executable, ROOT / "src/fleet/python/train.py"], env=os.environ | {"SAGEMAKER_BASE_DIR": str(tmp_path)} | (environment or {}),
                              capture_output=True, text=True, timeout=60)
        read = lambda path: path.read_text() if path.exists() else ""
        return done.returncode, read(tmp_path / "output/failure"), json.loads(read(tmp_path / "model/seen.json") or "null")

    return go


def folder_with(tmp_path, script=SCRIPT):
    (tmp_path / "source").mkdir()
    (tmp_path / "source/entry.py").write_bytes(script)
    return str(tmp_path / "source")


def test_an_exception_is_in_the_reason(run, tmp_path):
    """All that the SDKs show of a job that failed."""
    status, failure, _ = run(folder_with(tmp_path, b"def inner():\n  raise ValueError('my words')\ninner()\n"))
    assert status == 1 and failure.startswith('ExecuteUserScriptError: ExitCode 1; ErrorMessage "ValueError: my words"; Command '), failure


def test_distributions_that_are_not_built_are_refused(run, tmp_path):
    """Silently trained alone, each instance would make a model of its own."""
    status, failure, seen = run(folder_with(tmp_path), {"sagemaker_mpi_enabled": True, "sagemaker_mpi_num_of_processes_per_host": 2})
    assert (status, seen) == (1, None) and failure.startswith("the distribution mpi (sagemaker_mpi_enabled) is not built"), failure


def test_flags_and_variables(run, tmp_path):
    status, failure, seen = run(folder_with(tmp_path), {"epochs": 3, "name": "a b", "learning-rate": 0.5, "layers": [1, "x"], "map": {"b": 1, "a": "c d"}, "none": None, "on": True})
    assert (status, failure) == (0, "")
    assert seen["argv"] == ["--epochs", "3", "--layers", "[1, 'x']", "--learning-rate", "0.5", "--map", "a=c d,b=1", "--name", "a b", "--none", "", "--on", "True"]
    sm = seen["sm"]
    assert (sm["SM_CHANNEL_TRAIN"], sm["SM_CHANNELS"]) == (f"{tmp_path}/input/data/train", '["train"]')
    assert (sm["SM_HP_EPOCHS"], sm["SM_HP_LEARNING_RATE"], sm["SM_MODULE_NAME"]) == ("3", "0.5", "entry")
    assert (json.loads(sm["SM_HOSTS"]), sm["SM_CURRENT_HOST"], sm["SM_CURRENT_HOST_RANK"]) == (["algo-1", "algo-2"], "algo-2", "1")
    assert json.loads(sm["SM_HPS"]) == {"epochs": 3, "name": "a b", "learning-rate": 0.5, "layers": [1, "x"], "map": {"b": 1, "a": "c d"}, "none": None, "on": True}
    assert (sm["SM_HP_LEARNING-RATE"], sm["SM_HP_LAYERS"], sm["SM_HP_MAP"], sm["SM_HP_NONE"]) == ("0.5", '[1,"x"]', '{"a":"c d","b":1}', "")
    assert sm["SM_OUTPUT_DATA_DIR"] == f"{tmp_path}/output/data"
    toolkit = json.loads(sm["SM_TRAINING_ENV"])
    assert toolkit["hyperparameters"]["epochs"] == 3 and toolkit["channel_input_dirs"]["train"] == sm["SM_CHANNEL_TRAIN"] and toolkit["is_master"] is False and toolkit["master_hostname"] == "algo-1"


def test_a_script_that_fails_says_so(run, tmp_path):
    status, failure, _ = run(folder_with(tmp_path), {"fail": ""})
    assert status == 1 and failure.startswith("ExecuteUserScriptError: ExitCode 7; Command ")


def test_a_script_that_is_not_there(run, tmp_path):
    assert run(folder_with(tmp_path), {"sagemaker_program": "other.py"})[1].endswith("holds no other.py")


def test_code_from_s3(build, run, tmp_path):
    server = Server(build / "textmill", tmp_path / "server" / "data", "--sync", "process")
    server.folder.parent.mkdir()
    server.start()
    try:
        s3 = server.client("s3")
        s3.create_bucket(Bucket="code")
        s3.put_object(Bucket="code", Key="a job/sourcedir.tar.gz", Body=archive(("entry.py", SCRIPT)))
        status, failure, seen = run("s3://code/a job/sourcedir.tar.gz", {"x": 1}, server.env())
        assert (status, failure, seen["argv"]) == (0, "", ["-x", "1"])
    finally:
        assert server.stop() == 0


def link(name, target, kind):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize("member", ["../out", "/out", link("l", "/etc/passwd", tarfile.SYMTYPE), link("l", "entry.py", tarfile.LNKTYPE), link("d", "", tarfile.CHRTYPE)],
                         ids=["dots", "absolute", "link", "hard link", "device"])
def test_archives_with_tricks_are_refused(tmp_path, member, monkeypatch):
    import importlib.util
    monkeypatch.syspath_prepend(ROOT / "src/fleet/python")
    spec = importlib.util.spec_from_file_location("train", ROOT / "src/fleet/python/train.py")
    train = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(train)
    (tmp_path / "a.tar.gz").write_bytes(archive(("entry.py", SCRIPT), (member, b"")))
    (tmp_path / "into").mkdir()
    with pytest.raises(train.Failed, match="neither a file nor a folder"):
        train.unpack(tmp_path / "a.tar.gz", tmp_path / "into")
    assert not (tmp_path / "out").exists()
