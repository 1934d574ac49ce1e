"""A server per file, with a fresh folder; tests name what they make by `name`."""

import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest

from ..servers import Server


@pytest.fixture(scope="module")
def server_options():
    """More words for `textmill up`; a file of tests may have its own."""
    return ()


@pytest.fixture(scope="module")
def server(build, tmp_path_factory, server_options):
    server = Server(build / "textmill", tmp_path_factory.mktemp("server") / "data", "--sync", "process", *map(str, server_options)).start()
    yield server
    assert server.stop() == 0
    doctor = subprocess.run([build / "textmill", "doctor", "--deep", "--data-dir", server.folder], capture_output=True, text=True)
    assert doctor.returncode == 0, doctor.stdout + doctor.stderr
    failed = [line for line in server.log_lines() if line["level"] == "error"]
    assert not failed, f"the server logged errors: {failed[:5]}"


_count = itertools.count(1)


@pytest.fixture
def name():
    """name("model"): a new name each time."""
    return lambda prefix="n": f"{prefix}-{next(_count)}"


@pytest.fixture
def refused():
    """refused(call, **arguments): the code, status and message of the error that it must end with."""
    from botocore.exceptions import ClientError

    def run(call, **arguments):
        with pytest.raises(ClientError) as caught:
            call(**arguments)
        error = caught.value.response
        assert error["ResponseMetadata"]["RequestId"]
        return error["Error"]["Code"], error["ResponseMetadata"]["HTTPStatusCode"], error["Error"]["Message"]

    return run


CLIS = {"cli1": Path(sys.executable).with_name("aws"), "cli2": Path("/usr/bin/aws")}


@pytest.fixture(params=CLIS)
def aws(request, server):
    """aws("sts", "get-caller-identity"): a call by the command line client, version 1 (the test's Python) and 2 (Debian's). Its output, as
    JSON where it is. With fails=True it must end with another status than 0, and its words on stderr come back.

    Debian's is older than AWS_ENDPOINT_URL."""
    program = CLIS[request.param]
    if not program.exists():
        pytest.skip(f"{program} is not installed")
    options = [] if request.param == "cli1" else ["--endpoint-url", server.url]

    def run(*arguments, fails=False, timeout=60, **kwargs):
        command = [program, *options, *map(str, arguments)]
        done = subprocess.run(command, env=server.env(), capture_output=True, text=True, timeout=timeout, **kwargs)
        if fails:
            assert done.returncode != 0, f"{command} ended with 0: {done.stdout}"
            return done.stderr
        assert done.returncode == 0, f"{command}: exit {done.returncode}\n{done.stderr}"
        return json.loads(done.stdout) if done.stdout.startswith(("{", "[")) else done.stdout

    run.version = int(request.param[-1])
    return run
