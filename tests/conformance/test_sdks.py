"""Scripts of SageMaker's Python SDKs 2 and 3 (scripts/), unmodified, each in its own environment (tools/setup.sh own:sdk2 own:sdk3)."""

import json
import os
import subprocess
import textwrap
import venv
from pathlib import Path

import pytest

from ..conftest import ROOT

pytestmark = pytest.mark.skipif(not os.environ.get("TEXTMILL_SOAK"), reason="the long form: each SDK brings 1 GB of packages")

TRAIN = """
import argparse, json, os, shutil
parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int)
parser.add_argument("--name")
arguments = parser.parse_args()
for epoch in range(arguments.epochs):
    print(f"loss={1 / (epoch + 1)}", flush=True)
channel, model = os.environ["SM_CHANNEL_TRAIN"], os.environ["SM_MODEL_DIR"]
words = sorted(word for name in os.listdir(channel) for word in open(os.path.join(channel, name)).read().split())
json.dump({"name": arguments.name, "words": words}, open(os.path.join(model, "words.json"), "w"))
os.makedirs(os.path.join(model, "code"), exist_ok=True)
shutil.copy(os.path.join(os.path.dirname(os.path.abspath(__file__)), "inference.py"), os.path.join(model, "code"))
"""
INFERENCE = """
import json, os
def model_fn(folder):
    return json.load(open(os.path.join(folder, "words.json")))
def predict_fn(data, model):
    return [{"words": len(text.split()), "model": model} for text in data["inputs"]]
"""
WHOLE = f'{INFERENCE}\nif __name__ == "__main__":\n{textwrap.indent(TRAIN, "    ")}'
MODEL = {"name": "some words", "words": ["hello", "there"]}
ANSWER = [{"words": 2, "model": MODEL}, {"words": 1, "model": MODEL}]


@pytest.fixture
def script(server, textmill, tmp_path):
    """script("sdk2"): what it printed; lines "NAME rest" of it by their names."""
    for framework in ("pytorch", "scikit-learn"):
        if not (environment := server.folder / "environments" / framework).exists():
            venv.create(environment, symlinks=True)
    for folder, name, text in (("code", "train.py", TRAIN), ("code", "inference.py", INFERENCE), ("code", "whole.py", WHOLE), ("data", "a.txt", "hello there\n")):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / name).write_text(text)
    exports = textmill("env", "--sdk", "--data-dir", server.folder).stdout

    def run(sdk):
        python = ROOT / f".venv-{sdk}/bin/python"
        assert list((ROOT / f".venv-{sdk}").glob(".installed-*")), f"the environment of {sdk} is not there: tools/setup.sh own:{sdk}"
        command = f'{exports}\nexec "$0" "$@"'
        done = subprocess.run(["/bin/bash", "-c", command, python, Path(__file__).parent / f"scripts/{sdk}.py", tmp_path],
                              capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
        return done.stdout, dict(line.split(" ", 1) for line in done.stdout.splitlines() if line.split(" ")[0].isupper() and " " in line)

    return run


def nothing_is_left(server):
    sagemaker = server.client("sagemaker")
    assert sagemaker.list_models()["Models"] == sagemaker.list_endpoint_configs()["EndpointConfigs"] == []
    assert [e for e in sagemaker.list_endpoints()["Endpoints"] if e["EndpointStatus"] != "Deleting"] == []


def test_sdk_2(server, script):
    output, said = script("sdk2")
    assert "loss=0.5" in output and "Training seconds:" in output  # the job's log, followed
    assert eval(said["LOSSES"]) and eval(said["PREDICTION"]) == eval(said["WHOLE"]) == ANSWER
    job = server.client("sagemaker").describe_training_job(TrainingJobName=said["JOB"].split()[0])
    assert job["TrainingJobStatus"] == "Completed" and job["HyperParameters"]["sagemaker_submit_directory"].endswith('sourcedir.tar.gz"')
    nothing_is_left(server)


def test_sdk_3(server, script):
    _, said = script("sdk3")
    assert said["JOB"].endswith(" Completed") and said["JOB"].split()[0] in eval(said["ALL"])
    assert json.loads(said["PREDICTION"]) == ANSWER
    nothing_is_left(server)
