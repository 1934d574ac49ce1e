"""Endpoints of users' scripts: inference.py in or beside the model, with what the framework's image does for it."""

import io
import json
import os
import shutil
import sys

import pytest

from ..conftest import ROOT
from .test_endpoints import deploy, runtime, sagemaker, upload  # noqa: F401, fixtures

SCRIPT = b"""
import json, os
def model_fn(model_dir):
    return open(os.path.join(model_dir, "word")).read()
def predict_fn(data, model):
    if data == "fail": raise ValueError("no such thing")
    return {"model": model, "data": data}
"""


def environment(server, name, packages=False):
    """An environment for scripts, in place of another test's: this Python, or with the packages of the tests."""
    folder = server.folder / "environments" / name
    folder.unlink() if folder.is_symlink() else shutil.rmtree(folder, ignore_errors=True)
    if packages:
        folder.parent.mkdir(exist_ok=True)
        return folder.symlink_to(ROOT / ".venv")
    (folder / "bin").mkdir(parents=True)
    (folder / "bin/python").symlink_to(os.path.realpath(sys.executable))


def test_a_users_script(server, runtime, deploy, upload, refused):
    environment(server, "pytorch")
    url = upload({"code/inference.py": SCRIPT, "word": b"hello"})
    shown = deploy("763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-inference:2.1-cpu-py310", url)
    assert shown["EndpointStatus"] == "InService", shown
    answer = runtime.invoke_endpoint(EndpointName=shown["EndpointName"], ContentType="application/json", Body=b"[1, 2]")
    assert json.loads(answer["Body"].read()) == {"model": "hello", "data": [1, 2]} and answer["ContentType"] == "application/json"
    code, status, message = refused(runtime.invoke_endpoint, EndpointName=shown["EndpointName"], ContentType="application/json", Body=b'"fail"')
    assert (code, status) == ("ModelError", 424) and "ValueError: no such thing" in message


SEEN = b"""
import sys
def model_fn(model_dir):
    return len(sys.argv)
def predict_fn(data, model):
    return [model, type(data).__module__.split(".")[0], *([str(data.dtype), list(data.shape), data.tolist()] if hasattr(data, "shape") else [data])]
"""


@pytest.mark.parametrize("image, row, package, prefix", [("pytorch-inference", "pytorch", "torch", "torch."),
                                                         ("sagemaker-scikit-learn", "scikit-learn", "numpy", "")], ids=["pytorch", "scikit-learn"])
def test_a_users_predict_fn_gets_what_the_frameworks_input_fn_makes(server, runtime, deploy, upload, image, row, package, prefix):
    import numpy
    environment(server, row, packages=True)
    shown = deploy(f"763104351884.dkr.ecr.us-east-1.amazonaws.com/{image}:2.1-cpu-py310", upload({"code/inference.py": SEEN}))
    assert shown["EndpointStatus"] == "InService", shown

    def seen(content_type, body):
        answer = json.loads(runtime.invoke_endpoint(EndpointName=shown["EndpointName"], ContentType=content_type, Body=body)["Body"].read())
        assert answer[0] == 1, "the script has no arguments"
        return answer[1:]

    numpy.save(npy := io.BytesIO(), numpy.array([[1, 2]], dtype="int64"))
    assert seen("application/json", b"[[1, 2], [3, 4]]") == [package, prefix + "float32", [2, 2], [[1.0, 2.0], [3.0, 4.0]]]
    assert seen("text/csv", b"1,2\n3,4\n") == [package, prefix + "float32", [2, 2], [[1.0, 2.0], [3.0, 4.0]]]
    assert seen("application/x-npy", npy.getvalue()) == [package, prefix + "int64", [1, 2], [[1, 2]]], "arrays keep their type"
    for other in ({"inputs": "x"}, ["a", "b"], [[1], [2, 3]], "1"):
        assert seen("application/json", json.dumps(other).encode()) == ["builtins", other]


def test_a_script_beside_its_model(server, runtime, deploy, upload):
    """As the SDK deploys scikit-learn models: the artifact as it was trained, and the script in an archive of its own."""
    environment(server, "scikit-learn")
    image = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.2-1-cpu-py3"
    said = {"SAGEMAKER_PROGRAM": "script.py", "SAGEMAKER_SUBMIT_DIRECTORY": upload({"script.py": SCRIPT + b"import beside\n", "beside.py": b""})}
    shown = deploy(image, upload({"word": b"hello"}), environment=said)
    assert shown["EndpointStatus"] == "InService", shown
    answer = runtime.invoke_endpoint(EndpointName=shown["EndpointName"], ContentType="application/json", Body=b"7")
    assert json.loads(answer["Body"].read()) == {"model": "hello", "data": 7}
    shown = deploy(image, upload({"word": b"hello"}), environment=said | {"SAGEMAKER_PROGRAM": "other.py"})
    assert "has no SAGEMAKER_SUBMIT_DIRECTORY/other.py" in shown["FailureReason"]
