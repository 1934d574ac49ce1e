"""`make demo` in small: it ends by itself, and leaves nothing behind."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ..conftest import ROOT
from ..servers import await_that

pytestmark = pytest.mark.skipif(not shutil.which("apt-cache"), reason="the demo reads Debian's package descriptions")


def processes(folder):
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str(folder).encode() in (process / "cmdline").read_bytes() and process.name != str(os.getpid()):
                found.append(process.name)
        except OSError:
            pass
    return found


def start(build, folder, rows=1600):
    program = shutil.copy(build / "textmill", folder / "textmill")  # under /tmp, which jobs and endpoints have one of their own of
    environment = os.environ | {  # of a shell in which somebody works with AWS, behind a proxy
        "AWS_PROFILE": "work", "AWS_SESSION_TOKEN": "abc", "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true",
        "AWS_REGION": "eu-west-1", "http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9", "no_proxy": "", "NO_PROXY": ""}
    return subprocess.Popen([sys.executable, ROOT / "recipes/package_sections/demo.py", program, "--train-rows", str(rows), "--work", folder],
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def test_the_demo(build, minilm, tmp_path):
    demo = start(build, tmp_path)
    out, _ = demo.communicate(timeout=300)
    if "run `apt-get update`" in out:
        pytest.skip("this machine has no package index")
    assert demo.returncode == 0, out
    for words in (r"(Training|Completed): step \d+ of 50, loss \d\.\d+, \d+ samples/s\n", r"InService after \d+\.\d\d s\n", r"held-out accuracy      0\.\d{3} ", r"answer over HTTP       \d+\.\d\d ms"):
        assert re.search(words, out), (words, out)
    assert (tmp_path / "model.tar.gz").exists()
    await_that(lambda: not processes(tmp_path), "its processes are gone")


def test_a_demo_whose_step_fails(build, minilm, tmp_path):
    demo = start(build, tmp_path, rows=1)
    out, _ = demo.communicate(timeout=120)
    if "run `apt-get update`" in out:
        pytest.skip("this machine has no package index")
    assert demo.returncode == 1 and "Traceback" not in out, out
    assert re.match(r"the training job is Failed: .*all rows have the label \w+; nothing to tell apart", out.splitlines()[-1]), out
    await_that(lambda: not processes(tmp_path), "its processes are gone")


def test_an_interrupted_demo(build, minilm, tmp_path):
    demo = start(build, tmp_path)
    await_that(lambda: demo.poll() is not None or list((tmp_path / "server/jobs").glob("*/journal")), "the job runs", 60)
    demo.send_signal(signal.SIGTERM)
    out, _ = demo.communicate(timeout=60)
    if "run `apt-get update`" in out:
        pytest.skip("this machine has no package index")
    assert demo.returncode == 143, out
    await_that(lambda: not processes(tmp_path), "its processes are gone")
